"""Running a server in the terminal: from the settings to the last answer."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from socket import socket
from tempfile import TemporaryDirectory
from typing import Any, Literal

import anyio
import anyio.to_thread

from aiex.app import Ask, OwnToken, ServerSettings, open_node, places_of, run_workers
from aiex.core import ConfigurationError, NodeChanged, Principal
from aiex.interfaces.cli.drive import Setup, answer
from aiex.interfaces.cli.hidden import asker
from aiex.interfaces.cli.render.serve import ServeResult
from aiex.interfaces.http.bounds import Bounds
from aiex.interfaces.http.serve import (
    CAPABILITIES,
    Serving,
    address_of,
    check,
    open_socket,
    run_server,
)
from aiex.interfaces.http.siblings import Siblings

__all__ = ["serve"]

_STOP_SECONDS = 10.0


def serve(setup: Setup, *, as_worker: str | None = None) -> int:
    """Serve until a signal asks for an end, and return the exit status.

    Args:
        setup: What the command stands on.
        as_worker: Which of several workers this process shall be; `None` if it is none.

    Raises:
        ConfigurationError: It may not, or cannot, listen there.
        ChildError: A worker could not be started.
    """
    settings = setup.loaded.settings.server
    serving = _serving(settings)
    check(serving)
    if settings.workers > 1 and serving.socket is not None:
        raise ConfigurationError(
            "a Unix socket is served by one process",
            hint="leave out --workers, or listen at an address with --host and --port",
        )
    token = OwnToken(places_of(setup.loaded.settings.state).token)
    token.hold(setup.redact.hold)
    bound = open_socket(serving)
    address = address_of(serving, bound)
    result = ServeResult(
        address=address, token_file=str(token.path), pid=os.getpid(), workers=settings.workers
    )

    def ready() -> None:
        answer(setup, "serve", result)

    try:
        if as_worker is not None:
            siblings = Siblings.named(as_worker)
            run = partial(_run, setup, serving, bound, token, address, _tell_parent, siblings)
        elif settings.workers > 1:
            return _lead(setup, serving, settings.workers, bound.getsockname()[1], ready)
        else:
            run = partial(_run, setup, serving, bound, token, address, ready, None)
        options: dict[str, Any] = {}
        if find_spec("uvloop") is not None:
            options["use_uvloop"] = True
        anyio.run(run, backend_options=options)
    finally:
        bound.close()
        if serving.socket is not None:
            serving.socket.unlink(missing_ok=True)
    return 0


def _lead(setup: Setup, serving: Serving, count: int, port: int, ready: Callable[[], None]) -> int:
    """Keep *count* workers running; the port is ours as long as our socket is bound to it."""
    own = [sys.executable, "-m", "aiex", *sys.argv[1:]]
    with TemporaryDirectory(prefix="aiex-", ignore_cleanup_errors=True) as folder:
        commands = [
            [*own, "--port", str(port), "--as-worker", f"{number}:{count}:{folder}"]
            for number in range(count)
        ]
        within = serving.drain_seconds + _STOP_SECONDS
        keep = partial(run_workers, commands, env=setup.env, stop_within=within, ready=ready)
        anyio.run(keep)
    return 0


def _tell_parent() -> None:
    """Say that this worker can be used, and end with the process that started it."""
    os.write(sys.stdout.fileno(), b"ready\n")
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()

    def read() -> None:
        if not os.read(stdin, 4096):
            loop.remove_reader(stdin)
            os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(stdin, read)


async def _run(
    setup: Setup,
    serving: Serving,
    bound: socket,
    token: OwnToken,
    address: str,
    ready: Callable[[], None],
    siblings: Siblings | None,
) -> None:
    ask: Ask | None = asker()
    node = await open_node(setup.loaded, setup.env, token, redact=setup.redact, ask=ask)
    async with node.gateway as gateway:
        operations = gateway.operations

        def authenticate(shown: str | None) -> Principal:
            return operations.authenticate(shown, interface="http")

        def changed(state: Literal["started", "draining", "stopped"]) -> None:
            node.announce(NodeChanged(node=node.name, state=state, address=address))
            if state == "started":
                _keep_what_is_loaded()
                ready()

        async with operations.register("http", capabilities=CAPABILITIES):
            await run_server(
                gateway,
                serving,
                bound,
                authenticate=authenticate,
                changed=changed,
                siblings=siblings,
            )


def _keep_what_is_loaded() -> None:
    """Let the garbage collector pass over what lives as long as the process.

    It would look through all of it again and again, and a request makes no cycles of its own.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _serving(settings: ServerSettings) -> Serving:
    return Serving(
        host=settings.host,
        port=settings.port,
        socket=_path(settings.socket),
        hosts=settings.hosts,
        tls_cert=_path(settings.tls_cert),
        tls_key=_path(settings.tls_key),
        plain_behind_tls_proxy=settings.plain_behind_tls_proxy,
        drain_seconds=settings.drain_seconds,
        bounds=Bounds(
            connections=settings.max_connections,
            header_bytes=settings.max_header_bytes,
            headers=settings.max_headers,
            header_seconds=settings.header_seconds,
            body_bytes=settings.max_body_bytes,
            body_seconds=settings.body_seconds,
            idle_seconds=settings.idle_seconds,
            unread_seconds=settings.unread_seconds,
        ),
    )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).expanduser().absolute()
