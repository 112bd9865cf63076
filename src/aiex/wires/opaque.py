"""What only its own wire understands, kept beside the parts so that it is lost nowhere.

An `OpaquePart` is one of two things. With a `type` in its JSON it is a whole block, such as the
result of a tool that runs at the provider. Without one it holds further keys of the part before
it (of the message, on the wire of chat completions), such as `cache_control` or `citations`.
Codecs of other wires skip both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from aiex.core import OpaquePart, Tool

__all__ = ["citation_keys", "is_block", "keys_part", "merged", "written_tools"]

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_CITATION_KEYS = {"anthropic_messages": "citations"}


def is_block(part: OpaquePart) -> bool:
    """Return whether *part* is a whole block; otherwise it holds keys of the part before it."""
    return "type" in _OBJECT.decode(part.json)


def keys_part(wire: str, keys: Mapping[str, object]) -> OpaquePart:
    """Return *keys* as further keys of the part before it."""
    return OpaquePart(wire=wire, json=msgspec.Raw(msgspec.json.encode(keys)))


def citation_keys(citations: Iterable[OpaquePart]) -> OpaquePart:
    """Return several citations of one part as its further keys."""
    found = tuple(citations)
    key = _CITATION_KEYS.get(found[0].wire, "annotations")
    return keys_part(found[0].wire, {key: [citation.json for citation in found]})


def written_tools(
    tools: Iterable[Tool], wire: str, function: Callable[[Tool], object]
) -> list[object]:
    """Return *tools* as *wire* writes them; one that is no function stays on its own wire.

    Args:
        tools: The tools.
        wire: Name of the wire.
        function: Writes a tool that is a function.
    """
    written: list[object] = []
    for tool in tools:
        if tool.opaque is not None and tool.opaque.wire == wire:
            written.append(tool.opaque.json)
        elif tool.opaque is None or tool.parameters:
            written.append(function(tool))
    return written


def merged(parts: Iterable[OpaquePart], wire: str) -> dict[str, msgspec.Raw]:
    """Return the keys that *parts* add to the part before them on *wire*.

    What came piece by piece is joined: arrays are appended, objects merged, else the last wins.
    """
    keys: dict[str, msgspec.Raw] = {}
    for part in parts:
        if part.wire == wire:
            keys = _joined(keys, _OBJECT.decode(part.json))
    return keys


def _joined(old: dict[str, msgspec.Raw], new: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    return old | {name: _join(old.get(name), raw) for name, raw in new.items()}


def _join(old: msgspec.Raw | None, new: msgspec.Raw) -> msgspec.Raw:
    kinds = (bytes(old or b"")[:1], bytes(new)[:1])
    if old is None or kinds not in {(b"[", b"["), (b"{", b"{")}:
        return new
    if kinds == (b"[", b"["):
        both = _ARRAY.decode(old) + _ARRAY.decode(new)
        return msgspec.Raw(msgspec.json.encode(both))
    return msgspec.Raw(msgspec.json.encode(_joined(_OBJECT.decode(old), _OBJECT.decode(new))))
