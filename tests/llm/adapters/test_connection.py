"""One connection to a server, fed with whatever a server could send."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.llm.adapters.connection import Connection

pytestmark = pytest.mark.anyio

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\nhello world"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"6;ext=1\r\nhello \r\n5\r\nworld\r\n0\r\nStatus: late\r\n\r\n"
)
OPEN_ENDED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello world"
PROMISED = b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + PLAIN
WHOLE = [PLAIN, CHUNKED, PROMISED]


class Wire(asyncio.Transport):
    """A transport that goes nowhere, and notes what was done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.unsent = 0
        self.is_paused = False
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_write_buffer_size(self) -> int:
        return self.unsent


def connected() -> tuple[Connection, Wire]:
    connection, wire = Connection(lambda _: None), Wire()
    connection.connection_made(wire)
    return connection, wire


def asked() -> tuple[Connection, Wire]:
    connection, wire = connected()
    connection.ask(b"GET / HTTP/1.1\r\n\r\n", b"")
    return connection, wire


async def body_of(connection: Connection) -> bytes:
    pieces = []
    while data := await connection.read():
        pieces.append(data)
    return b"".join(pieces)


async def whole(connection: Connection) -> bytes:
    await connection.answered()
    return await body_of(connection)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    borders = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(borders) if a < b]


@given(answer=st.sampled_from(WHOLE), cuts=st.lists(st.integers(min_value=0), max_size=12))
async def test_where_an_answer_is_split_does_not_matter(answer: bytes, cuts: list[int]) -> None:
    connection, wire = asked()
    for _ in range(2):
        for piece in pieces(answer, cuts):
            connection.data_received(piece)
        await connection.answered()
        assert connection.status == 200
        assert b"status" not in connection.headers
        assert await body_of(connection) == b"hello world"
        assert connection.is_reusable
        connection.ask(b"GET / HTTP/1.1\r\n\r\n", b"")
    assert not wire.is_aborted


@given(data=st.data(), answer=st.sampled_from(WHOLE))
async def test_an_answer_that_is_cut_anywhere_is_never_taken_for_whole(
    data: st.DataObject, answer: bytes
) -> None:
    connection, _ = asked()
    connection.data_received(answer[: data.draw(st.integers(0, len(answer) - 1))])
    connection.eof_received()
    connection.connection_lost(None)
    with pytest.raises(ConnectionError, match="it was closed"):
        await whole(connection)
    assert not connection.is_reusable


@given(cuts=st.lists(st.integers(min_value=0), max_size=8))
async def test_an_answer_without_a_length_ends_with_its_connection(cuts: list[int]) -> None:
    connection, _ = asked()
    for piece in pieces(OPEN_ENDED, cuts):
        connection.data_received(piece)
    assert not connection.is_complete
    connection.eof_received()
    connection.connection_lost(None)
    assert await body_of(connection) == b"hello world"
    assert not connection.is_reusable


async def test_an_answer_without_a_length_that_is_reset_is_no_whole_one() -> None:
    connection, _ = asked()
    connection.data_received(OPEN_ENDED)
    connection.connection_lost(ConnectionResetError("reset"))
    assert await connection.read() == b"hello world"
    with pytest.raises(ConnectionError, match="reset"):
        await connection.read()


@given(junk=st.binary(min_size=1, max_size=200))
async def test_junk_never_gets_out_of_the_connection_as_another_error(junk: bytes) -> None:
    connection, _ = asked()
    connection.data_received(junk)
    connection.eof_received()
    connection.connection_lost(None)
    with pytest.raises(ConnectionError):
        await connection.answered()


@pytest.mark.parametrize(
    "junk",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nxx",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\nxx",
    ],
)
async def test_what_is_no_answer_breaks_the_connection_off(junk: bytes) -> None:
    connection, wire = asked()
    connection.data_received(junk)
    assert wire.is_aborted
    with pytest.raises(ConnectionError, match="no HTTP"):
        await connection.answered()


async def test_junk_in_a_body_comes_after_what_was_whole() -> None:
    connection, wire = asked()
    connection.data_received(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz"
    )
    assert await connection.read() == b"hello"
    with pytest.raises(ConnectionError, match="no HTTP"):
        await connection.read()
    assert wire.is_aborted


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_status_without_a_body_has_none(status: bytes) -> None:
    connection, _ = asked()
    connection.data_received(b"HTTP/1.1 " + status + b"\r\nContent-Length: 7\r\n\r\n")
    await connection.answered()
    assert await connection.read() == b""
    assert connection.is_reusable


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_a_server_that_wants_no_more_is_asked_no_more(answer: bytes) -> None:
    connection, _ = asked()
    connection.data_received(answer)
    assert await body_of(connection) == b"ok"
    assert not connection.is_reusable


async def test_an_answer_has_none_of_the_headers_of_the_one_before() -> None:
    connection, _ = asked()
    connection.data_received(PLAIN)
    await body_of(connection)
    connection.ask(b"GET / HTTP/1.1\r\n\r\n", b"")
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert connection.headers == {b"content-length": b"0"}


async def test_a_request_that_is_not_out_yet_keeps_its_connection_from_another() -> None:
    connection, wire = asked()
    wire.unsent = 1
    connection.data_received(PLAIN)
    assert await body_of(connection) == b"hello world"
    assert not connection.is_reusable


@pytest.mark.parametrize("more", [PLAIN, b"HTTP/1.1 408 Request Time-out\r\n", b"junk"])
@pytest.mark.parametrize("is_together", [True, False])
async def test_what_nobody_asked_for_ends_the_connection(more: bytes, is_together: bool) -> None:
    connection, wire = asked()
    for data in [PLAIN + more] if is_together else [PLAIN, more]:
        connection.data_received(data)
    assert await body_of(connection) == b"hello world"
    assert wire.is_aborted
    assert not connection.is_reusable


@pytest.mark.parametrize(
    ("beginning", "more"),
    [
        (b"HTTP/1.1 200 ", b"a" * 50),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: ", b"a" * 50),
        (b"HTTP/1.1 200 OK\r\nA", b"a" * 50),
        (b"", b"HTTP/1.1 102 P\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 50),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
    ],
)
async def test_what_is_no_body_has_a_bound(beginning: bytes, more: bytes) -> None:
    connection, wire = asked()
    connection.data_received(beginning)
    sent = 0
    while not wire.is_aborted:
        connection.data_received(more * 40)
        sent += len(more) * 40
        assert sent < 100_000
    with pytest.raises(ConnectionError):
        await whole(connection)


async def test_a_reader_that_does_not_read_stops_the_server() -> None:
    connection, wire = asked()
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(5):
        connection.data_received(b"x" * 60_000)
    was_paused = wire.is_paused
    assert len(await connection.read()) == 300_000
    assert (was_paused, wire.is_paused) == (True, False)
    assert not connection.is_reusable


async def test_a_reader_is_woken_by_what_comes_and_by_the_end() -> None:
    connection, _ = asked()
    read: list[bytes] = []

    async def reading() -> None:
        await connection.answered()
        while data := await connection.read():
            read.append(data)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reading)
        for piece in (PLAIN[:10], PLAIN[10:70], PLAIN[70:]):
            await anyio.wait_all_tasks_blocked()
            connection.data_received(piece)
    assert b"".join(read) == b"hello world"


async def test_a_large_body_is_not_copied_into_one_with_its_head() -> None:
    connection, wire = connected()
    connection.ask(b"head\r\n\r\n", b"x" * 100_000)
    assert wire.sent == b"head\r\n\r\n" + b"x" * 100_000
