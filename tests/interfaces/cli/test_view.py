"""What a request's events become."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from aiex.core import (
    OUTCOMES,
    AiexError,
    ConflictError,
    Event,
    EventBody,
    Failed,
    Finished,
    ModelChosen,
    NotChecked,
    Notice,
    Progress,
    Started,
    Text,
    UsageError,
    UsageTotal,
)
from aiex.interfaces.cli.console import Console
from aiex.interfaces.cli.options import Globals
from aiex.interfaces.cli.render.version import VersionResult
from aiex.interfaces.cli.view import View, check_form, exit_code_of, report_failure

RESULT = VersionResult(version="1.2", python="3.11", system="Linux")
FINISHED = Finished(status="ok", data=msgspec.Raw(msgspec.json.encode(RESULT)))


def _event(body: EventBody, number: int = 1) -> Event:
    return Event(id=number, request_id="req_1", at=datetime(2026, 1, 1, tzinfo=UTC), body=body)


def _take(*bodies: EventBody, **asked: Any) -> int | None:
    view = View("version", Globals(**asked), Console(env={}, quiet=asked.get("quiet", False)))
    codes = [view.take(_event(body, number)) for number, body in enumerate(bodies, 1)]
    assert codes[:-1] == [None] * (len(codes) - 1)
    return codes[-1]


def test_data_goes_to_standard_output_and_everything_else_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = _take(
        Started(verb="version"),
        Progress(stage="reading", done=1),
        Notice(text="by the way"),
        msgspec.structs.replace(
            FINISHED,
            not_checked=(NotChecked(what="types", reason="mypy is not there", tool="mypy"),),
            usage=UsageTotal(calls=1, input_tokens=3, output_tokens=4, cost_usd_micros=None),
        ),
    )

    out, err = capsys.readouterr()
    assert code == 0
    assert out == "aiex 1.2\n"
    assert "by the way" in err
    assert "not checked: types (mypy): mypy is not there" in err
    assert "unpriced" in err


def test_quiet_still_says_what_was_not_checked(capsys: pytest.CaptureFixture[str]) -> None:
    missing = NotChecked(what="types", reason="mypy is not there")

    _take(
        Notice(text="by the way"),
        msgspec.structs.replace(FINISHED, not_checked=(missing,)),
        quiet=True,
    )

    assert capsys.readouterr().err == "not checked: types: mypy is not there\n"


@pytest.mark.parametrize("verbose", [False, True])
def test_which_model_is_asked_is_said_on_request(
    capsys: pytest.CaptureFixture[str], verbose: bool
) -> None:
    chosen = ModelChosen(provider="ollama", model="qwen", reason="named")

    _take(chosen, FINISHED, verbose=verbose)

    assert ("asking ollama:qwen (named)" in capsys.readouterr().err) is verbose


def test_json_is_one_document_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    _take(Text(text="words"), FINISHED, json="")

    out, err = capsys.readouterr()
    assert json.loads(out)["data"] == msgspec.to_builtins(RESULT)
    assert err == ""


def test_a_field_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    _take(FINISHED, json="version,versoin")

    out, err = capsys.readouterr()
    assert json.loads(out)["data"] == {"version": "1.2"}
    assert err == "the data has no versoin; it has version, python, system\n"


def test_jsonl_is_a_line_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    _take(Started(verb="version"), Text(text="→"), FINISHED, jsonl=True)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["id"] for line in lines] == [1, 2, 3]
    assert [line["body"]["type"] for line in lines] == ["started", "text", "finished"]


@pytest.mark.parametrize("code", sorted(OUTCOMES))
def test_every_error_has_its_exit_status(code: str) -> None:
    error = msgspec.structs.replace(AiexError("no").info(), code=code)

    assert exit_code_of(Failed(error=error)) == OUTCOMES[code].exit_code


def test_findings_are_exit_1() -> None:
    assert exit_code_of(FINISHED) == 0
    assert exit_code_of(msgspec.structs.replace(FINISHED, status="findings")) == 1


def test_an_error_says_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    code = _take(Failed(error=ConflictError("a.py changed", hint="aiex change list").info()))

    out, err = capsys.readouterr()
    assert (code, out) == (7, "")
    assert err == "error: a.py changed\nnext:  aiex change list\n"


@pytest.mark.parametrize(("asked", "lines"), [({"json": ""}, None), ({"jsonl": True}, 1)])
def test_an_error_is_json_where_json_was_asked_for(
    capsys: pytest.CaptureFixture[str], asked: dict[str, Any], lines: int | None
) -> None:
    report_failure(
        Failed(error=UsageError("no").info()), "explain", Globals(**asked), Console(env={})
    )

    out, err = capsys.readouterr()
    assert err == "error: no\n"
    document = json.loads(out)
    error = document["error"] if lines is None else document["body"]["error"]
    assert error["message"] == "no"
    assert lines is None or out.count("\n") == lines


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"format": "dot"}, "version has no form dot"),
        ({"json": "", "format": "md"}, "contradict"),
        ({"jsonl": True, "format": "md"}, "contradict"),
        ({"jsonl": True, "json": ""}, "contradict"),
    ],
)
def test_a_form_that_there_is_not_is_refused_before_anything_is_done(
    asked: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        check_form("version", Globals(**asked))


@pytest.mark.parametrize("asked", [{}, {"json": ""}, {"format": "json"}, {"jsonl": True}])
def test_text_and_json_every_command_has(asked: dict[str, Any]) -> None:
    check_form("version", Globals(**asked))
