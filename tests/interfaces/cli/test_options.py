"""Where options may stand, and which command is meant."""

from __future__ import annotations

from typing import Any

import click
import pytest

from aiex.core import UsageError
from aiex.interfaces.cli.options import Globals, Group, Leaf, Micros


def _leaf(name: str, *params: click.Parameter) -> Leaf:
    @click.pass_context
    def run(ctx: click.Context, /, **more: Any) -> tuple[str | None, Globals, dict[str, Any]]:
        return ctx.info_name, ctx.obj, more

    return Leaf(name, callback=run, help=name, params=list(params))


def _program(default: str | None = "code") -> Group:
    ask = click.Option(["--ask"])
    explain = Group(
        "explain",
        default=default,
        help="explain",
        commands=[
            _leaf("code", click.Argument(["target"], required=False), ask),
            _leaf("diff", click.Argument(["base"], required=False), ask),
        ],
    )
    bare = Group("change", default="list", help="change", commands=[_leaf("list"), _leaf("apply")])
    return Group("aiex", help="all", commands=[explain, bare])


def _run(*words: str, default: str | None = "code") -> Any:
    return _program(default).main(list(words), prog_name="aiex", standalone_mode=False)


def test_global_options_stand_before_and_after_the_verb() -> None:
    before = _run("--offline", "-C", "/", "--max-cost", "0.05", "explain", "x.py")
    after = _run("explain", "x.py", "--offline", "-C", "/", "--max-cost", "0.05")
    between = _run("explain", "--offline", "-C", "/", "code", "--max-cost", "0.05", "x.py")

    assert before == after == between
    assert before[1].offline is True
    assert before[1].max_cost == 50_000
    assert str(before[1].directory) == "/"


def test_the_later_of_two_options_wins() -> None:
    _, asked, _ = _run("--color", "never", "explain", "x.py", "--color", "always")

    assert asked.color == "always"


@pytest.mark.parametrize("at", [0, 1, 2])
def test_fields_are_split_at_commas_wherever_they_stand(at: int) -> None:
    words = ["explain", "x.py"]
    words.insert(at, "--json=facts, text")

    _, asked, _ = _run(*words)

    assert asked.fields == ("facts", "text")
    assert asked.form == "json"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("explain",), ("code", {"target": None, "ask": None})),
        (("explain", "x.py"), ("code", {"target": "x.py", "ask": None})),
        (("explain", "-"), ("code", {"target": "-", "ask": None})),
        (("explain", "diff"), ("diff", {"base": None, "ask": None})),
        (("explain", "--ask", "diff", "x.py"), ("code", {"target": "x.py", "ask": "diff"})),
        (("explain", "--ask=why", "diff"), ("diff", {"base": None, "ask": "why"})),
        (("explain", "--ask", "why", "diff", "HEAD"), ("diff", {"base": "HEAD", "ask": "why"})),
        (("explain", "--", "diff"), ("code", {"target": "diff", "ask": None})),
        (("change",), ("list", {})),
        (("change", "-q"), ("list", {})),
    ],
)
def test_the_noun_may_be_left_out_or_stand_anywhere(
    words: tuple[str, ...], meant: tuple[str, dict[str, Any]]
) -> None:
    name, _, more = _run(*words)

    assert (name, more) == meant


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("explian", "x.py"), "did you mean aiex explain?"),
        (("change", "aply", "7f3a"), "did you mean aiex change apply?"),
        (("zzz",), "aiex --help lists them"),
    ],
)
def test_a_word_that_is_no_command_is_told_the_nearest(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        _run(*words)

    assert caught.value.hint == says


def test_a_group_without_a_default_needs_a_noun() -> None:
    with pytest.raises(UsageError, match=r"there is no command aiex explain x\.py"):
        _run("explain", "x.py", default=None)


@pytest.mark.parametrize(
    ("text", "micros"), [("0.05", 50_000), ("1", 1_000_000), ("0", 0), ("1e-6", 1)]
)
def test_money_is_counted_in_whole_micro_dollars(text: str, micros: int) -> None:
    assert Micros().convert(text, None, None) == micros


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "five", ""])
def test_what_is_no_amount_of_money_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no amount of US dollars"):
        Micros().convert(text, None, None)


def _completed(*words: str, incomplete: str) -> set[str]:
    from click.shell_completion import ShellComplete

    items = ShellComplete(_program(), {}, "aiex", "_X").get_completions(list(words), incomplete)
    return {item.value for item in items}


@pytest.mark.parametrize(
    ("words", "incomplete", "some"),
    [
        ((), "exp", {"explain"}),
        ((), "--off", {"--offline"}),
        (("change",), "a", {"apply"}),
        (("explain",), "d", {"diff"}),
        (("explain",), "--a", {"--ask"}),
        (("explain", "diff"), "--a", {"--ask"}),
        (("explain", "x.py"), "--off", {"--offline"}),
        (("--color",), "n", {"never"}),
    ],
)
def test_commands_and_options_are_completed(
    words: tuple[str, ...], incomplete: str, some: set[str]
) -> None:
    assert some == {
        v for v in _completed(*words, incomplete=incomplete) if v.startswith(incomplete)
    }


def test_the_noun_that_may_be_left_out_is_not_offered() -> None:
    assert "code" not in _completed("explain", incomplete="")
