"""How much a model has to read of a body that nobody decodes."""

from __future__ import annotations

import re

import msgspec

__all__ = ["BodySize"]

_A_PICTURE = 1600
_BYTES_A_DOCUMENT_TOKEN = 30  # a page of 90 kB and 3,000 tokens
_SHORTEST_DATA = 64
_DATA = re.compile(rb';base64,|"data"\s*:\s*"')
_ADDRESS = re.compile(rb'"(?:image_url|url)"\s*:\s*(?:\{\s*"url"\s*:\s*)?"(?!data:)')
_NEAR = 160


class BodySize(msgspec.Struct, frozen=True, kw_only=True):
    """Of what a body is made.

    Attributes:
        text_bytes: Bytes that are read as text.
        pictures: Pictures, by value or by address.
        other_tokens: Tokens of what is no text: pictures and documents.
        writes_cache: Whether a part of the prompt is marked to be cached.
        has_tools: Whether it offers tools.
    """

    text_bytes: int
    pictures: int = 0
    other_tokens: int = 0
    writes_cache: bool = False
    has_tools: bool = False

    @staticmethod
    def of(body: bytes) -> BodySize:
        """Return the sizes of *body*, a request in the wire of a client.

        A character that is escaped counts as it would be written in UTF-8. What looks like
        base64 is taken for a picture, or by its media type for a document.
        """
        size = len(body) - 3 * body.count(b"\\u")
        writes_cache = b'"cache_control"' in body
        has_tools = b'"tools"' in body
        if b"base64" not in body and b'"image' not in body:
            return BodySize(text_bytes=size, writes_cache=writes_cache, has_tools=has_tools)
        pictures = tokens = 0
        for found in _DATA.finditer(body):
            end = body.find(b'"', found.end())
            length = (end if end >= 0 else len(body)) - found.end()
            if length < _SHORTEST_DATA:
                continue
            size -= length
            near = body[max(0, found.start() - _NEAR) : found.start()] + body[end : end + _NEAR]
            if b"application/" in near:
                tokens += max(_A_PICTURE, length // _BYTES_A_DOCUMENT_TOKEN)
            else:
                pictures += 1
        if b'"image' in body:
            pictures += len(_ADDRESS.findall(body))
        return BodySize(
            text_bytes=max(size, 0),
            pictures=pictures,
            other_tokens=tokens + pictures * _A_PICTURE,
            writes_cache=writes_cache,
            has_tools=has_tools,
        )
