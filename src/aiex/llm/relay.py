"""What clients ask in their own wires: passed on as bytes where the provider speaks the same one.

Elsewhere the request is decoded once, and the reply is written in the client's wire. Nothing goes
out before real content has come, since up to then another endpoint can still answer.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import cast

import msgspec

from aiex.core import (
    AiexError,
    CompleteArguments,
    Delta,
    Finish,
    InvalidCallError,
    ModelCall,
    ModelReply,
    OverloadedError,
    Passthrough,
    ProviderError,
    Redactor,
    Usage,
    UsageError,
    WireBytes,
    new_id,
)
from aiex.llm.body_size import BodySize
from aiex.llm.estimates import DEFAULT_OUTPUT
from aiex.llm.ports import (
    Adapter,
    Batching,
    Endpoint,
    Estimate,
    Forwarding,
    Operation,
    Relayed,
    Timeouts,
)
from aiex.llm.pricing import Pricing
from aiex.llm.tokens import TokenCounter
from aiex.runtime import Clock
from aiex.wires import (
    UNREADABLE,
    ReplyBuilder,
    WireRequest,
    deltas_of,
    openai_chat,
    openai_embeddings,
)
from aiex.wires.clients import CLIENT_WIRES, ClientWire, Encoder
from aiex.wires.counts import decode_count
from aiex.wires.losses import carried_over
from aiex.wires.scan import StreamScanner, is_empty, said_bytes

__all__ = ["Relay"]

_LARGEST_GATED = 8 * 1024 * 1024
_PREFIX_BYTES = 1024
_LARGE_PROMPT_BYTES = 4096
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
Item = WireBytes | Finish


class Relay:
    """Makes what the coordinator asks of what clients sent.

    Args:
        counter: Counts tokens.
        pricing: Prices calls.
        clock: Where time comes from.
        entropy: Gives that many random bytes.
        redact: Takes secrets out of what providers say.
    """

    def __init__(
        self,
        *,
        counter: TokenCounter,
        pricing: Pricing,
        clock: Clock,
        entropy: Callable[[int], bytes],
        redact: Redactor,
    ) -> None:
        self.counter = counter
        self.pricing = pricing
        self.clock = clock
        self.entropy = entropy
        self.redact = redact

    def of(self, arguments: CompleteArguments, sent: Passthrough) -> Relayed:
        """Return what *sent* asks, ready to be put to one endpoint after another.

        Raises:
            UsageError: The wire is unknown, or has nothing of the kind.
        """
        if arguments.kind == "embed":
            return _Vectors(self, arguments, sent)
        wire = CLIENT_WIRES.get(sent.wire)
        if wire is None:
            raise UsageError(
                f"there is no wire {sent.wire!r}", hint=f"wires: {', '.join(CLIENT_WIRES)}"
            )
        if arguments.kind == "complete":
            return _Reply(self, wire, arguments, sent)
        if not wire.count_name:
            raise UsageError(f"the wire {wire.name} counts no tokens")
        return _Count(self, wire, arguments, sent)


class _Ask:
    """What all asks have in common."""

    def __init__(self, relay: Relay, arguments: CompleteArguments, sent: Passthrough) -> None:
        self._relay = relay
        self._arguments = arguments
        self._sent = sent
        self._bodies: dict[str, bytes] = {}

    @property
    def operation(self) -> Operation:
        """What is asked for; see `llm.ports.Relayed.operation`."""
        return "chat"

    @property
    def needs(self) -> frozenset[str]:
        """Capabilities that the model must have."""
        return frozenset()

    @functools.cached_property
    def affinity(self) -> str:
        """Name under which calls of one conversation belong together; empty for none."""
        if self._arguments.affinity:
            return self._arguments.affinity
        body = self._sent.body
        if len(body) < _LARGE_PROMPT_BYTES:
            return ""
        # A provider that caches prompts has the beginning of this one if it had one like it.
        return hashlib.blake2b(body[:_PREFIX_BYTES], digest_size=8).hexdigest()

    @property
    def ignored(self) -> tuple[str, ...]:
        """What of the ask the endpoint that was opened last has no words for."""
        return ()

    @functools.cached_property
    def _size(self) -> BodySize:
        return BodySize.of(self._sent.body)

    def _estimated(self, endpoint: Endpoint, *, output: int) -> Estimate:
        """Return what the answer would need at *endpoint*, by the size of the body."""
        relay, size = self._relay, self._size
        counted = relay.counter.measure_body(
            size.text_bytes,
            model=endpoint.model,
            beside=size.other_tokens,
            has_tools=size.has_tools,
        )
        tokens = relay.counter.tokens(counted, endpoint.model)
        window = endpoint.context_tokens
        return Estimate(
            provider=endpoint.provider,
            model=endpoint.model,
            input_tokens=tokens,
            output_tokens=output,
            cost_usd_micros=relay.pricing.bound(
                endpoint.provider,
                endpoint.model,
                input_tokens=tokens,
                output_tokens=output,
                writes_cache=size.writes_cache,
            ),
            fits=None if window is None else tokens + output <= window,
            counted=counted,
        )

    def _body_for(self, model: str) -> bytes:
        """Return the body with the endpoint's own name of the model.

        Raises:
            InvalidCallError: It is no JSON object.
        """
        if model not in self._bodies:
            changed = self._changes(model)
            self._bodies[model] = self._with(changed) if changed else self._sent.body
        return self._bodies[model]

    def _changes(self, model: str) -> dict[str, msgspec.Raw]:
        """Return the keys of the body that the endpoint has to be told otherwise."""
        if model == self._arguments.model:
            return {}
        return {"model": msgspec.Raw(msgspec.json.encode(model))}

    def _with(self, changed: dict[str, msgspec.Raw]) -> bytes:
        try:
            fields = _FIELDS.decode(self._sent.body)
        except UNREADABLE as error:
            raise InvalidCallError(f"the body is not a JSON object: {error}") from error
        return msgspec.json.encode(fields | changed)

    def spoken(self) -> int:
        """Return the tokens that were given so far, by our own count."""
        return 0

    def failure(self, error: AiexError) -> bytes:
        """Return nothing: an answer that comes whole does not break."""
        return b""

    async def _forwarded(
        self, adapter: Forwarding, wire: str, model: str, timeouts: Timeouts
    ) -> bytes:
        """Return the whole answer to the client's own body."""
        return await adapter.forward_whole(
            wire, self._body_for(model), headers=self._sent.headers, timeouts=timeouts
        )


