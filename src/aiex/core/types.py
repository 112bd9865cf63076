"""What a door submits: a request, who asks, and until when."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

__all__ = [
    "REQUEST_SCHEMA",
    "NotChecked",
    "Passthrough",
    "Principal",
    "PrincipalRole",
    "Request",
    "RunOptions",
    "Span",
    "ToolRun",
    "When",
]

When = Annotated[datetime, msgspec.Meta(tz=True)]
"""An aware time; text without a zone is refused where it is decoded."""

PrincipalRole = Literal["viewer", "developer", "operator", "admin", "auditor"]
"""What somebody may do: look; ask models; look after nodes; manage keys, budgets and settings; read
the audit log."""


class Span(msgspec.Struct, frozen=True, order=True):
    """A half-open byte range `[start, end)` of one file.

    Attributes:
        start: Offset of the first byte, 0-based.
        end: Offset after the last byte.
    """

    start: int
    end: int


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, through which door, and what the answer may be charged to.

    Attributes:
        user: Stable name of the person or service.
        interface: Name of the door, such as `cli`.
        team: Team whose limits and budget count too; `None` without one.
        key_id: Identifier of the gateway key that was used; `None` on one's own machine.
        roles: What the principal may do.
        agent: Program that asks on the user's behalf; `None` if the user does.
        models: Models that it may ask, as `provider:model` patterns with `*`; empty for all.
    """

    user: str
    interface: str
    team: str | None = None
    key_id: str | None = None
    roles: tuple[PrincipalRole, ...] = ("developer",)
    agent: str | None = None
    models: tuple[str, ...] = ()


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options that every verb understands.

    Attributes:
        model: Model that was named, as `provider:model` or a bare model name; `None` to choose.
        provider: Provider that was named; `None` to choose.
        strategy: Strategy that orders the endpoints; `None` for the configured one.
        offline: Open no connection beyond loopback.
        dry_run: Say what would be sent and what it would cost, and send nothing.
        use_cache: Whether results of earlier runs may be used.
        max_cost: Most that the request may cost, micro-dollars; `None` for no cap.
        max_output_tokens: Most tokens of a reply; `None` for the verb's default.
        seed: Seed handed to the model where it takes one.
        record_prompts: Keep prompts and replies in the interaction record.
        show_context: Report the context that is sent, as an event.
    """

    model: str | None = None
    provider: str | None = None
    strategy: str | None = None
    offline: bool = False
    dry_run: bool = False
    use_cache: bool = True
    max_cost: int | None = None
    max_output_tokens: int | None = None
    seed: int | None = None
    record_prompts: bool = False
    show_context: bool = False


class Passthrough(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes that a client sent, beside the request that was read from them.

    Attributes:
        wire: Name of the wire, such as `openai_chat`.
        body: The body as received.
        headers: Headers that change what the wire means, such as `anthropic-beta`, names in
            lower case; never a credential.
    """

    wire: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


REQUEST_SCHEMA: Final = 1
"""Version of `Request` that this Aiex makes and the newest that it takes. Fields that are only
added do not change it, since who does not know them may pass them over."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that somebody asks for.

    Attributes:
        id: Identifier of the request, made by the door (`ids.new_id("req", ...)`).
        verb: Name of the verb, such as `explain`.
        arguments: JSON of the verb's own argument type; the verb decodes it once, at admission.
        principal: Who asks.
        root: Absolute path of the project's root on the caller's machine; `None` without one.
        deadline: Aware UTC time after which the answer is worth nothing; `None` without one.
        options: Options that every verb understands.
        session: Session that the request belongs to; `None` without one.
        idempotency_key: The same key within a day is the same request; `None` to skip.
        passthrough: The client's own bytes, for the stateless wires; `None` elsewhere.
        schema: Version of this type.
    """

    id: str
    verb: str
    arguments: msgspec.Raw
    principal: Principal
    root: str | None = None
    deadline: When | None = None
    options: RunOptions = RunOptions()
    session: str | None = None
    idempotency_key: str | None = None
    passthrough: Passthrough | None = None
    schema: int = REQUEST_SCHEMA


class ToolRun(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that was run or a check that was made, so that a reader can trust or repeat it.

    Attributes:
        name: Name of the check, such as `ruff check`.
        version: Version of the tool; `None` if it has none.
        argv: Command line without file names; empty where the check runs in this process.
        exit: Exit status; `None` where the check runs in this process.
        ms: Duration in milliseconds.
    """

    name: str
    version: str | None = None
    argv: tuple[str, ...] = ()
    exit: int | None = None
    ms: int = 0


class NotChecked(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Something that a complete answer would have looked at, and this one did not.

    Attributes:
        what: What was not looked at, such as `vulnerabilities` or a path (control characters
            escaped).
        reason: Why, in one sentence.
        tool: Tool that would have looked; `None` if none in particular.
    """

    what: str
    reason: str
    tool: str | None = None
