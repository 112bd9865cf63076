"""`aiex audit`."""

from __future__ import annotations

from typing import Any

import click

from aiex.core import AuditArguments, AuditQuery
from aiex.interfaces.cli.drive import run_verb, set_up
from aiex.interfaces.cli.options import Globals, Group, Leaf

__all__ = ["command"]

_QUERY = ("op", "path", "user", "decision", "op_id", "text", "since", "until")


@click.pass_context
def _audit(ctx: click.Context, /, **given: Any) -> int:
    asked: Globals = ctx.obj
    action: Any = ctx.info_name
    setup = set_up(asked)
    told = {name: value for name, value in given.items() if value is not None}
    query = AuditQuery(**{name: told.pop(name) for name in _QUERY if name in told})
    if "anchor" in told:
        told["anchor"] = setup.absolute(told["anchor"])
    arguments = AuditArguments(action=action, query=query, **told)
    return run_verb(setup, "audit", arguments, command=f"audit {action}")


def _most(default: int) -> click.Option:
    return click.Option(
        ["-n", "--most", "most"],
        type=click.IntRange(min=1, max=100_000),
        default=default,
        show_default=True,
        metavar="N",
        help="Most records to show: the newest.",
    )


def _filters() -> list[click.Parameter]:
    return [
        click.Option(["--op"], metavar="OP", help="What was done: read, apply, exec, scan ..."),
        click.Option(["--path"], metavar="PART", help="Part of the file's path."),
        click.Option(["--user"], metavar="NAME", help="Who acted."),
        click.Option(
            ["--decision"],
            type=click.Choice(["allow", "deny"]),
            help="Whether it was allowed or refused.",
        ),
        click.Option(["--op-id"], metavar="ID", help="The request that it belongs to."),
        click.Option(
            ["--since"], metavar="TIME", help="UTC, from TIME on: 2026-11-25, or with T10:30."
        ),
        click.Option(["--until"], metavar="TIME", help="UTC, before TIME."),
    ]


_FROM = click.Option(
    ["--from", "since_seq"],
    type=click.IntRange(min=1),
    metavar="SEQ",
    help="Begin with record SEQ.",
)

command = Group(
    "audit",
    default="tail",
    help="What was done to files and what ran: show, search, verify and export it.",
    commands=[
        Leaf("tail", callback=_audit, help="Show the newest records.", params=[_most(20)]),
        Leaf(
            "search",
            callback=_audit,
            help="Show the records that TEXT stands in and the options are true of.",
            params=[
                click.Argument(["text"], required=False, metavar="[TEXT]"),
                *_filters(),
                _most(100),
            ],
        ),
        Leaf(
            "verify",
            callback=_audit,
            help="Check that every record is there and as it was written: exit status 0; 1 if "
            "not, with the first bad record and what befell it; 2 without key or checkpoints.",
            params=[
                _FROM,
                click.Option(
                    ["--anchor"], metavar="FILE", help="File that the checkpoints were sent to."
                ),
            ],
        ),
        Leaf(
            "export",
            callback=_audit,
            help="Write records out, a JSON object a line, for other security tools.",
            params=[
                _FROM,
                *_filters(),
                click.Option(
                    ["--form"],
                    type=click.Choice(["ocsf", "raw"]),
                    default="ocsf",
                    show_default=True,
                    help="As OCSF events, or as they are.",
                ),
            ],
        ),
    ],
)
