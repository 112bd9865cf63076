"""`aiex model`."""

from __future__ import annotations

from typing import Any

import click

from aiex.core import ModelArguments
from aiex.interfaces.cli.drive import run_verb, set_up
from aiex.interfaces.cli.options import Globals, Group, Leaf

__all__ = ["command"]


@click.pass_context
def _model(ctx: click.Context, /, **more: Any) -> int:
    asked: Globals = ctx.obj
    action: Any = ctx.info_name
    arguments = ModelArguments(action=action, **more)
    return run_verb(set_up(asked), "model", arguments, command=f"model {action}")


command = Group(
    "model",
    default="list",
    help="List, fetch, choose and test models.",
    commands=[
        Leaf(
            "list",
            callback=_model,
            help="List the providers, their models, windows and prices, and how they stand.",
        ),
        Leaf(
            "pull",
            callback=_model,
            help="Fetch an embedded model: one of the catalogue, or any GGUF by --url and --sha256."
            " Goes on where it was interrupted; checks the digest.",
            params=[
                click.Argument(["name"]),
                click.Option(["--url"], metavar="ADDRESS", help="Address or path of the file."),
                click.Option(["--sha256"], metavar="DIGEST", help="SHA-256 that it must have."),
            ],
        ),
        Leaf(
            "use",
            callback=_model,
            help="Ask this model from now on when none is named.",
            params=[click.Argument(["name"], metavar="PROVIDER:MODEL")],
        ),
        Leaf(
            "test",
            callback=_model,
            help="Ask a model for some words: how soon the first comes, and how fast the rest.",
            params=[click.Argument(["name"], required=False, metavar="[PROVIDER:MODEL]")],
        ),
        Leaf(
            "update",
            callback=_model,
            help="Derive the price table anew from the installed genai-prices.",
        ),
    ],
)
