"""The workers of one server among each other: whoever is asked for metrics answers for all.

A scrape reaches one worker, whichever the kernel chooses. It asks the others at Unix sockets in a
folder that only their user can enter, and labels each sample with the worker that it is of.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

__all__ = ["Siblings", "merged"]

_SECONDS = 1.0
_MOST_BYTES = 8 << 20

Text = Callable[[], Awaitable[str]]
"""Returns the metrics of one worker."""


class Siblings(msgspec.Struct, frozen=True, kw_only=True):
    """The workers of one server.

    Attributes:
        folder: Folder of their sockets.
        number: Which of them this process is, from 0.
        count: How many they are.
    """

    folder: Path
    number: int
    count: int

    @classmethod
    def named(cls, text: str) -> Siblings:
        """Return what `str` made a text of.

        Raises:
            ValueError: It is none.
        """
        number, count, folder = text.split(":", 2)
        return cls(folder=Path(folder), number=int(number), count=int(count))

    def __str__(self) -> str:
        return f"{self.number}:{self.count}:{self.folder}"

    def _path(self, number: int) -> str:
        return str(self.folder / str(number))

    @asynccontextmanager
    async def answering(self, text: Text) -> AsyncIterator[None]:
        """Answer the others with *text* while the context is entered."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            del reader
            try:
                async with asyncio.timeout(_SECONDS):
                    writer.write((await text()).encode())
                    await writer.drain()
            except (OSError, TimeoutError):
                pass
            finally:
                writer.close()

        path = self._path(self.number)
        await asyncio.to_thread(Path(path).unlink, missing_ok=True)  # of one that was killed
        server = await asyncio.start_unix_server(answer, path)
        try:
            yield
        finally:
            server.close()

    async def gathered(self, own: str) -> str:
        """Return the metrics of all workers, of which *own* are those of this one."""
        texts: list[str | None] = [None] * self.count
        texts[self.number] = own

        async def ask(number: int) -> None:
            texts[number] = await _ask(self._path(number))

        async with asyncio.TaskGroup() as tasks:
            for number in range(self.count):
                if number != self.number:
                    tasks.create_task(ask(number))
        up = "# HELP aiex_worker_up Whether the worker answers.\n# TYPE aiex_worker_up gauge\n"
        return merged(
            (str(number), f"{up}aiex_worker_up {0 if text is None else 1}\n{text or ''}")
            for number, text in enumerate(texts)
        )


async def _ask(path: str) -> str | None:
    """Return what the worker at *path* says; `None` if it does not answer."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            pieces: list[bytes] = []
            while piece := await reader.read(65536):
                pieces.append(piece)
                if len(pieces) * 65536 > _MOST_BYTES:
                    return None
            return b"".join(pieces).decode()
    except (OSError, TimeoutError, UnicodeDecodeError):
        return None
    finally:
        if writer is not None:
            writer.close()


def merged(texts: Iterable[tuple[str, str]]) -> str:
    r"""Return one text of metrics, in which each sample names its worker.

    Args:
        texts: Worker, and its metrics in Prometheus's text form.

    Example:
        >>> print(merged([("0", "# TYPE a gauge\na 1\n"), ("1", '# TYPE a gauge\na{b="c"} 2\n')]))
        # TYPE a gauge
        a{worker="0"} 1
        a{worker="1",b="c"} 2
        <BLANKLINE>
    """
    heads: dict[str, dict[str, str]] = {}
    samples: dict[str, list[str]] = {}
    for worker, text in texts:
        family = ""
        for line in text.split("\n"):
            if line.startswith("# "):
                _, word, family, *_ = line.split(" ", 3)
                heads.setdefault(family, {})[word] = line
            elif line:
                samples.setdefault(family, []).append(_labelled(line, worker))
    lines = [
        line for family, of in samples.items() for line in (*heads.get(family, {}).values(), *of)
    ]
    return "\n".join(lines) + "\n"


def _labelled(sample: str, worker: str) -> str:
    name, value = sample.split(" ", 1)
    if "{" not in name:
        return f'{name}{{worker="{worker}"}} {value}'
    name, labels = sample.split("{", 1)
    comma = "" if labels.startswith("}") else ","
    return f'{name}{{worker="{worker}"{comma}{labels}'
