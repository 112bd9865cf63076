"""What is piped in."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import anyio.to_thread
import pytest

from aiex.core import UsageError
from aiex.interfaces.cli.stdin import Lines, is_terminal, piped_text, read_stdin

Pipe = Callable[[bytes], None]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    """Puts bytes into a pipe at standard input."""
    with ExitStack() as opened:

        def put(content: bytes) -> None:
            reads, writes = os.pipe()
            os.write(writes, content)
            os.close(writes)
            stream = opened.enter_context(io.TextIOWrapper(os.fdopen(reads, "rb")))
            monkeypatch.setattr(sys, "stdin", stream)

        yield put


def test_a_pipe_is_read_as_text(pipe: Pipe) -> None:
    pipe("\ufeffdef f(): ...  # ü\n".encode())

    assert read_stdin() == "def f(): ...  # ü\n"


def test_bytes_that_are_no_text_are_replaced(pipe: Pipe) -> None:
    pipe(b"a\xff\n")

    assert read_stdin() == "a\ufffd\n"


def test_an_empty_pipe_is_said_to_be(pipe: Pipe) -> None:
    pipe(b" \n")

    with pytest.raises(UsageError, match="standard input is empty"):
        read_stdin()


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "big"
    with file.open("wb") as big:
        big.truncate((4 << 20) + 1)
    with file.open() as opened:
        monkeypatch.setattr(sys, "stdin", opened)
        with pytest.raises(UsageError, match="larger than 4 MB"):
            read_stdin()


def test_what_goes_with_a_prompt_is_a_pipe_or_a_file(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pipe(b"a log\n")
    assert piped_text() == "a log\n"
    (tmp_path / "log").write_text("another\n")
    with (tmp_path / "log").open() as opened:
        monkeypatch.setattr(sys, "stdin", opened)
        assert piped_text() == "another\n"
    pipe(b"")
    assert piped_text() is None
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert piped_text() is None


def test_a_closed_standard_input_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)

    assert piped_text() is None
    assert is_terminal()


@pytest.mark.anyio
async def test_lines_come_one_by_one_from_a_pipe_and_from_a_file(tmp_path: Path) -> None:
    content = "one\r\n\nzwei \u00fc\nlast".encode()

    def opened() -> list[int]:
        reads, writes = os.pipe()
        os.write(writes, content)
        os.close(writes)
        (tmp_path / "lines").write_bytes(content)
        return [reads, os.open(tmp_path / "lines", os.O_RDONLY)]

    for handle in await anyio.to_thread.run_sync(opened):
        lines = Lines(handle)
        found = [await lines.next() for _ in range(5)]
        os.close(handle)
        assert found == ["one", "", "zwei \u00fc", "last", None]
