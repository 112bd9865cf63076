"""Taking secrets out of what a request says of itself. What it was asked for is data, and stays."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from aiex.core import (
    ContextShown,
    ErrorInfo,
    EventBody,
    Failed,
    Finished,
    ModelChosen,
    NotChecked,
    Notice,
    Progress,
    Redactor,
    Restarted,
)

__all__ = ["masked"]

_TELLING = frozenset({ContextShown, Failed, Finished, ModelChosen, Notice, Progress, Restarted})


def masked(body: EventBody, redact: Redactor) -> EventBody:
    """Return *body* without secrets in errors, notices and reasons.

    A prompt that is shown loses only the secrets that are held: what merely looks like one may be
    a line of the user's own code, which the model is shown as well.
    """
    if type(body) not in _TELLING:
        return body
    match body:
        case Failed():
            return replace(body, error=_error(body.error, redact))
        case Finished() if body.not_checked:
            return replace(body, not_checked=_not_checked(body.not_checked, redact))
        case Notice():
            return replace(body, text=redact(body.text))
        case Progress():
            return replace(body, stage=redact(body.stage))
        case ModelChosen() | Restarted():
            return replace(body, reason=redact(body.reason))
        case ContextShown():
            return replace(body, text=redact.without_held(body.text))
        case _:
            return body


def _error(error: ErrorInfo, redact: Redactor) -> ErrorInfo:
    hint = None if error.hint is None else redact(error.hint)
    return replace(error, message=redact(error.message), hint=hint)


def _not_checked(notes: Iterable[NotChecked], redact: Redactor) -> tuple[NotChecked, ...]:
    return tuple(replace(n, what=redact(n.what), reason=redact(n.reason)) for n in notes)
