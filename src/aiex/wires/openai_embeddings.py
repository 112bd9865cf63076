"""POST /v1/embeddings of OpenAI and its imitators."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence

import msgspec

from aiex.core import Embedding, Finish, InvalidCallError, OverloadedError, Usage
from aiex.wires.fields import UNREADABLE, Fields
from aiex.wires.openai_errors import error_in_stream

__all__ = [
    "WIRE",
    "EmbeddingRequest",
    "decode_embedding",
    "decode_embedding_request",
    "encode_embedding",
    "encode_embedding_request",
    "finish_of",
]

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


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks in this wire.

    Attributes:
        texts: Texts, in order.
        encoding_format: How it wants its vectors.
    """

    texts: tuple[str, ...]
    encoding_format: str = "float"


def decode_embedding_request(body: bytes) -> EmbeddingRequest:
    """Return what *body* asks of a provider that takes texts and nothing else.

    Raises:
        InvalidCallError: It is no such body, or it asks for what only OpenAI's own wire can say.
    """
    fields = Fields(body, "body")
    if fields.take("dimensions", int) is not None:
        raise InvalidCallError("body.dimensions cannot be chosen at this model; leave it out")
    if fields.peek("input").startswith(b"["):
        if fields.peek("input")[1:].lstrip()[:1] in {b"[", *(b"%d" % n for n in range(10))}:
            raise InvalidCallError("body.input: this model takes texts, and these are tokens")
        texts = tuple(fields.need("input", list[str]))
    else:
        texts = (fields.need("input", str),)
    if not texts:
        raise InvalidCallError("body.input is empty; at least one text is needed")
    wanted = (
        fields.choice("encoding_format", ("float", "base64"))
        if (fields.peek("encoding_format"))
        else "float"
    )
    return EmbeddingRequest(texts=texts, encoding_format=wanted)


def encode_embedding(
    embedding: Embedding, *, model: str, encoding_format: str, input_tokens: int
) -> bytes:
    """Return the body of an answer.

    Args:
        embedding: The vectors.
        model: Model name to carry.
        encoding_format: `float` or `base64`.
        input_tokens: Tokens that the texts took.
    """
    rows = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _packed(vector) if encoding_format == "base64" else vector,
        }
        for index, vector in enumerate(embedding.vectors)
    ]
    usage = {"prompt_tokens": input_tokens, "total_tokens": input_tokens}
    return msgspec.json.encode({"object": "list", "data": rows, "model": model, "usage": usage})


def _packed(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


class _Answer(msgspec.Struct):
    data: list[msgspec.Raw] | None = None
    model: str | None = None
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw()


_ANSWER = msgspec.json.Decoder(_Answer)


def finish_of(body: bytes) -> Finish:
    """Return what an answer that is passed on says of itself; its vectors are not read.

    Raises:
        OverloadedError: It is no such answer.
        ProviderError: It says that something went wrong.
    """
    try:
        answer = _ANSWER.decode(body)
        if answer.error:
            raise error_in_stream(answer.error)
    except UNREADABLE as error:
        raise OverloadedError(f"the embeddings cannot be read: {error}") from error
    if answer.data is None:
        raise OverloadedError("the embeddings cannot be read: there is no data")
    tokens = None if answer.usage is None else answer.usage.prompt_tokens
    usage = None if tokens is None else Usage(input_tokens=tokens)
    return Finish(reason="stop", usage=usage, model=answer.model)


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
