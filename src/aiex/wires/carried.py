"""What becomes of the messages of a call on another wire, part by part.

What a wire has words for is carried, a text document as text where there are no documents. The
rest falls in two. What a user or a tool gave, and what refers to something that is kept at the
client's own provider, is refused: without it another question is answered. What a provider made
on its own and a client only hands back, and what merely hints, is lost, and named.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from aiex.core import (
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolResultPart,
)
from aiex.wires import anthropic_messages, ollama, openai_chat, openai_responses
from aiex.wires.opaque import is_block, merged
from aiex.wires.streams import Spoken

__all__ = ["Carrier", "says_nothing"]

_AS_IF_ABSENT: Final = frozenset({b"null", b"false", b"[]", b"{}", b"0", b'""'})
_PLACES: Final = {openai_responses.WIRE: "input"}
_WORDS: Final = {
    openai_chat.WIRE: ("reasoning_content", "image_url", "file"),
    openai_responses.WIRE: ("reasoning", "input_image", "input_file"),
    anthropic_messages.WIRE: ("thinking", "image", "document"),
}
"""What each wire calls the thinking of an assistant, a picture and a file."""

_OPENAI: Final = frozenset({openai_chat.WIRE, openai_responses.WIRE})
_SMALLER: Final = frozenset({anthropic_messages.WIRE, ollama.WIRE})
_CLIENTS_OWN: Final = frozenset(
    {
        "additional_tools",
        "compaction_trigger",
        "configuration_update",
        "container_upload",
        "context_compaction",
        "custom",
        "item_reference",
        "mcp_approval_response",
    }
)
"""Blocks of an assistant, and items without a role, that are the client's own doing."""

_REFUSED_KEYS: Final = frozenset({"audio", "function_call"})
_ADDRESSES: Final = frozenset({"id", "status"})
"""Where the client's own provider keeps what is there in full."""

_COPIES: Final = frozenset({"content", "output", "summary"})
"""What stands in a part too, kept as it was written."""

_DEFAULTS: Final[Mapping[str, object]] = {"caller": {"type": "direct"}}
_PDF: Final = "application/pdf"
_PDF_BEGINS: Final = "JVBERi"  # "%PDF-" in base64
_TEXTS: Final = frozenset({"application/json", "application/xml", "application/x-yaml"})


def says_nothing(raw: bytes | msgspec.Raw) -> bool:
    """Return whether the JSON *raw* is what its absence would be."""
    return bytes(raw).strip() in _AS_IF_ABSENT


