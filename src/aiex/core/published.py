"""What is told to whoever listens: events with a name and a schema, beside those of one request.

Nothing here carries prompts, replies or keys. A name is `<what>.<happened>`; a subscriber names
them exactly or with `*` and a last `>`, as `cluster.Store.subscribe` does.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from aiex.core.types import When

__all__ = [
    "PUBLISHED",
    "BreakerChanged",
    "BudgetChanged",
    "InterfaceChanged",
    "KeyChanged",
    "LimitReached",
    "Missed",
    "ModelCalled",
    "NodeChanged",
    "Published",
    "PublishedBody",
    "RequestChanged",
    "Said",
    "name_of",
]


class RequestChanged(msgspec.Struct, frozen=True, kw_only=True, tag="request"):
    """A request was admitted or has ended.

    Attributes:
        id: Identifier of the request.
        state: What became of it.
        verb: Its verb.
        user: Who asked.
        interface: Through which door.
        code: Code of the error that ended it; empty if none did.
        ms: Milliseconds that it took; 0 when it was admitted.
    """

    id: str
    state: Literal["admitted", "finished", "failed"]
    verb: str
    user: str
    interface: str
    code: str = ""
    ms: int = 0


class ModelCalled(msgspec.Struct, frozen=True, kw_only=True, tag="model"):
    """A call of a model has ended.

    Attributes:
        id: Identifier of the call's record.
        request_id: Request that it was made for.
        provider: Name of the provider.
        model: Model that was asked.
        outcome: `ok`, the code of the error, or `cancelled`.
        input_tokens: Billed tokens of the prompt; `None` if unknown.
        output_tokens: Billed tokens of the reply; `None` if unknown.
        cost_usd_micros: Micro-dollars; `None` when unpriced or unknown.
        ms: Milliseconds that it took.
    """

    id: str
    request_id: str
    provider: str
    model: str
    outcome: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd_micros: int | None = None
    ms: int = 0
    state: Literal["called"] = "called"


class BreakerChanged(msgspec.Struct, frozen=True, kw_only=True, tag="breaker"):
    """Calls of an endpoint were stopped, are being tried again, or flow again.

    Attributes:
        provider: Name of the provider.
        model: Model it is about; `None` for all models of the provider.
        state: Whether calls are stopped (`opened`), tried (`half_opened`) or flow (`closed`).
        reason: Code of the error that opened it.
        seconds: How long it stays open at least; 0 unless it was opened.
    """

    provider: str
    state: Literal["opened", "half_opened", "closed"]
    model: str | None = None
    reason: str = ""
    seconds: float = 0.0


class LimitReached(msgspec.Struct, frozen=True, kw_only=True, tag="limit"):
    """A call was refused because a rate, a cap or a budget is used up.

    Attributes:
        limit: Identifier of the limit.
        scope: Whose it is, such as `user:ann`.
        what: What is counted: `requests`, `tokens`, `concurrency` or `cost`.
        retry_after: Seconds until it is worth another try; `None` if waiting does not help.
    """

    limit: str
    scope: str
    what: str
    retry_after: float | None = None
    state: Literal["reached"] = "reached"


class BudgetChanged(msgspec.Struct, frozen=True, kw_only=True, tag="budget"):
    """A budget was set or removed.

    Attributes:
        scope: Whose it is, such as `team:core`.
        state: What became of it.
        amount_usd_micros: Micro-dollars a period; 0 once it is removed.
        per: Length of the period.
        by: Who changed it.
    """

    scope: str
    state: Literal["set", "removed"]
    amount_usd_micros: int
    per: str
    by: str


class KeyChanged(msgspec.Struct, frozen=True, kw_only=True, tag="key"):
    """A key of the gateway was made or revoked.

    Attributes:
        id: Identifier of the key; never the key.
        state: What became of it.
        user: Whose it is.
        by: Who changed it.
    """

    id: str
    state: Literal["created", "revoked"]
    user: str
    by: str


class InterfaceChanged(msgspec.Struct, frozen=True, kw_only=True, tag="interface"):
    """An interface registered with the gateway or left it.

    Attributes:
        id: Identifier of the registration.
        name: Its name, such as `cli` or `http`.
        state: What became of it.
        capabilities: What it can do, such as `stream` or `diff`.
    """

    id: str
    name: str
    state: Literal["registered", "left"]
    capabilities: tuple[str, ...] = ()


class NodeChanged(msgspec.Struct, frozen=True, kw_only=True, tag="node"):
    """A node began or stopped to take requests.

    Attributes:
        node: Its name.
        state: What it does now.
        address: Where it is reached; empty if nowhere.
    """

    node: str
    state: Literal["started", "draining", "stopped"]
    address: str = ""


class Said(msgspec.Struct, frozen=True, kw_only=True, tag="said"):
    """What somebody broadcast to all interfaces.

    Attributes:
        text: What is said.
        by: Who says it.
        interface: Interface that it is for; empty for all.
    """

    text: str
    by: str
    interface: str = ""
    state: Literal["broadcast"] = "broadcast"


class Missed(msgspec.Struct, frozen=True, kw_only=True, tag="subscriber"):
    """The subscriber that gets this was too slow; no other sees it.

    Attributes:
        count: Events that it did not get, at least.
    """

    count: int
    state: Literal["missed"] = "missed"


PublishedBody = (
    RequestChanged
    | ModelCalled
    | BreakerChanged
    | LimitReached
    | BudgetChanged
    | KeyChanged
    | InterfaceChanged
    | NodeChanged
    | Said
    | Missed
)


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was published.

    Attributes:
        name: Name of the event, such as `breaker.opened`.
        at: Aware UTC time.
        node: Node where it happened.
        body: What happened.
    """

    name: str
    at: When
    node: str
    body: PublishedBody


PUBLISHED: tuple[type[msgspec.Struct], ...] = PublishedBody.__args__
"""Every kind of published event."""


def name_of(body: PublishedBody) -> str:
    """Return the name that *body* is published under.

    Example:
        >>> name_of(NodeChanged(node="a", state="draining"))
        'node.draining'
    """
    return f"{type(body).__struct_config__.tag}.{body.state}"
