"""POST /v1/embeddings of OpenAI and its imitators."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence

import msgspec

from aiex.core import Embedding, OverloadedError
from aiex.wires.fields import UNREADABLE

__all__ = ["WIRE", "decode_embedding", "encode_embedding_request"]

WIRE = "openai_embeddings"


class _Row(msgspec.Struct):
    embedding: tuple[float, ...] | str
    index: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Body(msgspec.Struct):
    data: list[_Row]
    model: str = ""
    usage: _Usage | None = None


def encode_embedding_request(
    model: str, texts: Sequence[str], *, encoding_format: str = "float"
) -> bytes:
    """Return the body that asks for one vector a text.

    Args:
        model: Model to ask.
        texts: Texts, at least one.
        encoding_format: `float`, which every imitator knows, or `base64`.
    """
    return msgspec.json.encode(
        {"model": model, "input": list(texts), "encoding_format": encoding_format}
    )


def _vector(row: _Row) -> tuple[float, ...]:
    if not isinstance(row.embedding, str):
        return row.embedding
    data = base64.b64decode(row.embedding, validate=True)  # float32, little-endian
    return struct.unpack(f"<{len(data) // 4}f", data)


def decode_embedding(body: bytes, *, model: str) -> Embedding:
    """Return the vectors of an answer, in the order of the texts.

    Args:
        body: The body; vectors as numbers or as base64.
        model: Model that was asked, for answers that do not name it.

    Raises:
        OverloadedError: It is not such an answer.
    """
    try:
        answer = msgspec.json.decode(body, type=_Body)
        rows = sorted(answer.data, key=lambda row: row.index)
        vectors = tuple(_vector(row) for row in rows)
    except (*UNREADABLE, ValueError, struct.error) as error:
        raise OverloadedError(f"the embeddings cannot be read: {error}") from error
    tokens = None if answer.usage is None else answer.usage.prompt_tokens
    return Embedding(vectors=vectors, model=answer.model or model, input_tokens=tokens)