def _name(error: ProviderError, endpoint: Endpoint) -> None:
    """Note whose answer could not be read."""
    error.provider = error.provider or endpoint.provider


class _Reply(_Ask):
    """An ask for the next reply."""

    def __init__(
        self, relay: Relay, wire: ClientWire, arguments: CompleteArguments, sent: Passthrough
    ) -> None:
        super().__init__(relay, arguments, sent)
        self._wire = wire
        self._request: WireRequest | None = None
        self._scanner: StreamScanner | None = None
        self._encoder: Encoder | None = None
        self._said = 0
        self._model = ""
        self._ignored: tuple[str, ...] = ()

    @property
    def ignored(self) -> tuple[str, ...]:
        """What of the ask the endpoint that was opened last has no words for."""
        return self._ignored

    @property
    def needs(self) -> frozenset[str]:
        """Capabilities that the model must have."""
        body = self._sent.body
        has_tools = b'"tools"' in body and b'"tools":[]' not in body
        has_pictures = b"image" in body and self._size.pictures > 0
        found = ["tools"] if has_tools else []
        return frozenset([*found, "vision"] if has_pictures else found)

    def estimate(self, endpoint: Endpoint) -> Estimate:
        """Return what the answer would need at *endpoint*; see `llm.ports.Relayed.estimate`."""
        return self._estimated(endpoint, output=self._arguments.max_output_tokens or DEFAULT_OUTPUT)

    def open(
        self, adapter: Adapter, endpoint: Endpoint, *, timeouts: Timeouts
    ) -> AsyncGenerator[Item, None]:
        """Yield the answer; see `llm.ports.Relayed.open`."""
        self._scanner = None
        self._encoder = None
        self._said = 0
        self._model = endpoint.model
        self._ignored = ()
        forwarding = _forwarding(adapter)
        if forwarding is not None and forwarding.forwards(self._wire.name):
            if self._arguments.stream:
                return self._forward_stream(forwarding, endpoint, timeouts)
            return self._forward_whole(forwarding, endpoint, timeouts)
        asked = self._asked(endpoint.model)
        call, self._ignored = carried_over(adapter.spoken, asked.call, asked.unread)
        if self._arguments.stream:
            return self._translate_stream(adapter, endpoint, call, timeouts)
        return self._translate_whole(adapter, endpoint, call, timeouts)

    def spoken(self) -> int:
        """Return the tokens that were given so far, by our own count."""
        said = self._said if self._scanner is None else self._scanner.spoken_bytes
        counter = self._relay.counter
        return counter.tokens(counter.measure_body(said), self._model)

    def failure(self, error: AiexError) -> bytes:
        """Return *error* as the client's wire says it inside an answer that has begun."""
        message = self._relay.redact(error.message)
        if message != error.message:
            error.message = message
            error.args = (message,)
        if self._encoder is not None:
            return self._encoder.error(error)
        if self._scanner is None or self._scanner.has_told:
            return b""
        begin = b"\n\n" if self._scanner.is_open else b""
        return begin + self._wire.failure(error, self._scanner)

    # ------------------------------------------------------------ the same wire

    async def _forward_whole(
        self, adapter: Forwarding, endpoint: Endpoint, timeouts: Timeouts
    ) -> AsyncGenerator[Item, None]:
        body = await self._forwarded(adapter, self._wire.name, endpoint.model, timeouts)
        try:
            finish = self._wire.decode_finish(body)
        except ProviderError as error:
            _name(error, endpoint)
            raise
        yield WireBytes(data=body)
        yield finish

    async def _forward_stream(
        self, adapter: Forwarding, endpoint: Endpoint, timeouts: Timeouts
    ) -> AsyncGenerator[Item, None]:
        body = self._body_for(endpoint.model)
        scanner = self._scanner = self._wire.scanner(
            drops_usage=self._asks_for_usage,
            needs_marker=self._choices > 1,
            redact=self._relay.redact,
        )
        answer = adapter.forward(
            self._wire.name, body, headers=self._sent.headers, timeouts=timeouts, heard=scanner
        )
        async with aclosing(answer):
            gated: list[bytes] = []
            size = 0
            async for data in answer:
                if not size and data.lstrip()[:1] == self._wire.document:
                    async for item in self._document(data, answer, endpoint):
                        yield item
                    return
                gated.append(scanner.feed(data))
                size += len(data)
                if scanner.has_content or size > _LARGEST_GATED:
                    break
            passed = b"".join(gated)
            if scanner.has_content or size > _LARGEST_GATED:
                yield WireBytes(data=passed)
                passed = b""
                async for data in answer:
                    if passed := scanner.feed(data):
                        yield WireBytes(data=passed)
                passed = b""
            passed += scanner.end()
            if passed:
                yield WireBytes(data=passed)
            if scanner.finish is not None:
                yield scanner.finish

    async def _document(
        self, begin: bytes, answer: AsyncGenerator[bytes, None], endpoint: Endpoint
    ) -> AsyncGenerator[Item, None]:
        """Yield the answer of a server that does not stream, as the stream that was asked for."""
        self._scanner = None
        body = b"".join([begin, *[data async for data in answer]])
        reply = self._read(body, endpoint)
        encoder = self._new_encoder(endpoint.model)
        yield WireBytes(data=b"".join(encoder.encode(delta) for delta in deltas_of(reply)))
        yield reply.finish

    def _changes(self, model: str) -> dict[str, msgspec.Raw]:
        changes = super()._changes(model)
        if self._arguments.stream and self._asks_for_usage:
            changes["stream_options"] = openai_chat.with_usage(self._sent.body)
        return changes

    @functools.cached_property
    def _asks_for_usage(self) -> bool:
        """Whether a stream has to be asked for its usage, because the client did not."""
        if self._wire.name != openai_chat.WIRE:
            return False
        return not openai_chat.wants_usage(self._sent.body)

    @functools.cached_property
    def _choices(self) -> int:
        if self._wire.name != openai_chat.WIRE or b'"n"' not in self._sent.body:
            return 1
        return openai_chat.choices_of(self._sent.body)

    def _read(self, body: bytes, endpoint: Endpoint) -> ModelReply:
        """Return what *body* says.

        Raises:
            ProviderError: It cannot be read, or says that the reply failed.
        """
        try:
            return self._wire.decode_reply(body)
        except ProviderError as error:
            _name(error, endpoint)
            raise

    # ------------------------------------------------------------ another wire

    def _asked(self, model: str) -> WireRequest:
        """Return the client's call; what is wrong with it is the client's to know."""
        if self._request is None:
            self._request = self._wire.decode_request(self._sent.body)
        call = msgspec.structs.replace(self._request.call, model=model)
        return msgspec.structs.replace(self._request, call=call)

    def _new_encoder(self, model: str) -> Encoder:
        now = self._relay.clock.now()
        self._encoder = self._wire.encoder(
            model=model,
            reply_id=self._new_id(),
            at=now,
            include_usage=self._request is not None and self._request.include_usage,
        )
        return self._encoder

    def _new_id(self) -> str:
        return new_id(
            self._wire.prefix, now=self._relay.clock.now(), entropy=self._relay.entropy(10)
        )

    async def _translate_stream(
        self, adapter: Adapter, endpoint: Endpoint, call: ModelCall, timeouts: Timeouts
    ) -> AsyncGenerator[Item, None]:
        encoder = self._new_encoder(endpoint.model)
        finish: Finish | None = None
        gated: list[bytes] = []
        has_content = False
        async with aclosing(_batches(adapter, call, timeouts)) as batches:
            async for deltas in batches:
                self._said += said_bytes(deltas)
                gated.extend(map(encoder.encode, deltas))
                if isinstance(deltas[-1], Finish):
                    finish = deltas[-1]
                has_content = has_content or not all(map(is_empty, deltas))
                if has_content:
                    data = b"".join(gated)
                    gated.clear()
                    if data:
                        yield WireBytes(data=data)
        if finish is None:
            raise OverloadedError("the reply had no end", provider=endpoint.provider)
        yield finish

    async def _translate_whole(
        self, adapter: Adapter, endpoint: Endpoint, call: ModelCall, timeouts: Timeouts
    ) -> AsyncGenerator[Item, None]:
        builder = ReplyBuilder()
        async with aclosing(_batches(adapter, call, timeouts)) as batches:
            async for deltas in batches:
                self._said += said_bytes(deltas)
                for delta in deltas:
                    builder.add(delta)
        reply = builder.reply()
        data = self._wire.encode_reply(
            reply,
            model=endpoint.model,
            reply_id=self._new_id(),
            at=self._relay.clock.now(),
        )
        yield WireBytes(data=data)
        yield reply.finish


