"""Following what a gateway does: its events, and requests that run in other processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial

import anyio
import msgspec

from aiex.app import open_gateway
from aiex.core import Event, Missed, Published, Started, UsageError
from aiex.gateway import Gateway
from aiex.interfaces.cli.console import safe
from aiex.interfaces.cli.drive import Setup, answer
from aiex.interfaces.cli.hidden import asker
from aiex.interfaces.cli.render.events import EventsResult, line_of
from aiex.interfaces.cli.render.requests import RequestsResult, StoppedResult
from aiex.interfaces.cli.view import View, check_form

__all__ = ["attach", "cancel", "list_requests", "tail"]

_OF_ONE_FORM = frozenset(
    {"explain", "analyze", "chat", "create_module", "create_project", "doctor"}
)
"""Verbs whose name says the command that they are, so that its text can be written."""


def tail(setup: Setup, *, pattern: str, count: int | None) -> int:
    """Write what is published, until Ctrl-C or *count* events; return the exit status.

    Raises:
        UsageError: One JSON document is wanted of what has no end.
    """
    asked = setup.asked
    if asked.form == "json" and count is None:
        raise UsageError(
            "events have no end, so one JSON document has none either",
            hint="--jsonl writes a line for each; --json goes with --count N",
        )
    if asked.form not in {"text", "json"} and not asked.jsonl:
        raise UsageError(f"events tail has no form {asked.form}", hint="--jsonl, --json or text")
    seen: list[Published] = []

    def take(one: Published) -> None:
        seen.append(one)
        if asked.jsonl:
            setup.console.write_data(msgspec.json.encode(one) + b"\n")
        elif asked.form == "text":
            setup.console.line(safe(line_of(one)))
        if count is None or asked.form != "json":
            seen[:-1] = []  # only a document needs the others

    async def follow(gateway: Gateway) -> int:
        taken = 0
        async with gateway.operations.subscribe(pattern) as published:
            if count is None:
                setup.console.note("listening; Ctrl-C ends it", "dim")
            async for one in published:
                take(one)
                taken += not isinstance(one.body, Missed)
                if count is not None and taken >= count:
                    break
        return 0

    code = _run(setup, follow)
    if asked.form == "json":
        return answer(setup, "events tail", EventsResult(events=tuple(seen)))
    return code


def list_requests(setup: Setup) -> int:
    """Write the requests that the gateway knows, newest first."""
    check_form("requests list", setup.asked)

    async def ask(gateway: Gateway) -> int:
        found = tuple(await gateway.operations.requests())
        return answer(setup, "requests list", RequestsResult(requests=found))

    return _run(setup, ask)


def cancel(setup: Setup, request_id: str) -> int:
    """Stop a request, in whatever process it runs."""
    check_form("requests cancel", setup.asked)

    async def ask(gateway: Gateway) -> int:
        was_running = await gateway.cancel(request_id)
        result = StoppedResult(id=request_id, was_running=was_running)
        return answer(setup, "requests cancel", result)

    return _run(setup, ask)


def attach(setup: Setup, request_id: str, *, after: int) -> int:
    """Write the events of a request, those that have been and those to come, up to its end."""

    async def follow(gateway: Gateway) -> int:
        view: View | None = None
        code = 0
        async with aclosing(gateway.attach(request_id, after=after)) as events:
            async for event in events:
                if view is None:
                    view = await _view_of(setup, gateway, request_id, event)
                code = view.take(event) or code
        return code

    return _run(setup, follow)


async def _view_of(setup: Setup, gateway: Gateway, request_id: str, first: Event) -> View:
    """Return what writes a request as the command would that it was made by."""
    verb = first.body.verb if isinstance(first.body, Started) else ""
    verb = verb or (await gateway.operations.request(request_id)).verb
    command = verb.replace("_", " ") if verb in _OF_ONE_FORM else "requests attach"
    check_form(command, setup.asked)
    return View(command, setup.asked, setup.console)


def _run(setup: Setup, follow: Callable[[Gateway], Awaitable[int]]) -> int:
    return anyio.run(partial(_follow, setup, follow))


async def _follow(setup: Setup, follow: Callable[[Gateway], Awaitable[int]]) -> int:
    gateway = await open_gateway(setup.loaded, setup.env, redact=setup.redact, ask=asker())
    code = 0
    problem: Exception | None = None
    async with gateway, anyio.create_task_group() as tasks:
        tasks.start_soon(_end_on_signal, tasks.cancel_scope)
        try:
            code = await follow(gateway)
        except Exception as error:  # noqa: BLE001 - raised again, outside of the task group
            problem = error
        tasks.cancel_scope.cancel()
    if problem is not None:
        raise problem
    return code


async def _end_on_signal(scope: anyio.CancelScope) -> None:
    """Stop following at the first signal, which ends nothing else; end at once at the second."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if scope.cancel_called:
                os._exit(130)
            scope.cancel()
