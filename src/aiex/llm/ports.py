"""The seams of this room: what an adapter is, and what the coordinator lets others decide."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

import msgspec

from aiex.core import (
    AiexError,
    Delta,
    Embedding,
    Finish,
    ModelCall,
    Principal,
    Progress,
    PublishedBody,
    TokenBasis,
    Usage,
    WireBytes,
)
from aiex.wires import Spoken

__all__ = [
    "Adapter",
    "Announce",
    "Batching",
    "CallRecord",
    "CallSink",
    "Counted",
    "Endpoint",
    "Estimate",
    "Forwarding",
    "Heard",
    "Limiter",
    "ModelInfo",
    "Operation",
    "Preparable",
    "Relayed",
    "Reservation",
    "Strategy",
    "Timeouts",
]

Operation = Literal["chat", "embeddings", "count_tokens"]
"""What a model is asked for: the next reply, vectors, or the tokens of a prompt."""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait for what, in seconds.

    Attributes:
        connect: For the connection.
        first_token: From the sent request to the first delta that is generation (a model that
            is loaded on demand counts here).
        between_chunks: Between two deltas that are generation; keep-alives do not count.
        total: For the whole call, retries and failover included.
    """

    connect: float = 5.0
    first_token: float = 120.0
    between_chunks: float = 60.0
    total: float = 600.0


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model as its provider describes it.

    Attributes:
        provider: Name of the provider.
        name: Name of the model as the provider knows it.
        context_tokens: Largest window; `None` if unknown.
        max_output_tokens: Longest reply; `None` if unknown.
        is_loaded: Whether it is in memory (local providers); `None` where that means nothing.
        loaded_context_tokens: Window it was loaded with; `None` if unknown or not loaded.
        size_bytes: Size on disk; `None` if unknown.
        kind: What it does.
        capabilities: Such as `tools`, `vision`, `thinking`; empty if unknown.
    """

    provider: str
    name: str
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    is_loaded: bool | None = None
    loaded_context_tokens: int | None = None
    size_bytes: int | None = None
    kind: Literal["chat", "embedding", "unknown"] = "chat"
    capabilities: tuple[str, ...] = ()


class Adapter(AbstractAsyncContextManager["Adapter"], Protocol):
    """One provider. Entered before use; leaving closes its connections.

    Every method raises the tree under `core.ProviderError` and `core.LimitError`, with
    `transient` and `retry_after` set from what the provider said; it never retries.
    """

    @property
    def provider(self) -> str:
        """Name of the provider: `openai`, `anthropic`, `ollama`, `lm_studio`, `local`."""

    @property
    def is_loopback(self) -> bool:
        """Whether it is reached without leaving this machine."""

    @property
    def spoken(self) -> Spoken:
        """What it understands of a call that `stream` is given."""

    def stream(self, call: ModelCall, *, timeouts: Timeouts) -> AsyncGenerator[Delta, None]:
        """Yield the reply's deltas, the last of which is a `Finish`.

        Closing the generator closes the connection, which stops the provider's work.

        Raises:
            IncompleteStreamError: The stream ended without its wire's terminal marker.
        """

    async def models(self) -> Sequence[ModelInfo]:
        """Return the models that it serves."""

    async def describe(self, model: str) -> ModelInfo | None:
        """Return what the provider knows of one model; `None` if it does not serve it."""

    async def count_tokens(self, call: ModelCall) -> int | None:
        """Return the prompt's tokens by the provider's count; `None` where it has none."""

    async def embed(self, model: str, texts: Sequence[str]) -> Embedding:
        """Return one vector a text.

        Raises:
            InvalidCallError: The provider has no embeddings.
        """

    async def probe(self) -> None:
        """Return if the provider answers; cheap, and never a paid completion."""


class Heard(Protocol):
    """What somebody who reads the bytes of an answer finds in them."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more of interest can come."""

    @property
    def progress(self) -> int:
        """A number that grows whenever something was generated."""