class _Count(_Ask):
    """An ask for the tokens of a prompt; nobody bills it."""

    def __init__(
        self, relay: Relay, wire: ClientWire, arguments: CompleteArguments, sent: Passthrough
    ) -> None:
        super().__init__(relay, arguments, sent)
        self._wire = wire

    @property
    def operation(self) -> Operation:
        """What is asked for."""
        return "count_tokens"

    def estimate(self, endpoint: Endpoint) -> Estimate:
        """Return that it costs nothing."""
        return Estimate(
            provider=endpoint.provider,
            model=endpoint.model,
            input_tokens=0,
            output_tokens=0,
            cost_usd_micros=0,
            fits=True,
        )

    async def open(
        self, adapter: Adapter, endpoint: Endpoint, *, timeouts: Timeouts
    ) -> AsyncGenerator[Item, None]:
        """Yield the count: the provider's own, or ours where it has none."""
        wire = self._wire
        forwarding = _forwarding(adapter)
        if forwarding is not None and forwarding.forwards(wire.count_name):
            data = await self._forwarded(forwarding, wire.count_name, endpoint.model, timeouts)
            try:
                decode_count(data)
            except ProviderError as error:
                _name(error, endpoint)
                raise
        else:
            asked = wire.decode_request(self._sent.body)
            call = msgspec.structs.replace(asked.call, model=endpoint.model)
            call, _ = carried_over(adapter.spoken, call, asked.unread)
            tokens = await adapter.count_tokens(call)
            if tokens is None:
                tokens = self._relay.counter.call(call)
            data = wire.encode_count(tokens)
        yield WireBytes(data=data)
        yield Finish(reason="stop", usage=Usage())


