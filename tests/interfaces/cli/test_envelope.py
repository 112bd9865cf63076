"""The one JSON document of every command."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from aiex.core import (
    ChangeSummary,
    ConflictError,
    Failed,
    Finished,
    NotChecked,
    PathRefusedError,
    RefusedError,
    ToolRun,
    UsageTotal,
)
from aiex.interfaces.cli.envelope import envelope_of_failure, envelope_of_result

KEYS = [
    "schema",
    "command",
    "status",
    "exit_code",
    "termination_reason",
    "data",
    "change",
    "usage",
    "checked",
    "not_checked",
    "error",
]
USAGE = {"calls", "input_tokens", "output_tokens", "cost_usd", "price_version", "provider", "model"}


def _result(finished: Finished, *, fields: tuple[str, ...] = ()) -> Any:
    return msgspec.json.decode(envelope_of_result("refactor", finished, exit_code=0, fields=fields))


def test_the_shape_of_version_1_of_a_result() -> None:
    check = ToolRun(name="ruff check", version="1.0", argv=("ruff", "check"), exit=0, ms=7)
    document = _result(
        Finished(
            status="ok",
            data=msgspec.Raw(b'{"a":1,"b":2}'),
            termination_reason="proposed",
            usage=UsageTotal(calls=1, input_tokens=3, output_tokens=4, cost_usd_micros=1500),
            change=ChangeSummary(id="7f3a", files=("a.py",), diff_sha256="0" * 64, checks=(check,)),
            not_checked=(NotChecked(what="types", reason="mypy is not installed", tool="mypy"),),
            checked=(check,),
        )
    )

    assert list(document) == KEYS
    assert document["schema"] == 1
    assert document["command"] == "refactor"
    assert (document["status"], document["exit_code"]) == ("ok", 0)
    assert document["data"] == {"a": 1, "b": 2}
    assert {"id", "files", "diff_sha256", "checks"} <= set(document["change"])
    assert set(document["change"]["checks"][0]) == {"name", "argv", "exit", "version", "ms"}
    assert set(document["usage"]) == USAGE
    assert document["usage"]["cost_usd"] == 0.0015
    assert document["not_checked"][0]["tool"] == "mypy"
    assert document["error"] is None


def test_a_cost_that_is_not_known_is_null_and_never_zero() -> None:
    finished = Finished(
        status="ok", data=msgspec.Raw(b"{}"), usage=UsageTotal(calls=1, cost_usd_micros=None)
    )

    assert _result(finished)["usage"]["cost_usd"] is None


def test_only_the_fields_that_were_asked_for_are_kept() -> None:
    finished = Finished(status="ok", data=msgspec.Raw(b'{"a":1,"b":2,"c":3}'))

    assert _result(finished, fields=("c", "a", "zzz"))["data"] == {"c": 3, "a": 1}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RefusedError("no"), "refused"),
        (PathRefusedError("no", path=".env", rule="protected_name"), "refused"),
        (ConflictError("changed", hint="aiex change list"), "error"),
    ],
)
def test_a_failure_has_the_same_shape(error: RefusedError | ConflictError, status: str) -> None:
    document = msgspec.json.decode(
        envelope_of_failure("change apply", Failed(error=error.info()), exit_code=7)
    )

    assert list(document) == KEYS
    assert document["status"] == status
    assert document["data"] is None
    assert document["not_checked"] == []
    assert set(document["usage"]) == USAGE
    assert document["error"]["code"] == document["termination_reason"] == error.code
    assert document["error"]["hint"] == error.hint


def test_what_was_known_at_a_failure_is_kept() -> None:
    failed = Failed(error=ConflictError("changed").info(), data=msgspec.Raw(b'{"kept":"x"}'))

    document = msgspec.json.decode(envelope_of_failure("create module", failed, exit_code=6))

    assert document["data"] == {"kept": "x"}
