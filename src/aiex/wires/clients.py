"""The wires in which clients speak to us, each behind the same few functions."""

from __future__ import annotations

import abc
from datetime import datetime
from typing import Protocol

from aiex.core import AiexError, Delta, Finish, ModelReply, UsageError
from aiex.wires import anthropic_messages, ollama, openai_chat, openai_responses
from aiex.wires.scan import SCANNERS, Redact, ResponsesScanner, StreamScanner
from aiex.wires.sse import encode_event
from aiex.wires.streams import WireRequest

__all__ = ["CLIENT_WIRES", "ClientWire", "Encoder"]


class Encoder(Protocol):
    """Writes one streamed reply."""

    def encode(self, delta: Delta) -> bytes:
        """Return the events that *delta* becomes; `b""` for what the wire cannot say."""

    def error(self, error: AiexError) -> bytes:
        """Return the event that ends a stream that failed."""


class ClientWire(abc.ABC):
    """One wire.

    Attributes:
        name: Its name, such as `openai_chat`.
        prefix: What identifiers of replies begin with.
        document: First byte of an answer that is not the stream that was asked for; empty where
            it tells nothing.
        count_name: Name of the wire of its endpoint that counts tokens; empty for none.
    """

    name: str
    prefix: str
    document: bytes = b"{"
    count_name: str = ""

    def scanner(self, *, drops_usage: bool, needs_marker: bool, redact: Redact) -> StreamScanner:
        """Return a new scanner; see `StreamScanner`."""
        return SCANNERS[self.name](
            drops_usage=drops_usage, needs_marker=needs_marker, redact=redact
        )

    @abc.abstractmethod
    def decode_request(self, body: bytes) -> WireRequest:
        """Return what a body asks.

        Raises:
            InvalidCallError: It is not one of this wire.
        """

    @abc.abstractmethod
    def decode_reply(self, body: bytes) -> ModelReply:
        """Return the reply of a body that was not streamed.

        Raises:
            OverloadedError: It is not one of this wire.
            ProviderError: It says that the reply failed.
        """

    def decode_finish(self, body: bytes) -> Finish:
        """Return how the reply ended of a body that was not streamed; as `decode_reply`."""
        return self.decode_reply(body).finish

    @abc.abstractmethod
    def encoder(self, *, model: str, reply_id: str, at: datetime, include_usage: bool) -> Encoder:
        """Return what writes a new streamed reply."""

    @abc.abstractmethod
    def encode_reply(self, reply: ModelReply, *, model: str, reply_id: str, at: datetime) -> bytes:
        """Return the body of a reply that is not streamed."""

    def encode_count(self, tokens: int) -> bytes:
        """Return the body of an answer that says how many tokens a prompt has."""
        raise UsageError(f"the wire {self.name} counts no tokens")

    @abc.abstractmethod
    def failure(self, error: AiexError, scanner: StreamScanner) -> bytes:
        """Return what ends a stream that was passed on, and failed.

        Args:
            error: What went wrong.
            scanner: What has read the stream.
        """


class _Chat(ClientWire):
    name = openai_chat.WIRE
    prefix = "chatcmpl"

    def decode_request(self, body: bytes) -> WireRequest:
        return openai_chat.decode_request(body)

    def decode_reply(self, body: bytes) -> ModelReply:
        return openai_chat.decode_reply(body)

    def decode_finish(self, body: bytes) -> Finish:
        return openai_chat.decode_finish(body)

    def encoder(self, *, model: str, reply_id: str, at: datetime, include_usage: bool) -> Encoder:
        return openai_chat.StreamEncoder(
            model=model,
            reply_id=reply_id,
            created=int(at.timestamp()),
            include_usage=include_usage,
        )

    def encode_reply(self, reply: ModelReply, *, model: str, reply_id: str, at: datetime) -> bytes:
        created = int(at.timestamp())
        return openai_chat.encode_reply(reply, model=model, reply_id=reply_id, created=created)

    def failure(self, error: AiexError, scanner: StreamScanner) -> bytes:
        return encode_event(openai_chat.encode_error(error))


class _Responses(ClientWire):
    name = openai_responses.WIRE
    prefix = "resp"
    count_name = openai_responses.COUNT_WIRE

    def decode_request(self, body: bytes) -> WireRequest:
        return openai_responses.decode_request(body)

    def decode_reply(self, body: bytes) -> ModelReply:
        return openai_responses.decode_reply(body)

    def encoder(self, *, model: str, reply_id: str, at: datetime, include_usage: bool) -> Encoder:
        created = int(at.timestamp())
        return openai_responses.StreamEncoder(model=model, reply_id=reply_id, created=created)

    def encode_reply(self, reply: ModelReply, *, model: str, reply_id: str, at: datetime) -> bytes:
        created = int(at.timestamp())
        return openai_responses.encode_reply(reply, model=model, reply_id=reply_id, created=created)

    def encode_count(self, tokens: int) -> bytes:
        return openai_responses.encode_count(tokens)

    def failure(self, error: AiexError, scanner: StreamScanner) -> bytes:
        if not isinstance(scanner, ResponsesScanner):
            raise TypeError(f"{type(scanner).__name__} reads another wire")
        return openai_responses.encode_failure(
            error, sequence=scanner.sequence + 1, reply_id=scanner.reply_id
        )


class _Messages(ClientWire):
    name = anthropic_messages.WIRE
    prefix = "msg"
    count_name = anthropic_messages.COUNT_WIRE

    def decode_request(self, body: bytes) -> WireRequest:
        return anthropic_messages.decode_request(body)

    def decode_reply(self, body: bytes) -> ModelReply:
        return anthropic_messages.decode_reply(body)

    def encoder(self, *, model: str, reply_id: str, at: datetime, include_usage: bool) -> Encoder:
        return anthropic_messages.StreamEncoder(model=model, reply_id=reply_id)

    def encode_reply(self, reply: ModelReply, *, model: str, reply_id: str, at: datetime) -> bytes:
        return anthropic_messages.encode_reply(reply, model=model, reply_id=reply_id)

    def encode_count(self, tokens: int) -> bytes:
        return anthropic_messages.encode_count(tokens)

    def failure(self, error: AiexError, scanner: StreamScanner) -> bytes:
        return encode_event(anthropic_messages.encode_error(error), event="error")


class _Ollama(ClientWire):
    name = ollama.WIRE
    prefix = "ollama"
    document = b""

    def decode_request(self, body: bytes) -> WireRequest:
        return ollama.decode_request(body)

    def decode_reply(self, body: bytes) -> ModelReply:
        return ollama.decode_reply(body)

    def encoder(self, *, model: str, reply_id: str, at: datetime, include_usage: bool) -> Encoder:
        return ollama.StreamEncoder(model=model, created_at=at.isoformat())

    def encode_reply(self, reply: ModelReply, *, model: str, reply_id: str, at: datetime) -> bytes:
        return ollama.encode_reply(reply, model=model, created_at=at.isoformat())

    def failure(self, error: AiexError, scanner: StreamScanner) -> bytes:
        return ollama.encode_error(error) + b"\n"


CLIENT_WIRES: dict[str, ClientWire] = {
    wire.name: wire for wire in (_Chat(), _Responses(), _Messages(), _Ollama())
}
"""Every wire that a client may speak, by its name."""
