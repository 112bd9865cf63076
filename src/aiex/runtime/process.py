"""One of Aiex's own servers as a child process: the local model, and later the NATS server."""

from __future__ import annotations

import functools
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

from aiex.core import AiexError, ChildError

__all__ = ["ChildProcess"]

_LONGEST_LINE = 64 * 1024
_KEPT_BYTES = 64 * 1024
_SHOWN_CHARACTERS = 600
_LAST_WORDS_SECONDS = 1.0

_log = logging.getLogger(__name__)


class ChildProcess:
    """A server that says when it is ready, by one line on its standard output.

    It runs in a session of its own, so that Ctrl-C reaches us alone and we decide how it ends. Its
    standard input stays open for as long as we live: a server of ours ends when that ends. Where
    the machine has `setpriv` it is also killed with the thread that started it, which covers
    servers of others.

    Args:
        argv: Program and arguments. Anybody on the machine can read them: no secrets.
        name: What it is called in errors and logs.
        stdin: First bytes of its standard input, such as a secret.
        cwd: Folder it runs in.
        env: Its whole environment; `None` for ours.
        ready_within: Seconds until it must have said that it is ready.
        stop_within: Seconds from the request to end until it is killed.
        hear: Called with each piece of its standard error; `None` to keep it to ourselves.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        name: str,
        stdin: bytes = b"",
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        ready_within: float = 60.0,
        stop_within: float = 10.0,
        hear: Callable[[bytes], None] | None = None,
    ) -> None:
        self._argv = tuple(argv)
        self._name = name
        self._stdin = stdin
        self._cwd = cwd
        self._env = env
        self._ready_within = ready_within
        self._stop_within = stop_within
        self._hear = hear
        self._process: Process | None = None
        self._said = bytearray()

    @property
    def pid(self) -> int | None:
        """Its process id; `None` while it does not run."""
        return None if self._process is None else self._process.pid

    @property
    def stderr(self) -> str:
        """The last 64 KiB of what it wrote to standard error, in its latest run."""
        return self._said.decode(errors="replace")

    async def run(self, ready: Callable[[bytes], None]) -> None:
        """Run it until it ends by itself; to be cancelled stops it. May be called again then.

        Args:
            ready: Called with the line that says so, without its end, once it is ready.

        Raises:
            ChildError: It could not be started, was not ready in time, or ended with a status
                other than 0.
        """
        self._said.clear()
        process = await self._open()
        self._process = process
        heard = anyio.Event()
        failure: AiexError | None = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep, process.stderr, heard)
                try:
                    ready(await self._ready_line(process))
                    tasks.start_soon(_discard, process.stdout)
                    await process.wait()
                except AiexError as error:
                    failure = error  # raised below: a task group would wrap it
                finally:
                    await self._stop(process)
                # What it said last may be on its way; but who holds the pipe may live for ever.
                with anyio.move_on_after(_LAST_WORDS_SECONDS):
                    await heard.wait()
                tasks.cancel_scope.cancel()
        finally:
            self._process = None
            with anyio.CancelScope(shield=True):
                await process.aclose()
        if failure is None and process.returncode:
            failure = ChildError(f"{self._name} {_how_it_ended(process.returncode)}")
        if failure is not None:
            failure.hint = failure.hint or self._last_words()
            raise failure

    async def _open(self) -> Process:
        guard = await anyio.to_thread.run_sync(_death_signal)
        try:
            return await anyio.open_process(
                [*guard, *self._argv],
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                cwd=self._cwd,
                env=self._env,
                start_new_session=True,
            )
        except OSError as error:
            raise ChildError(f"{self._name} cannot be started: {error.strerror}") from error

    async def _ready_line(self, process: Process) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with anyio.fail_after(self._ready_within):
                with suppress(anyio.BrokenResourceError):
                    await process.stdin.send(self._stdin)
                stdout = BufferedByteReceiveStream(process.stdout)
                return await stdout.receive_until(b"\n", _LONGEST_LINE)
        except (anyio.EndOfStream, anyio.IncompleteRead):
            status = await process.wait()
            raise ChildError(f"{self._name} {_how_it_ended(status)} before it was ready") from None
        except anyio.DelimiterNotFound as error:
            raise ChildError(f"{self._name} does not say that it is ready") from error
        except TimeoutError as error:
            raise ChildError(
                f"{self._name} was not ready within {self._ready_within:g} s"
            ) from error

    async def _stop(self, process: Process) -> None:
        """End it and whatever it started: asked first, killed when it takes too long."""
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                _signal(process, signal.SIGTERM)
                with anyio.move_on_after(self._stop_within):
                    await process.wait()
            if process.returncode is None:
                _log.warning("%s did not end within %g s; killed", self._name, self._stop_within)
            _signal(process, signal.SIGKILL)  # what it started, too; its pid names the group
            await process.wait()

    async def _keep(self, stderr: ByteReceiveStream | None, heard: anyio.Event) -> None:
        assert stderr is not None
        async for piece in stderr:
            self._said += piece
            del self._said[:-_KEPT_BYTES]
            if self._hear is not None:
                self._hear(piece)
        heard.set()

    def _last_words(self) -> str | None:
        said = self.stderr.strip()[-_SHOWN_CHARACTERS:]
        return f"it said: {said}" if said else None


@functools.cache
def _death_signal() -> tuple[str, ...]:
    """Return what starts a program so that it is killed with us, with no code of ours after fork.

    See prctl(2), PR_SET_PDEATHSIG.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return () if setpriv is None else (setpriv, "--pdeathsig", "KILL", "--")


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"


async def _discard(stream: ByteReceiveStream | None) -> None:
    assert stream is not None
    async for _ in stream:
        pass
