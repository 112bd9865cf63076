"""`aiex analyze`."""

from __future__ import annotations

from typing import Any

import click

from aiex.core import AnalyzeArguments
from aiex.interfaces.cli.completing import files
from aiex.interfaces.cli.drive import run_verb, set_up
from aiex.interfaces.cli.options import Globals, Group, Leaf

__all__ = ["command"]

_PATHS = click.Argument(["paths"], nargs=-1, metavar="[PATH]...", shell_complete=files)
_FAIL_ON = click.Option(
    ["--fail-on"],
    type=click.Choice(["info", "low", "medium", "high", "critical"]),
    metavar="LEVEL",
    help="End with 1 if a finding is at or over LEVEL: info, low, medium, high or critical.",
)
_DEPTH = click.Option(
    ["--depth", "most"],
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="Most entries of each ranking.",
)
_SINCE = click.Option(["--since"], metavar="DATE", help="Oldest commit that counts, as git says.")
_SARIF = click.Option(["--sarif"], is_flag=True, help="The same as --format sarif.")


@click.pass_context
def _analyze(ctx: click.Context, /, paths: tuple[str, ...] = (), **more: Any) -> int:
    import msgspec

    kind: Any = ctx.info_name
    asked: Globals = ctx.obj
    if more.pop("sarif", False):
        asked = msgspec.structs.replace(asked, format="sarif")
    setup = set_up(asked, near=paths[0] if paths else None)
    arguments = AnalyzeArguments(
        kind=kind,
        paths=tuple(setup.absolute(path) for path in paths),
        **{name: value for name, value in more.items() if value is not None},
    )
    command_name = "analyze" if kind == "code" else f"analyze {kind}"
    return run_verb(setup, "analyze", arguments, command=command_name)


def _leaf(name: str, text: str, *params: click.Parameter) -> Leaf:
    return Leaf(name, callback=_analyze, help=text, params=list(params))


command = Group(
    "analyze",
    default="code",
    help="Facts about a project, without a model: nothing of it is run, nothing in it changes.",
    commands=[
        _leaf(
            "code",
            "Size, symbols, complexity, imports and cycles, findings and hotspots.",
            _PATHS,
            _DEPTH,
            _SINCE,
            _FAIL_ON,
            _SARIF,
        ),
        _leaf(
            "deps",
            "What the project depends on, by its manifests.",
            _PATHS,
            click.Option(["--outdated"], is_flag=True, help="Ask for newer versions."),
            click.Option(["--security"], is_flag=True, help="Ask for known vulnerabilities."),
            _FAIL_ON,
            _SARIF,
        ),
        _leaf(
            "hotspots",
            "Files that change often and are complex.",
            _PATHS,
            _DEPTH,
            _SINCE,
        ),
        _leaf("graph", "Which file imports which, and the cycles.", _PATHS),
        _leaf(
            "diff",
            "Only what changed since BASE adds: findings, complexity, cycles.",
            click.Argument(["base"], required=False),
            _DEPTH,
            _FAIL_ON,
            _SARIF,
        ),
    ],
)
