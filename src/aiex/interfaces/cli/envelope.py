"""The JSON document that every command writes with `--json`: one shape, versioned."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aiex.core import ChangeSummary, ErrorInfo, Failed, Finished, NotChecked, ToolRun, UsageTotal

__all__ = ["Envelope", "envelope_of_failure", "envelope_of_result"]


class _Usage(msgspec.Struct, frozen=True, kw_only=True):
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    price_version: str | None
    provider: str | None
    model: str | None


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What is written.

    Attributes:
        schema: Version of this shape.
        command: Command that ran.
        status: `ok`, `findings`, `refused` or `error`.
        exit_code: Exit status.
        termination_reason: Why it ended, in a word or three.
        data: The command's own result.
        change: The stored proposal that it made; `None` without one.
        usage: What it used of models.
        checked: Tools that were run, with their versions.
        not_checked: What a complete answer would have looked at.
        error: What went wrong; `None` if nothing did.
    """

    schema: int
    command: str
    status: str
    exit_code: int
    termination_reason: str
    data: msgspec.Raw
    change: ChangeSummary | None
    usage: _Usage
    checked: tuple[ToolRun, ...]
    not_checked: tuple[NotChecked, ...]
    error: ErrorInfo | None = None


def envelope_of_result(
    command: str, finished: Finished, *, exit_code: int, fields: Sequence[str]
) -> bytes:
    """Return the document of a command that ended well.

    Args:
        command: Command that ran.
        finished: Its last event.
        exit_code: Exit status.
        fields: Fields of the data to keep; empty for all.
    """
    return _encode(
        Envelope(
            schema=1,
            command=command,
            status=finished.status,
            exit_code=exit_code,
            termination_reason=finished.termination_reason,
            data=_selected(finished.data, fields),
            change=finished.change,
            usage=_usage(finished.usage),
            checked=finished.checked,
            not_checked=finished.not_checked,
        )
    )


def envelope_of_failure(command: str, failed: Failed, *, exit_code: int) -> bytes:
    """Return the document of a command that failed."""
    refused = failed.error.code in {"refused", "path_refused"}
    return _encode(
        Envelope(
            schema=1,
            command=command,
            status="refused" if refused else "error",
            exit_code=exit_code,
            termination_reason=failed.error.code,
            data=failed.data,
            change=None,
            usage=_usage(failed.usage),
            checked=(),
            not_checked=(),
            error=failed.error,
        )
    )


def _encode(envelope: Envelope) -> bytes:
    return msgspec.json.format(msgspec.json.encode(envelope), indent=2) + b"\n"


def _usage(total: UsageTotal) -> _Usage:
    cost = total.cost_usd_micros
    return _Usage(
        calls=total.calls,
        input_tokens=total.input_tokens,
        output_tokens=total.output_tokens,
        cost_usd=None if cost is None else cost / 1_000_000,
        price_version=total.price_version,
        provider=total.provider,
        model=total.model,
    )


def _selected(data: msgspec.Raw, fields: Sequence[str]) -> msgspec.Raw:
    if not fields:
        return data
    found = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    kept = {name: found[name] for name in fields if name in found}
    return msgspec.Raw(msgspec.json.encode(kept))