class Carrier:
    """Carries messages over, and notes what stays behind.

    Args:
        spoken: What the provider understands.
        wire: Wire that the messages came in.

    Attributes:
        refused: What would make it another question.
        lost: What the provider is not told.
    """

    def __init__(self, spoken: Spoken, wire: str) -> None:
        self._spoken = spoken.wire
        self._takes_thinking = spoken.takes_thinking
        self._wire = wire
        self._place = _PLACES.get(wire, "messages")
        self._thinking, self._image, self._document = _WORDS.get(
            wire, ("thinking", "image", "file")
        )
        self.refused: set[str] = set()
        self.lost: set[str] = set()

    def messages(self, messages: Iterable[Message]) -> tuple[Message, ...]:
        """Return the messages as they can be told; without those of which nothing is left."""
        found = []
        for message in messages:
            if message.name is not None and self._spoken != openai_chat.WIRE:
                self._lose("name")
            parts = tuple(self._parts(message))
            if parts or not message.parts:
                found.append(msgspec.structs.replace(message, parts=parts))
        return tuple(found)

    def _lose(self, name: str) -> None:
        self.lost.add(f"{self._place}.{name}")

    def _refuse(self, name: str) -> None:
        self.refused.add(f"{self._place}.{name}")

    def _parts(self, message: Message) -> Iterator[Part]:
        before: Part | None = None
        for part in message.parts:
            match part:
                case OpaquePart() if part.wire != self._wire or self._spoken == self._wire:
                    yield part
                case OpaquePart() if is_block(part):
                    yield from self._block(part, by_model=message.role == "assistant")
                case OpaquePart():
                    has_copy = isinstance(before, ToolResultPart | ReasoningPart)
                    self._keys(merged([part], part.wire), _COPIES if has_copy else frozenset())
                    continue
                case ImagePart() | FilePart() if message.role == "assistant":
                    is_picture = isinstance(part, ImagePart)
                    self._refuse(self._image if is_picture else self._document)
                case ImagePart():
                    yield self._picture(part)
                case FilePart():
                    yield from self._file(part)
                case ToolResultPart():
                    yield self._result(part)
                case ReasoningPart():
                    yield from self._thought(part)
                case TextPart(cache=True) if self._spoken != anthropic_messages.WIRE:
                    self._lose("cache_control")
                    yield TextPart(text=part.text)
                case _:
                    yield part
            before = part

    # ------------------------------------------------------------ what the client gave

    def _picture(self, part: ImagePart) -> ImagePart:
        if part.url is not None and self._spoken == ollama.WIRE:
            self._refuse(f"{self._image} by its address")
        if part.detail not in {None, "auto"} and self._spoken in _SMALLER:
            self._lose("detail")
        if part.detail == "original" and self._spoken == openai_chat.WIRE:
            return msgspec.structs.replace(part, detail="high")  # the most it has
        return part

    def _file(self, part: FilePart) -> Iterator[Part]:
        if part.data is not None and part.media_type is None and part.data.startswith(_PDF_BEGINS):
            part = msgspec.structs.replace(part, media_type=_PDF)
        text = _text_of(part)
        if self._spoken == anthropic_messages.WIRE:
            if text is not None:
                yield FilePart(text=text, name=part.name, about=part.about)
                return
        elif text is not None and (part.text is not None or self._spoken == ollama.WIRE):
            yield TextPart(text=_written(text, part.name, part.about))
            return
        if not self._takes(part):
            self._refuse(self._document if part.file_id is None else "file_id")
        if self._spoken == anthropic_messages.WIRE:
            yield part
            return
        # A name goes with the data alone, and nothing else is said of a file.
        told = [part.about] if part.data is not None else [part.name, part.about]
        said = "\n".join(one for one in told if one)
        if said:
            yield TextPart(text=said)
        name = part.name if part.data is not None else None
        yield msgspec.structs.replace(part, name=name, about=None)

    def _takes(self, part: FilePart) -> bool:
        """Return whether the wire has words for a file that is no text."""
        if part.file_id is not None:  # a name that its own provider alone knows
            return {self._spoken, self._wire} <= _OPENAI
        if part.url is not None:
            return self._spoken in {anthropic_messages.WIRE, openai_responses.WIRE}
        if self._spoken == anthropic_messages.WIRE:
            return part.data is not None and part.media_type == _PDF
        return part.data is not None and self._spoken in _OPENAI

    def _result(self, part: ToolResultPart) -> ToolResultPart:
        if part.is_error and self._spoken != anthropic_messages.WIRE:
            self._lose("is_error")
        texts = [part.text] if part.text else []
        for one in part.others:
            if is_block(one):
                texts += [found.text for found in self._block(one, by_model=False)]
            else:
                self._keys(merged([one], one.wire), frozenset())
        files: list[FilePart] = []
        for file in part.files:
            for found in self._file(file):
                if isinstance(found, FilePart):
                    files.append(found)
                elif isinstance(found, TextPart):
                    texts.append(found.text)
        return msgspec.structs.replace(
            part,
            text="\n".join(texts),
            images=tuple(map(self._picture, part.images)),
            files=tuple(files),
            others=(),
        )

    # ------------------------------------------------------------ what only one wire has

    def _block(self, part: OpaquePart, *, by_model: bool) -> Iterator[TextPart]:
        keys = merged([part], part.wire)
        kind = msgspec.json.decode(keys.pop("type"), type=str)
        text = _TEXTS_OF.get(kind, _no_text)(keys)
        if text is not None:
            self._keys(keys, frozenset())
            yield TextPart(text=text)
        elif not by_model or kind in _CLIENTS_OWN or (kind == "compaction" and _is_full(keys)):
            self._refuse(kind)
        else:
            self._lose(kind)

    def _keys(self, keys: Mapping[str, msgspec.Raw], told: frozenset[str]) -> None:
        for name, raw in keys.items():
            said = bytes(raw).strip()
            if name in told or says_nothing(said):
                continue
            if name in _DEFAULTS and msgspec.json.decode(said) == _DEFAULTS[name]:
                continue
            if name in _ADDRESSES and self._wire == openai_responses.WIRE:
                continue
            if name == "citations" and said.startswith(b"{"):
                # Of a document: whether what is said of it shall be proved. Of a text: the proof.
                if b"true" in said:
                    self._refuse(name)
                continue
            if name in _REFUSED_KEYS:
                self._refuse(name)
            else:
                self._lose(name)

    def _thought(self, part: ReasoningPart) -> Iterator[ReasoningPart]:
        if part.text and self._takes_thinking:
            yield ReasoningPart(text=part.text)
            part = msgspec.structs.replace(part, text="")
        if part.text or part.signature:
            self._lose(self._thinking)
        elif part.encrypted:
            self._lose("redacted_thinking" if part.id is None else self._thinking)