class _Vectors(_Ask):
    """An ask for vectors of texts, which only OpenAI's wire has."""

    @property
    def operation(self) -> Operation:
        """What is asked for."""
        return "embeddings"

    def estimate(self, endpoint: Endpoint) -> Estimate:
        """Return what the vectors would need at *endpoint*; see `llm.ports.Relayed.estimate`."""
        return self._estimated(endpoint, output=0)

    async def open(
        self, adapter: Adapter, endpoint: Endpoint, *, timeouts: Timeouts
    ) -> AsyncGenerator[Item, None]:
        """Yield the vectors; see `llm.ports.Relayed.open`."""
        forwarding = _forwarding(adapter)
        if forwarding is not None and forwarding.forwards(openai_embeddings.WIRE):
            data = await self._forwarded(
                forwarding, openai_embeddings.WIRE, endpoint.model, timeouts
            )
            try:
                finish = openai_embeddings.finish_of(data)
            except ProviderError as error:
                _name(error, endpoint)
                raise
        else:
            asked = openai_embeddings.decode_embedding_request(self._sent.body)
            found = await adapter.embed(endpoint.model, asked.texts)
            told = found.input_tokens
            data = openai_embeddings.encode_embedding(
                found,
                model=endpoint.model,
                encoding_format=asked.encoding_format,
                input_tokens=self.estimate(endpoint).input_tokens if told is None else told,
            )
            usage = None if told is None else Usage(input_tokens=told)
            finish = Finish(reason="stop", usage=usage, model=found.model)
        yield WireBytes(data=data)
        yield finish


@functools.cache
def _is_forwarding(kind: type) -> bool:
    return issubclass(kind, Forwarding)  # too slow to find out for each call


def _forwarding(adapter: Adapter) -> Forwarding | None:
    return cast("Forwarding", adapter) if _is_forwarding(type(adapter)) else None


def _batches(
    adapter: Adapter, call: ModelCall, timeouts: Timeouts
) -> AsyncGenerator[Sequence[Delta], None]:
    if isinstance(adapter, Batching):
        return adapter.batches(call, timeouts=timeouts)
    return _one_by_one(adapter.stream(call, timeouts=timeouts))


async def _one_by_one(
    deltas: AsyncGenerator[Delta, None],
) -> AsyncGenerator[Sequence[Delta], None]:
    async with aclosing(deltas):
        async for delta in deltas:
            yield (delta,)
