"""The documents name commands that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from aiex.interfaces.cli.app import cli
from aiex.interfaces.cli.commands.tasks import TASKS

PROJECT = Path(__file__).parents[3]
PAGES = [
    PROJECT / "README.md",
    *(page for page in (PROJECT / "docs").rglob("*.md") if "_build" not in page.parts),
]
_BLOCK = re.compile(r"^```(?:console|bash|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(aiex [a-z][^`\n]*)`")


def _typed(text: str) -> list[str]:
    lines = [
        line[2:]
        for block in _BLOCK.findall(text)
        for line in block.splitlines()
        if line[:2] == "$ "
    ]
    return [line for line in (*lines, *_INLINE.findall(text)) if "aiex" in line]


DOCUMENTED = sorted({line for page in PAGES for line in _typed(page.read_text("utf-8"))})
OVERVIEW = [command for task in TASKS for command in task.commands]


def parse(words: list[str]) -> None:
    """Let the commands understand *words*, and do nothing."""
    command: click.Command = cli
    ctx = click.Context(cli, info_name="aiex")
    while isinstance(command, click.Group):
        ctx = click.Context(command, ctx, command.name) if command is not cli else ctx
        command.parse_args(ctx, words)
        _, found, words = command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert found is not None
        command = found
    command.make_context(command.name, words, parent=ctx)


def _words(line: str) -> list[str]:
    shown = re.split(r"\baiex(?= |$)", line, maxsplit=1)[1]
    words = shlex.split(shown.replace(')"', ""), comments=True)
    return words[: next((n for n, word in enumerate(words) if word in {"|", "<", ">", "&&"}), None)]


@pytest.mark.parametrize("line", [*OVERVIEW, *DOCUMENTED])
def test_every_command_that_is_named_can_be_typed(line: str) -> None:
    words = _words(line)
    if words[:1] == ["COMMAND"]:
        return
    parse(["--json=" if word == "--json" else word for word in words])


def test_the_readme_says_how_to_try_and_how_to_test() -> None:
    readme = (PROJECT / "README.md").read_text("utf-8")

    uv = "python3 -m pip install uv && python3 -m uv run"
    assert f"$ {uv} --extra local aiex explain src/aiex/llm/strategies.py\n" in readme
    assert f"$ {uv} pytest\n" in readme
