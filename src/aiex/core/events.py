"""What a request gives back while it runs: numbered events, of which exactly one is the last."""

from __future__ import annotations

from typing import Literal

import msgspec

from aiex.core.errors import ErrorInfo
from aiex.core.left_out import LeftOut
from aiex.core.messages import Delta
from aiex.core.types import NotChecked, ToolRun, When

__all__ = [
    "TERMINAL",
    "ChangeSummary",
    "ContextShown",
    "Event",
    "EventBody",
    "Facts",
    "Failed",
    "Finished",
    "ModelChosen",
    "ModelDelta",
    "ModelEnded",
    "Notice",
    "Progress",
    "ReasoningText",
    "Restarted",
    "Started",
    "Status",
    "Text",
    "UsageTotal",
    "WireBytes",
]

Status = Literal["ok", "findings", "refused", "error"]


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The request was admitted and its verb runs."""

    verb: str
    deadline: When | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """How far a long piece of work is.

    Attributes:
        stage: What is being done, in a word or three.
        done: Units done.
        total: Units in all; `None` while unknown.
        unit: What is counted, such as `files` or `bytes`.
    """

    stage: str
    done: int
    total: int | None = None
    unit: str = "files"


class Notice(msgspec.Struct, frozen=True, kw_only=True, tag="notice"):
    """Something the user should know that does not end the request."""

    text: str
    level: Literal["info", "warning"] = "info"


class Facts(msgspec.Struct, frozen=True, kw_only=True, tag="facts"):
    """Facts found without a model, before its words.

    Attributes:
        data: JSON of the verb's own fact type.
    """

    data: msgspec.Raw


class ContextShown(msgspec.Struct, frozen=True, kw_only=True, tag="context"):
    """What the model is about to be shown.

    Attributes:
        text: The prompt as sent, all messages.
        tokens: Estimated tokens.
        left_out: What of the project and of the conversation did not fit.
    """

    text: str
    tokens: int
    left_out: tuple[LeftOut, ...] = ()


class ModelChosen(msgspec.Struct, frozen=True, kw_only=True, tag="model_chosen"):
    """A call to a model begins.

    Attributes:
        provider: Name of the provider.
        model: Name of the model.
        reason: Why this one, in a few words.
        attempt: 1 for the first try.
        call_id: Identifier of the record that is kept of the call; empty if none is.
        estimated_input_tokens: Tokens of the prompt by our own count.
    """

    provider: str
    model: str
    reason: str
    attempt: int = 1
    call_id: str = ""
    estimated_input_tokens: int = 0


class Text(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """The next piece of the answer's text."""

    text: str


class ReasoningText(msgspec.Struct, frozen=True, kw_only=True, tag="reasoning"):
    """The next piece of the model's thinking."""

    text: str


class Restarted(msgspec.Struct, frozen=True, kw_only=True, tag="restarted"):
    """The answer begins anew: drop the text seen since `ModelChosen`."""

    attempt: int
    provider: str
    model: str
    reason: str


class ModelEnded(msgspec.Struct, frozen=True, kw_only=True, tag="model_ended"):
    """A call to a model is over; what it was billed for.

    Attributes:
        provider: Name of the provider.
        model: Name of the model that answered.
        finish: Why it stopped.
        input_tokens: Billed tokens of the prompt; `None` if the provider did not say.
        output_tokens: Billed tokens of the reply; `None` if the provider did not say.
        cost_usd_micros: Cost in micro-dollars; `None` when unpriced or unknown.
        price_version: Version of the price table; `None` if nothing was priced.
        is_estimate: Whether the tokens are our own count, because the reply was cut.
    """

    provider: str
    model: str
    finish: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd_micros: int | None = None
    price_version: str | None = None
    is_estimate: bool = False


class ModelDelta(msgspec.Struct, frozen=True, kw_only=True, tag="model_delta"):
    """The next piece of a model's reply, for who asked for the reply itself."""

    delta: Delta


class WireBytes(msgspec.Struct, frozen=True, kw_only=True, tag="wire"):
    """The next bytes of an answer in the wire that its client speaks.

    What a client without streaming is answered comes as one.
    """

    data: bytes


class UsageTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What a whole request used.

    Attributes:
        calls: Model calls that reached a provider, failed ones included.
        input_tokens: Billed tokens of all prompts.
        output_tokens: Billed tokens of all replies.
        cost_usd_micros: Cost in micro-dollars; `None` if a call is unpriced or its usage unknown.
        price_version: Version of the price table; `None` if nothing was priced.
        provider: Provider of the last call; `None` without one.
        model: Model of the last call; `None` without one.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd_micros: int | None = 0
    price_version: str | None = None
    provider: str | None = None
    model: str | None = None

    def plus(self, later: UsageTotal) -> UsageTotal:
        """Return what this and *later* used together; the last one that called names who answered.

        Example:
            >>> UsageTotal(calls=1, cost_usd_micros=5).plus(UsageTotal()).cost_usd_micros
            5
        """
        costs = (self.cost_usd_micros, later.cost_usd_micros)
        last = later if later.calls else self
        return msgspec.structs.replace(
            last,
            calls=self.calls + later.calls,
            input_tokens=self.input_tokens + later.input_tokens,
            output_tokens=self.output_tokens + later.output_tokens,
            cost_usd_micros=None if None in costs else sum(c for c in costs if c is not None),
        )


class ChangeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A stored proposal, as the envelope names it.

    Attributes:
        id: Identifier to show, apply or undo it by.
        files: Paths relative to the root.
        diff_sha256: Digest of the unified diff that was shown.
        checks: What was run on it.
        applied: Whether the files were written.
    """

    id: str
    files: tuple[str, ...]
    diff_sha256: str
    checks: tuple[ToolRun, ...] = ()
    applied: bool = False


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The request is done.

    Attributes:
        status: `ok`, or `findings` when something reached `--fail-on`.
        data: JSON of the verb's result.
        termination_reason: Why it ended, in a word or three.
        usage: What it used of models.
        change: The stored proposal that it made; `None` without one.
        not_checked: What a complete answer would have looked at.
        checked: Tools that were run.
    """

    status: Status
    data: msgspec.Raw
    termination_reason: str = "done"
    usage: UsageTotal = UsageTotal()
    change: ChangeSummary | None = None
    not_checked: tuple[NotChecked, ...] = ()
    checked: tuple[ToolRun, ...] = ()


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The request ended without its result.

    Attributes:
        error: What went wrong.
        usage: What it had used of models by then.
        data: What is known all the same (JSON); `null` if nothing.
    """

    error: ErrorInfo
    usage: UsageTotal = UsageTotal()
    data: msgspec.Raw = msgspec.Raw(b"null")  # msgspec cannot decode `Raw | None`


EventBody = (
    Started
    | Progress
    | Notice
    | Facts
    | ContextShown
    | ModelChosen
    | Text
    | ReasoningText
    | Restarted
    | ModelEnded
    | ModelDelta
    | WireBytes
    | Finished
    | Failed
)
TERMINAL = (Finished, Failed)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened in a request.

    Attributes:
        id: Number within the request, 1 for the first, without gaps.
        request_id: The request.
        at: Aware UTC time.
        body: What happened.
    """

    id: int
    request_id: str
    at: When
    body: EventBody

    @property
    def is_last(self) -> bool:
        """Whether nothing follows."""
        return isinstance(self.body, TERMINAL)
