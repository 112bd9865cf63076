"""The completion scripts, in the shells that they are for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

# Loads the script, as people do, and asks what could follow the words given.
_BASH = """
eval "$(aiex completion bash)"
complete -p aiex >/dev/null || exit 1
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*"
$(complete -p aiex | sed 's/.*-F \\([^ ]*\\).*/\\1/') aiex
printf '%s\\n' "${COMPREPLY[@]}"
"""
_ZSH = """
autoload -Uz compinit; compinit -u -d "$HOME/.zcompdump"
eval "$(aiex completion zsh)"
print -r -- "registered: ${_comps[aiex]}"
compadd() { print -rl -- $completions; }
_describe() { for row in $completions_with_descriptions; do print -r -- "${row%%:*}"; done; }
words=("$@"); CURRENT=$#
${_comps[aiex]}
"""
_FISH = "aiex completion fish | source; complete -C (string join ' ' -- $argv)"

LINES = [
    (("aiex", "exp"), {"explain"}),
    (("aiex", "create", "mod"), {"module"}),
    (("aiex", "change", "app"), {"apply"}),
    (("aiex", "explain", "--fac"), {"--facts-only"}),
    (("aiex", "analyze", "--offl"), {"--offline"}),
    (("aiex", "explain", "x.py", "--focus", "arch"), {"architecture"}),
    (("aiex", "config", "get", "cli.co"), {"cli.color"}),
]


def _complete(cli: Cli, argv: list[str]) -> list[str]:
    bin_ = Path(cli.env["HOME"]) / "bin"
    bin_.mkdir(exist_ok=True)
    (bin_ / "aiex").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m aiex "$@"\n')
    (bin_ / "aiex").chmod(0o755)
    ran = subprocess.run(
        argv,
        cwd=cli.project,
        env={**cli.env, "PATH": f"{bin_}:{cli.env['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return [line.partition("\t")[0] for line in ran.stdout.splitlines()]


def _needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@_needs("bash")
@pytest.mark.parametrize(("words", "wanted"), LINES)
def test_bash_completes(cli: Cli, words: tuple[str, ...], wanted: set[str]) -> None:
    assert set(_complete(cli, ["bash", "--norc", "-c", _BASH, "bash", *words])) == wanted


@_needs("zsh")
def test_zsh_completes(cli: Cli) -> None:
    for words, wanted in LINES[:4]:
        registered, *found = _complete(cli, ["zsh", "-f", "-c", _ZSH, "zsh", *words])
        assert registered == "registered: _aiex_completion"
        assert set(found) == wanted


@_needs("fish")
def test_fish_completes(cli: Cli) -> None:
    for words, wanted in LINES[:4]:
        assert set(_complete(cli, ["fish", "--no-config", "-c", _FISH, *words])) == wanted


def test_a_line_that_makes_no_sense_completes_to_nothing(cli: Cli) -> None:
    cli.env |= {"_AIEX_COMPLETE": "bash_complete", "COMP_WORDS": "aiex zzz x", "COMP_CWORD": "2"}

    ended = cli()

    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_files_are_left_to_the_shell(cli: Cli) -> None:
    cli.env |= {"_AIEX_COMPLETE": "bash_complete", "COMP_WORDS": "aiex explain sh"}
    cli.env["COMP_CWORD"] = "2"

    assert cli().out == "file,sh\n"
