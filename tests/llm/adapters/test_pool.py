"""The connections to one server, against real servers on loopback, over both event loops."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from tests.llm.adapters.raw import always, certificate_of, hold, serving

from aiex.llm.adapters.connection import Connection
from aiex.llm.adapters.pool import Pool

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


def pool_of(port: int, **more: Any) -> Pool:
    return Pool("localhost", port, is_tls=False, **more)


async def get(pool: Pool) -> Connection:
    """Ask for what a server has, and return the connection whose answer has been read."""
    connection = pool.idle() or await pool.connect()
    connection.ask(GET, b"")
    await connection.answered()
    while await connection.read():
        pass
    return connection


async def test_a_connection_is_used_again_the_latest_first() -> None:
    async with serving(always(OK)) as server:
        pool = pool_of(server.port)
        both = [await get(pool), await get(pool)]
        for connection in both:
            pool.give_back(connection, keeps=True)
        assert [pool.idle(), pool.idle(), pool.idle()] == [*reversed(both), None]
        await pool.aclose()
        await server.until_all_left()
        assert server.came == 2


async def test_a_connection_that_may_not_be_kept_is_dropped() -> None:
    async with serving(always(OK)) as server:
        pool = pool_of(server.port)
        pool.give_back(await get(pool), keeps=False)
        await server.until_all_left()
        assert pool.idle() is None


async def test_a_connection_on_which_an_answer_is_under_way_is_dropped() -> None:
    async with serving(hold) as server:
        pool = pool_of(server.port)
        connection = await pool.connect()
        connection.ask(GET, b"")
        pool.give_back(connection, keeps=True)
        await server.until_all_left()
        assert pool.idle() is None


async def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    async with serving(always(OK, then_close=True)) as server:
        pool = pool_of(server.port)
        connection = await get(pool)
        pool.give_back(connection, keeps=True)
        await server.until_all_left()
        with anyio.fail_after(5):
            while not connection.is_lost:
                await anyio.lowlevel.checkpoint()
        assert pool.idle() is None


async def test_a_connection_that_nobody_uses_is_dropped_in_time() -> None:
    async with serving(always(OK)) as server:
        pool = pool_of(server.port, idle_seconds=0.02)
        for connection in [await get(pool), await get(pool)]:
            pool.give_back(connection, keeps=True)
        await server.until_all_left()
        pool.give_back(await get(pool), keeps=True)
        await server.until_all_left()
        assert server.came == 3


async def test_no_more_connections_wait_than_may() -> None:
    async with serving(always(OK)) as server:
        pool = pool_of(server.port, most_idle=2)
        got = [await get(pool) for _ in range(5)]
        for connection in got:
            pool.give_back(connection, keeps=True)
        assert [pool.idle(), pool.idle(), pool.idle()] == [got[4], got[3], None]
        await pool.aclose()


async def test_a_thousand_at_once_leave_nothing_behind() -> None:
    async with serving(always(OK)) as server:
        await anyio.wait_all_tasks_blocked()
        before = len(asyncio.all_tasks())
        pool = pool_of(server.port)
        async with anyio.create_task_group() as tasks:

            async def one() -> None:
                pool.give_back(await get(pool), keeps=True)

            for _ in range(1000):
                tasks.start_soon(one)
        await pool.aclose()
        await server.until_all_left()
        await anyio.wait_all_tasks_blocked()
        assert len(asyncio.all_tasks()) == before


async def test_closing_drops_what_is_in_use() -> None:
    async with serving(hold) as server:
        pool = pool_of(server.port)
        connection = await pool.connect()
        connection.ask(GET, b"")
        async with anyio.create_task_group() as tasks:

            async def asks() -> None:
                with pytest.raises(ConnectionError):
                    await connection.answered()

            tasks.start_soon(asks)
            await anyio.wait_all_tasks_blocked()
            await pool.aclose()
        await server.until_all_left()


async def test_nobody_there_is_an_error_of_the_system() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        pool = Pool("127.0.0.1", closed.getsockname()[1], is_tls=False)
        with pytest.raises(ConnectionRefusedError):
            await pool.connect()
        await pool.aclose()


async def test_a_name_that_nobody_has_is_an_error_of_the_system() -> None:
    pool = Pool("nobody.invalid", 80, is_tls=False)
    with pytest.raises(OSError, match=r"\[Errno -\d"):
        await pool.connect()


def trusting(file: Path) -> Callable[[], ssl.SSLContext]:
    return lambda: ssl.create_default_context(cafile=file)


async def test_an_authority_that_is_trusted_vouches_for_its_server(tmp_path: Path) -> None:
    file, tls = certificate_of("localhost", tmp_path)
    async with serving(always(OK), tls=tls) as server:
        pool = Pool("localhost", server.port, is_tls=True, trust=trusting(file))
        for _ in range(2):
            pool.give_back(await get(pool), keeps=True)
        await pool.aclose()
        await server.until_all_left()
        assert server.came == 1


async def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    file, tls = certificate_of("elsewhere.example", tmp_path)
    async with serving(hold, tls=tls) as server:
        pool = Pool("localhost", server.port, is_tls=True, trust=trusting(file))
        with pytest.raises(ssl.SSLCertVerificationError):
            await pool.connect()
        await pool.aclose()


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    _, tls = certificate_of("localhost", tmp_path)
    async with serving(hold, tls=tls) as server:
        pool = Pool("localhost", server.port, is_tls=True)
        with pytest.raises(ssl.SSLCertVerificationError):
            await pool.connect()
        await pool.aclose()


async def test_leaving_while_tls_is_agreed_closes_the_connection() -> None:
    arrived = anyio.Event()

    async def silent(client: ByteStream) -> None:
        await client.receive()
        arrived.set()
        await hold(client)

    async with serving(silent) as server:
        pool = Pool("localhost", server.port, is_tls=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.connect)
            await arrived.wait()
            tasks.cancel_scope.cancel()
        await server.until_all_left()
        await pool.aclose()
