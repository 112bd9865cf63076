"""`aiex serve`."""

from __future__ import annotations

from typing import Any

import click

from aiex.core import UsageError
from aiex.interfaces.cli.drive import set_up
from aiex.interfaces.cli.options import Globals, Leaf

__all__ = ["command"]


@click.pass_obj
def _serve(asked: Globals, /, as_worker: str | None, **given: Any) -> int:
    from aiex.interfaces.cli.serving import serve

    if asked.jsonl or asked.format not in {None, "text", "json"}:
        raise UsageError("serve has no form but text and JSON")
    flags = {f"server.{name}": value for name, value in given.items() if value is not None}
    return serve(set_up(asked, project=False, flags=flags), as_worker=as_worker)


command = Leaf(
    "serve",
    callback=_serve,
    help="Serve models to clients of OpenAI's and Anthropic's APIs, and Aiex's own API.\n\n"
    "Listens on this machine only, unless told otherwise, and asks for a token even there: it "
    "is in a file that only you can read, which is named at the start. Ends at SIGTERM or "
    "Ctrl-C, once the requests that run then have ended.",
    params=[
        click.Option(["--host"], metavar="ADDRESS", help="Address to listen at."),
        click.Option(
            ["--port"], type=click.IntRange(0, 65535), metavar="N", help="Port; 0 for a free one."
        ),
        click.Option(
            ["--socket"], metavar="PATH", help="Listen at a Unix socket instead of an address."
        ),
        click.Option(
            ["--workers"], type=click.IntRange(1, 256), metavar="N", help="Processes that serve."
        ),
        click.Option(
            ["--cert", "tls_cert"], metavar="FILE", help="TLS certificate and its chain, PEM."
        ),
        click.Option(["--key", "tls_key"], metavar="FILE", help="Key of the certificate, PEM."),
        click.Option(
            ["--as-worker"], hidden=True, help="Serve beside others, for the process that says so."
        ),
    ],
)
