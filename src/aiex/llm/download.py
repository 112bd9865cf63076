"""Fetching one large file by HTTP, going on where an earlier try broke off.

Ranges and `If-Range` as in RFC 9110, sections 13.1.5 and 14: what is there already counts only
while the server's validator says that the file is still the same.
"""

from __future__ import annotations

import base64
import errno
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import msgspec

from aiex.core import UnavailableError

if TYPE_CHECKING:
    import ssl

    import aiohttp

__all__ = ["Access", "disk_error", "download"]

_BATCH_BYTES = 1024 * 1024
_CONNECT_SECONDS = 15.0
_SILENT_SECONDS = 60.0
_MOST_RESUMPTIONS = 20

T = TypeVar("T")


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to be let in.

    Attributes:
        certificates: File of the authorities to trust; `None` for the system's.
        logins: User and password by host.
    """

    certificates: Path | None = None
    logins: Mapping[str, tuple[str, str]] = msgspec.field(default_factory=dict)


class _Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Of which file a part is: kept beside it."""

    url: str
    validator: str


async def download(
    url: str, part: Path, *, access: Access, size: int | None = None
) -> AsyncGenerator[tuple[int, int | None], None]:
    """Fetch *url* into *part*, yielding the bytes that are there and the bytes in all.

    A connection that breaks is resumed at once as long as each brings something. On an error
    *part* stays, so that the next call goes on with it; the caller verifies and removes it.

    Args:
        url: Address, `https` or `http`.
        part: File to fill; its folder exists.
        access: Certificates and logins.
        size: Bytes that the file must have; `None` if unknown.

    Raises:
        UnavailableError: The server cannot be reached or does not give the file, which may pass,
            or the disk is full, which does not by itself.
    """
    import aiohttp  # noqa: PLC0415

    context = await anyio.to_thread.run_sync(_tls, access.certificates)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS
        ),
        headers={"Accept-Encoding": "identity", "User-Agent": "aiex"},
        trust_env=True,  # proxies, as pip and uv have them
    ) as session:
        for resumption in range(_MOST_RESUMPTIONS):
            had = await anyio.to_thread.run_sync(_size, part)
            try:
                async with aclosing(_fetch(session, url, part, access, size)) as steps:
                    async for step in steps:
                        yield step
                return
            except UnavailableError as error:
                has = await anyio.to_thread.run_sync(_size, part)
                if not error.transient or has <= had or resumption == _MOST_RESUMPTIONS - 1:
                    raise


async def _fetch(
    session: aiohttp.ClientSession, url: str, part: Path, access: Access, size: int | None
) -> AsyncGenerator[tuple[int, int | None], None]:
    import aiohttp  # noqa: PLC0415

    begin, origin = await anyio.to_thread.run_sync(_resumable, url, part)
    headers = {}
    if begin and origin is not None:
        headers = {"Range": f"bytes={begin}-", "If-Range": origin.validator}
    login = access.logins.get(urlsplit(url).hostname or "")
    if login is not None:  # aiohttp does not take it along to another host
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
    host = urlsplit(url).hostname
    try:
        async with session.get(url, headers=headers) as response:
            if response.status == 416:  # what we have is not the beginning of what they have
                await anyio.to_thread.run_sync(_discard, part)
                raise UnavailableError(f"{host} has another file now", transient=True)
            if response.status not in {200, 206}:
                raise _refused(response)
            begin, total = _extent(response, begin, size)
            origin = _origin_of(url, response)
            file = await _on_disk(part, lambda: _open(part, begin, origin))
            try:
                async with aclosing(_write_all(response, file, part, begin)) as steps:
                    async for done in steps:
                        yield done, total
            finally:
                with anyio.CancelScope(shield=True):
                    await _on_disk(part, file.close)
    except (aiohttp.ClientError, OSError) as error:  # a time-out is an OSError
        raise UnavailableError(
            f"{host} cannot be reached, or broke off: {str(error) or type(error).__name__}",
            hint="try again: what was fetched so far is kept",
            transient=True,
        ) from error
    has = await anyio.to_thread.run_sync(_size, part)
    if total is not None and has != total:
        raise UnavailableError(
            f"{host} sent {has} of {total} bytes",
            hint="try again: what was fetched so far is kept",
            transient=True,
        )