@runtime_checkable
class Batching(Protocol):
    """An adapter that tells which deltas came together."""

    def batches(
        self, call: ModelCall, *, timeouts: Timeouts
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Yield what `Adapter.stream` yields, together what was read together."""


@runtime_checkable
class Forwarding(Protocol):
    """An adapter that can pass on a client's own bytes, because it speaks the client's wire."""

    def forwards(self, wire: str) -> bool:
        """Return whether bodies of *wire* can go to the provider as they are.

        Beside the wires of replies there are those of what goes with them: `openai_embeddings`,
        `openai_responses.count` and `anthropic_messages.count`.
        """

    def forward(
        self,
        wire: str,
        body: bytes,
        *,
        headers: Sequence[tuple[str, str]],
        timeouts: Timeouts,
        heard: Heard,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a 2xx answer as they are read; closing closes the connection.

        What the bytes say is not looked at: who reads them tells what was heard, and the
        generator ends by itself once that is over.

        Args:
            wire: Wire of *body*.
            body: The request's body; its model is the provider's own name.
            headers: Further headers that the client sent, names in lower case; those that mean
                nothing on the wire are left out.
            timeouts: How long to wait for what.
            heard: What is found in the bytes that were yielded.

        Raises:
            ProviderError: The answer is not 2xx, or cannot be had.
            LimitError: The same, when a limit or budget was the reason.
            IncompleteStreamError: The stream stalled.
            DeadlineError: It took longer than `timeouts.total`.
        """

    async def forward_whole(
        self, wire: str, body: bytes, *, headers: Sequence[tuple[str, str]], timeouts: Timeouts
    ) -> bytes:
        """Return the whole of a 2xx answer to a *body* that asks for no stream.

        Takes and raises what `forward` does; being cancelled closes the connection.
        """


@runtime_checkable
class Preparable(Protocol):
    """An adapter some of whose models have to be fetched before their first call."""

    def prepare(self, model: str, *, offline: bool) -> AsyncGenerator[Progress, None]:
        """Yield how far *model* is until it can be asked; nothing if it can be at once.

        Args:
            model: Name of the model.
            offline: Whether no connection to another machine may be opened.

        Raises:
            UnavailableError: It cannot be had, or not now.
        """


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One model of one provider on one node: what a strategy picks.

    Attributes:
        provider: Name of the provider.
        model: Name of the model.
        node: Node it is on; `local` on this one.
        context_tokens: Window; `None` if unknown.
        is_loopback: Whether it is reached without leaving this machine.
        capabilities: What the model can do, such as `tools`; empty if unknown.
        step: Step of the fallback chain that it stands in; a lower one goes first, whatever the
            strategy.
        preference: Order wished by configuration, 0 first.
        in_flight: Calls under way by our own count.
        first_token: Seconds to its first token of late, rather the worst ones; `None` if none was
            seen.
        cost_usd_micros: Most that the call would cost there; `None` if unpriced or not asked.
        turn: Number of the last call that it was chosen for; 0 for none.
    """

    provider: str
    model: str
    node: str = "local"
    context_tokens: int | None = None
    is_loopback: bool = False
    capabilities: tuple[str, ...] = ()
    step: int = 0
    preference: int = 0
    in_flight: int = 0
    first_token: float | None = None
    cost_usd_micros: int | None = None
    turn: int = 0


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt as it was counted, before anything is known of the model's tokenizer.

    Attributes:
        basis: How the texts were counted.
        plain: Count of the texts.
        beside: Tokens of what is no text.
        is_clear: Whether nothing else is in it; a tool of the provider's own brings texts that
            nobody can count.
    """

    basis: TokenBasis
    plain: int
    beside: int = 0
    is_clear: bool = True


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a call would cost at one endpoint.

    Attributes:
        provider: Name of the provider.
        model: Name of the model.
        input_tokens: Estimated tokens of the prompt.
        output_tokens: Most tokens of the reply.
        cost_usd_micros: Most that it would cost, micro-dollars; `None` when unpriced.
        fits: Whether prompt and reply fit into its window; `None` if the window is unknown.
        counted: How the prompt was counted, to be compared with the bill; `None` if it was not.
    """

    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd_micros: int | None
    fits: bool | None
    counted: Counted | None = None


class Relayed(Protocol):
    """What a client asked in its own wire, as it is put to one endpoint after another.

    One object is one ask; each `open` begins the answer anew.
    """

    @property
    def affinity(self) -> str:
        """Name under which calls of one conversation belong together; empty for none."""

    @property
    def operation(self) -> Operation:
        """What is asked for."""

    @property
    def needs(self) -> frozenset[str]:
        """Capabilities that the model must have, such as `tools` or `vision`."""

    @property
    def ignored(self) -> Sequence[str]:
        """What of the ask the endpoint that was opened last has no words for."""

    def estimate(self, endpoint: Endpoint) -> Estimate:
        """Return what the answer would need at *endpoint*; cheap, from the body's size."""

    def open(
        self, adapter: Adapter, endpoint: Endpoint, *, timeouts: Timeouts
    ) -> AsyncGenerator[WireBytes | Finish, None]:
        """Yield the answer in the client's wire, and last the `Finish` that was found in it.

        Nothing is yielded before real content, or the whole of an answer that has none, so that
        up to the first bytes another endpoint can take over.

        Raises:
            AiexError: As `Adapter.stream` does.
        """

    def spoken(self) -> int:
        """Return the tokens that were given so far, by our own count; for an answer that broke."""

    def failure(self, error: AiexError) -> bytes:
        """Return *error* as the client's wire says it inside an answer that has begun."""


class Strategy(Protocol):
    """Orders the endpoints that may take a call; a pure function."""

    def __call__(self, endpoints: Sequence[Endpoint], /, *, entropy: float) -> Sequence[Endpoint]:
        """Return *endpoints*, best first.

        Args:
            endpoints: Those that can take the call.
            entropy: A random number in [0, 1).
        """


class Reservation(Protocol):
    """What was set aside for one attempt; settled exactly once, or it expires by itself."""

    async def settle(self, usage: Usage | None, *, cost_usd_micros: int | None) -> None:
        """Replace the estimate by what was used; `None` when the provider did not say."""


class Limiter(Protocol):
    """Decides whether a call may be made, before it is made."""

    async def reserve(
        self,
        principal: Principal,
        endpoint: Endpoint,
        *,
        input_tokens: int,
        output_tokens: int,
        cost_usd_micros: int | None,
    ) -> Reservation:
        """Set aside what the call may use at most.

        Raises:
            RateLimitError: A rate is used up; `retry_after` says for how long.
            BudgetError: A budget is used up.
        """


class Announce(Protocol):
    """Tells whoever listens of what happened."""

    def __call__(self, body: PublishedBody, /) -> None:
        """Publish *body*; never waits and never raises."""


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of one call of a model: the row of `llm_interaction`.

    Attributes:
        id: Identifier of the call.
        request_id: Request that it was made for.
        at: Aware UTC time of its start.
        user: Who asked.
        interface: Through which door.
        verb: For which verb.
        provider: Name of the provider.
        model: Model that was asked.
        answered_by: Model that answered, by the provider's word; `None` if it did not say.
        attempt: 1 for the first try of the request.
        outcome: `ok`, or the code of the error, or `cancelled`.
        finish: Why the model stopped; `None` if it did not get there.
        usage: What was billed; `None` if the provider did not say.
        usage_is_estimated: Whether *usage* is our own count, because the reply was cut.
        cost_usd_micros: Cost in micro-dollars; `None` when unpriced or the usage unknown.
        price_version: Version of the price table, or `unpriced`; `None` if no usage is known.
        estimated_input_tokens: Our own count of the prompt.
        first_token_ms: Milliseconds to the first delta; `None` if none came.
        duration_ms: Milliseconds in all.
        prompt: The messages as JSON, only where the user asked to keep them.
        reply: The reply's text, only where the user asked to keep it.
        team: Team of who asked; `None` without one.
        key_id: Key of the gateway that was used; `None` on one's own machine.
        operation: What the model was asked for.
        schema: Version of this record.
    """

    id: str
    request_id: str
    at: datetime
    user: str
    interface: str
    verb: str
    provider: str
    model: str
    attempt: int
    outcome: str
    estimated_input_tokens: int
    duration_ms: int
    answered_by: str | None = None
    finish: str | None = None
    usage: Usage | None = None
    usage_is_estimated: bool = False
    cost_usd_micros: int | None = None
    price_version: str | None = None
    first_token_ms: int | None = None
    prompt: str | None = None
    reply: str | None = None
    team: str | None = None
    key_id: str | None = None
    operation: Operation = "chat"
    schema: int = 1


class CallSink(Protocol):
    """Takes the record of each call."""

    async def record(self, call: CallRecord) -> None:
        """Keep *call*; never raises for a full or absent store, and never blocks the stream."""
