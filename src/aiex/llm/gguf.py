"""What a GGUF file says of itself in its head.

Layout: ggml-org/ggml `docs/gguf.md`, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import msgspec

from aiex.core import UsageError

__all__ = ["GgufHead", "read_gguf"]

_MAGIC = b"GGUF"
_VERSIONS = {2, 3}
_MOST_PAIRS = 10_000
_LONGEST_KEY = 64 * 1024
_LONGEST_STRING = 64 * 1024 * 1024
_MOST_ITEMS = 16_000_000
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}


class GgufHead(msgspec.Struct, frozen=True, kw_only=True):
    """What we use of the head.

    Attributes:
        architecture: Such as `llama`.
        context_tokens: Largest window; `None` if it does not say.
    """

    architecture: str
    context_tokens: int | None = None


def read_gguf(path: Path) -> GgufHead:
    """Return the head of the file at *path*; what follows it is not looked at.

    Raises:
        UsageError: It is no GGUF file, or its head is cut short.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        try:
            return _read_head(file)
        except (struct.error, UnicodeDecodeError, ValueError) as error:
            raise UsageError(f"{path} is not a GGUF file that can be read: {error}") from error


def _read_head(file: BinaryIO) -> GgufHead:
    if file.read(4) != _MAGIC:
        raise ValueError("it does not begin with GGUF")
    version, _tensors, pairs = _unpack(file, "<IQQ")
    if version not in _VERSIONS:
        raise ValueError(f"version {version} is not known")
    found: dict[str, object] = {}
    for _ in range(_bounded(pairs, _MOST_PAIRS)):
        key = _read_string(file, _LONGEST_KEY)
        found[key] = _read_value(file, _unpack(file, "<I")[0])
        architecture = found.get("general.architecture")
        context = found.get(f"{architecture}.context_length")
        if isinstance(architecture, str) and isinstance(context, int):
            return GgufHead(architecture=architecture, context_tokens=context)
    architecture = found.get("general.architecture")
    if isinstance(architecture, str):
        return GgufHead(architecture=architecture)
    raise ValueError("it names no architecture")


def _read_value(file: BinaryIO, kind: int) -> object:
    """Return a scalar or string; an array is passed over."""
    if kind == _STRING:
        return _read_string(file, _LONGEST_STRING)
    if kind != _ARRAY:
        return _unpack(file, _scalar(kind))[0]
    item, count = _unpack(file, "<IQ")
    count = _bounded(count, _MOST_ITEMS)
    if item == _STRING:
        for _ in range(count):
            _read_string(file, _LONGEST_STRING)
    else:
        file.seek(struct.calcsize(_scalar(item)) * count, 1)
    return None


def _read_string(file: BinaryIO, longest: int) -> str:
    data = file.read(_bounded(length := _unpack(file, "<Q")[0], longest))
    if len(data) < length:
        raise ValueError("it is cut short")
    return data.decode()


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    data = file.read(struct.calcsize(layout))
    if len(data) < struct.calcsize(layout):
        raise ValueError("it is cut short")
    return struct.unpack(layout, data)


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"a value of kind {kind} is not known")
    return _SCALARS[kind]


def _bounded(number: int, most: int) -> int:
    if number > most:
        raise ValueError(f"{number} of something of which there are at most {most}")
    return number