def _text_of(part: FilePart) -> str | None:
    """Return the text of a file that is text, `None` if it is none."""
    kind = (part.media_type or "").partition(";")[0].strip()
    if (
        part.text is not None
        or part.data is None
        or not (kind.startswith("text/") or kind in _TEXTS)
    ):
        return part.text
    try:
        return base64.b64decode(part.data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None


def _written(text: str, name: str | None, about: str | None) -> str:
    """Return a document as a text that shows where it begins and ends."""
    title = "" if name is None else f" title={msgspec.json.encode(name).decode()}"
    context = "" if about is None else f"{about}\n\n"
    return f"<document{title}>\n{context}{text}\n</document>\n"


# ---------------------------------------------------------------- blocks that are texts

_Keys = dict[str, msgspec.Raw]
_BLOCKS = msgspec.json.Decoder(list[_Keys])


def _no_text(keys: _Keys) -> None:
    del keys


def _search_result(keys: _Keys) -> str | None:
    text = _joined(keys)
    if text is None:
        return None
    source = _string(keys.pop("source", None))
    return _written(text, _string(keys.pop("title", None)), source)


def _document(keys: _Keys) -> str | None:
    """Return the text of a document that consists of texts, `None` if it has anything else."""
    source = msgspec.json.decode(keys["source"], type=_Keys)
    text = _joined(source)
    if _string(source.pop("type", None)) != "content" or text is None:
        return None
    keys |= source
    del keys["source"]
    context = _string(keys.pop("context", None))
    return _written(text, _string(keys.pop("title", None)), context)


def _compaction(keys: _Keys) -> str | None:
    text = _string(keys.get("content"))
    if text is None:
        return None
    for name in ("content", "encrypted_content", "signature"):
        keys.pop(name, None)  # the same again, for its own provider
    return text


_TEXTS_OF: Final[Mapping[str, Callable[[_Keys], str | None]]] = {
    "compaction": _compaction,
    "document": _document,
    "search_result": _search_result,
}


def _joined(keys: _Keys) -> str | None:
    """Take the texts under `content` and return them; the further keys of theirs go to *keys*."""
    content = bytes(keys.get("content", b"")).strip()
    if content.startswith(b'"'):
        return _string(keys.pop("content"))
    texts = []
    further: _Keys = {}
    for block in _BLOCKS.decode(content) if content.startswith(b"[") else ():
        if _string(block.pop("type", None)) != "text":
            return None
        texts.append(_string(block.pop("text", None)) or "")
        further |= block
    keys.pop("content", None)
    keys |= further
    return "\n".join(texts)


def _string(raw: msgspec.Raw | None) -> str | None:
    """Return the text that *raw* is, `None` for anything else."""
    is_text = raw is not None and bytes(raw).strip().startswith(b'"')
    return msgspec.json.decode(raw, type=str) if raw is not None and is_text else None


def _is_full(keys: _Keys) -> bool:
    """Return whether a compaction holds what was said, though nobody else can read it."""
    return _string(keys.get("encrypted_content")) is not None
