"""What results read like on a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from aiex.core import (
    ChangesResult,
    ChangeView,
    CostEstimate,
    CreateModuleResult,
    CreateProjectResult,
    DoctorCheck,
    DoctorResult,
    Finished,
    HealthView,
    KnownModelView,
    ModelResult,
    ModelView,
    ProposedFile,
    ProviderView,
    ToolRun,
)
from aiex.interfaces.cli.console import Console
from aiex.interfaces.cli.render import change, config, create, doctor, model
from aiex.interfaces.cli.render.config import ConfigResult, SettingView
from aiex.interfaces.cli.render.costs import costs_in_words

DIFF = "--- /dev/null\n+++ b/a.py\n@@ -0,0 +1 @@\n+x = 1\n"
PROPOSED = ChangeView(
    id="7f3a00000000",
    short="7f3a",
    status="proposed",
    created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    verb="create_module",
    root="/p",
    summary="module a",
    files=(ProposedFile(path="a.py", status="added", added_lines=1),),
    model="ollama:qwen",
    cost_usd_micros=1500,
    checks=(ToolRun(name="ruff format", version="1.0", exit=0),),
    diff=DIFF,
)
ESTIMATE = CostEstimate(
    provider="openai", model="gpt-5", input_tokens=10, output_tokens=20, cost_usd_micros=5
)


def _shown(module: Any, result: msgspec.Struct, capsys: pytest.CaptureFixture[str]) -> str:
    finished = Finished(status="ok", data=msgspec.Raw(msgspec.json.encode(result)))
    show = module if callable(module) else module.show
    show(finished, Console(env={}))
    out, err = capsys.readouterr()
    return str(out) + str(err)


def test_an_estimate_names_provider_tokens_and_the_most_it_may_cost() -> None:
    unpriced = msgspec.structs.replace(ESTIMATE, cost_usd_micros=None, fits=False)

    assert list(costs_in_words([ESTIMATE, unpriced])) == [
        "would send 10 tokens to openai:gpt-5, reply up to 20: at most $0.000005",
        "would send 10 tokens to openai:gpt-5, reply up to 20: unpriced  (does not fit its window)",
    ]


def test_a_proposal_is_never_said_to_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    result = CreateModuleResult(name="a", language="python", change=PROPOSED)

    shown = _shown(create, result, capsys)

    assert DIFF in shown
    assert "checked  ruff format 1.0: ok" in shown
    assert "ollama:qwen  $0.0015" in shown
    assert "nothing written yet; next: aiex change apply 7f3a" in shown
    assert "wrote" not in shown


def test_what_was_written_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    applied = msgspec.structs.replace(PROPOSED, status="applied")

    created = _shown(
        create, CreateModuleResult(name="a", language="python", change=applied), capsys
    )
    taken = _shown(change, ChangesResult(action="apply", changes=(applied,)), capsys)

    assert "wrote  a.py" in created
    assert "nothing written" not in created
    assert taken == "wrote  a.py +1 -0\n"


def test_a_check_of_a_change_says_that_nothing_was_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = ChangesResult(action="apply", changes=(PROPOSED,), would_apply=True)

    assert _shown(change, result, capsys) == ("change 7f3a could be applied; nothing was written\n")


def test_the_diff_of_a_change_is_exactly_what_git_reads(capsys: pytest.CaptureFixture[str]) -> None:
    odd = msgspec.structs.replace(PROPOSED, diff="+\x1b[31m\r\n")

    assert _shown(change, ChangesResult(action="diff", changes=(odd,)), capsys) == odd.diff


def test_changes_are_listed_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _shown(change, ChangesResult(action="list", changes=(PROPOSED,)), capsys)

    assert shown == "7f3a  proposed  2026-01-02 03:04  1 file  module a\n"
    nothing = _shown(change, ChangesResult(action="list", changes=()), capsys)
    assert nothing == "no proposals for this project\n"


@pytest.mark.parametrize(("written", "verb"), [(True, "wrote"), (False, "would write")])
def test_a_dry_run_of_a_project_writes_nothing_and_says_so(
    capsys: pytest.CaptureFixture[str], written: bool, verb: str
) -> None:
    result = CreateProjectResult(
        name="a", language="python", folder="/a", files=("x",), written=written, next="pytest"
    )

    shown = _shown(create.show_create_project, result, capsys)

    assert shown.startswith(f"{verb}  a/x\n")
    assert ("next: pytest" in shown) is written


def test_doctor_says_what_to_do_below_each_problem(capsys: pytest.CaptureFixture[str]) -> None:
    result = DoctorResult(
        checks=(
            DoctorCheck(area="tools", name="git", state="ok", detail="2.39"),
            DoctorCheck(area="tools", name="mix", state="missing", detail="no", hint="install it"),
            DoctorCheck(area="state", name="store", state="problem", detail="bad", hint="move it"),
        ),
        can_ask=False,
    )

    assert _shown(doctor, result, capsys).splitlines() == [
        "tools",
        "  ok       git          2.39",
        "  missing  mix          no",
        f"{'':<24}install it",
        "state",
        "  problem  store        bad",
        f"{'':<24}move it",
        "",
        "no model can be asked: explain gives the facts alone",
    ]


def _setting(value: str, origin: str) -> SettingView:
    return SettingView(
        key="cli.color",
        value=msgspec.Raw(value.encode()),
        origin=origin,
        takes="auto | always | never",
        variable="AIEX_CLI_COLOR",
        user_only=False,
        description="When to use colour.",
    )


def test_a_setting_that_another_source_wins_over_is_said_to_be(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = ConfigResult(
        action="set",
        settings=[_setting('"never"', "environment")],
        file="/c.toml",
        written=True,
        given="always",
    )

    assert _shown(config, result, capsys) == (
        "cli.color = always  in /c.toml\nenvironment sets it too, and wins: never\n"
    )


def test_a_setting_that_was_only_checked_is_never_said_to_be_set(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = ConfigResult(
        action="set", settings=[_setting('"auto"', "default")], file="/c.toml", given="never"
    )

    assert _shown(config, result, capsys) == "would write cli.color = never  in /c.toml\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [('"auto"', "auto"), ('["a","b"]', "a, b"), ("true", "true"), ("10", "10"), ("null", "null")],
)
def test_a_value_is_printed_as_one_types_it(
    capsys: pytest.CaptureFixture[str], value: str, shown: str
) -> None:
    result = ConfigResult(action="get", settings=[_setting(value, "default")])

    assert _shown(config, result, capsys) == f"{shown}\n"


@pytest.mark.parametrize(
    ("user_only", "narrows", "says"),
    [
        (True, False, "set by you alone\n"),
        (False, False, "set by you and the project\n"),
        (False, True, "set by you and the project, which may only narrow it\n"),
    ],
)
def test_a_listed_setting_says_who_may_set_it(
    capsys: pytest.CaptureFixture[str], user_only: bool, narrows: bool, says: str
) -> None:
    setting = msgspec.structs.replace(
        _setting('"auto"', "default"), user_only=user_only, narrows=narrows
    )

    shown = _shown(config, ConfigResult(action="list", settings=[setting]), capsys)

    assert shown.endswith(says)


def test_models_are_listed_with_price_window_and_what_can_be_fetched(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = ModelResult(
        action="list",
        providers=(
            ProviderView(
                name="openai",
                models=(
                    ModelView(
                        name="openai:gpt-5",
                        context_tokens=1000,
                        input_usd_per_million="1.25",
                        output_usd_per_million="10",
                        is_default=True,
                    ),
                ),
            ),
            ProviderView(name="ollama", problem="it does not answer", hint="ollama serve"),
        ),
        known=(KnownModelView(name="tiny", size_bytes=98_000_000, licence="Apache-2.0"),),
    )

    assert _shown(model, result, capsys).splitlines() == [
        "openai",
        "  openai:gpt-5  1000 tokens  $1.25 in, $10 out a million  asked when none is named",
        "ollama",
        "  it does not answer",
        "  ollama serve",
        "can be fetched: aiex model pull tiny  (98 MB, Apache-2.0)",
    ]


def test_a_dry_test_of_a_model_says_what_it_would_cost(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _shown(model, ModelResult(action="test", estimates=(ESTIMATE,)), capsys)

    assert shown == "would send 10 tokens to openai:gpt-5, reply up to 20: at most $0.000005\n"


def test_a_model_that_is_left_alone_says_since_when_and_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    since = datetime(2026, 11, 25, 9, 30, 5, tzinfo=UTC)
    stopped = HealthView(state="open", reason="rate_limit", since=since, until=since)
    busy = HealthView(state="half_open", reason="overloaded", since=since, in_flight=3)
    result = ModelResult(
        action="list",
        providers=(
            ProviderView(
                name="big",
                node="shelf",
                health=busy,
                models=(
                    ModelView(name="big:tiny", health=stopped),
                    ModelView(name="big:well", health=HealthView(in_flight=2, first_token_ms=80)),
                ),
            ),
        ),
        aliases={"fast": (("big:tiny", "big:well"), ("local:small",))},
        strategy="load_balanced",
    )

    assert _shown(model, result, capsys).splitlines() == [
        "big  on shelf",
        "  half-open since 09:30:05 UTC: overloaded  3 in flight",
        "  big:tiny  open since 09:30:05 UTC: rate_limit",
        "  big:well  2 in flight  first token in 80 ms",
        "fast stands for big:tiny or big:well, then local:small",
        "chosen by load_balanced",
    ]


def test_a_test_of_a_model_says_how_fast_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    result = ModelResult(
        action="test",
        name="a:b",
        text="one two",
        ms=900,
        first_token_ms=400,
        tokens_per_second=31.5,
    )

    assert _shown(model, result, capsys).splitlines() == [
        "a:b answered in 900 ms: one two",
        "  first token in 400 ms",
        "  31.5 tokens/s",
    ]