async def _write_all(
    response: aiohttp.ClientResponse, file: BinaryIO, part: Path, begin: int
) -> AsyncGenerator[int, None]:
    """Write the body to *file* in batches, yielding the bytes that are there."""
    done, batch = begin, bytearray()
    yield done
    try:
        async for piece in response.content.iter_any():
            batch += piece
            if len(batch) >= _BATCH_BYTES:
                await _on_disk(part, partial(file.write, bytes(batch)))
                done += len(batch)
                batch.clear()
                yield done
    finally:
        if batch:
            with anyio.CancelScope(shield=True):
                await _on_disk(part, partial(file.write, bytes(batch)))
    yield done + len(batch)


async def _on_disk(part: Path, work: Callable[[], T]) -> T:
    try:
        return await anyio.to_thread.run_sync(work)
    except OSError as error:
        raise disk_error(error, part) from error


def _extent(
    response: aiohttp.ClientResponse, begin: int, size: int | None
) -> tuple[int, int | None]:
    """Return where the body begins in the file, and the bytes of the whole file."""
    if response.status == 206:
        unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
        first, _, whole = rest.partition("-")[0], None, rest.rpartition("/")[2]
        if unit != "bytes" or first != str(begin):
            raise UnavailableError(f"{response.url.host} sent another part than was asked for")
        total = int(whole) if whole.isdigit() else None
    else:
        begin, total = 0, response.content_length
    if size is not None and total is not None and total != size:
        raise UnavailableError(
            f"{response.url.host} has a file of {total} bytes; {size} were expected"
        )
    return begin, size if total is None else total


def _refused(response: aiohttp.ClientResponse) -> UnavailableError:
    passes = response.status in {408, 429} or response.status >= 500
    return UnavailableError(
        f"{response.url.host} answered {response.status} {response.reason or ''}".rstrip(),
        hint="check the address and the login for it"
        if response.status in {401, 403, 404}
        else None,
        transient=passes,
    )


def _origin_of(url: str, response: aiohttp.ClientResponse) -> _Origin | None:
    """Return how to ask whether the file is still the same; weak tags do not tell that."""
    tag = response.headers.get("ETag")
    validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
    return None if validator is None else _Origin(url=url, validator=validator)


def _resumable(url: str, part: Path) -> tuple[int, _Origin | None]:
    """Return the bytes that may be built upon, and by what to ask for the rest."""
    try:
        origin = msgspec.json.decode(_origin_file(part).read_bytes(), type=_Origin)
    except (OSError, msgspec.MsgspecError):
        return 0, None
    return (_size(part), origin) if origin.url == url else (0, None)


def _open(part: Path, begin: int, origin: _Origin | None) -> BinaryIO:
    """Return *part*, cut to *begin* and ready to be written on."""
    if begin == 0:
        _discard(part)
        if origin is not None:
            _origin_file(part).write_bytes(msgspec.json.encode(origin))
    file = part.open("ab")
    file.truncate(begin)
    return file


def _discard(part: Path) -> None:
    for path in (part, _origin_file(part)):
        with suppress(FileNotFoundError):
            path.unlink()


def _origin_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _tls(certificates: Path | None) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415

    return ssl.create_default_context(cafile=certificates)


def disk_error(error: OSError, path: Path) -> UnavailableError:
    """Return *error* of writing to *path* in words."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return UnavailableError(
            f"the disk of {path.parent} is full",
            hint="make room, or name another folder with state.models, and try again",
        )
    return UnavailableError(f"{path.parent} cannot be written: {error.strerror or error}")
