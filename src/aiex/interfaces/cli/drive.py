"""Running one request to its end, whatever the user does meanwhile."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio
import msgspec

from aiex.app import (
    Ask,
    Loaded,
    environment,
    find_root,
    load,
    open_gateway,
    places_of,
    redactor_of,
    user_name,
)
from aiex.core import (
    EVERY_ROLE,
    ConfigurationError,
    Event,
    Finished,
    Principal,
    Redactor,
    Request,
    RunOptions,
    UsageError,
    new_id,
)
from aiex.gateway import Gateway
from aiex.interfaces.cli.console import Console
from aiex.interfaces.cli.faults import log_to_stderr
from aiex.interfaces.cli.hidden import Terminal, asker
from aiex.interfaces.cli.options import Globals
from aiex.interfaces.cli.view import View, check_form

__all__ = ["OpenHouse", "Setup", "answer", "follow", "made", "run_verb", "set_up"]


class OpenHouse(Protocol):
    """Opens a gateway with the settings in force."""

    def __call__(
        self, loaded: Loaded, env: Mapping[str, str], *, redact: Redactor, ask: Ask | None
    ) -> Awaitable[Gateway]:
        """Return the gateway, ready to be entered."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a command stands on.

    Attributes:
        asked: The global options.
        folder: Absolute path that the user's paths are relative to.
        root: Root of the project.
        loaded: The settings in force.
        env: Environment variables.
        console: Where to write.
        redact: Takes secrets out of what is not data.
    """

    asked: Globals
    folder: Path
    root: Path
    loaded: Loaded
    env: dict[str, str]
    console: Console
    redact: Redactor

    def absolute(self, path: str) -> str:
        """Return *path*, as the user wrote it, as an absolute path."""
        return os.path.normpath(self.folder / path)

    def place(self, path: str) -> str:
        """Return *path*, as the user wrote it, relative to the root; absolute where it is outside.

        A root whose own name is no UTF-8 can be worked in: its name is in no request.
        """
        absolute = Path(self.absolute(path))
        inside = absolute.is_relative_to(self.root)
        return str(absolute.relative_to(self.root) if inside else absolute)


def set_up(
    asked: Globals,
    *,
    near: str | None = None,
    root: bool = True,
    strict: bool = True,
    project: bool = True,
    flags: Mapping[str, object] | None = None,
) -> Setup:
    """Return what a command stands on.

    Args:
        asked: The global options.
        near: File or folder that the command is about; where it is outside the current project,
            the project around it is meant.
        root: Whether the project around the folder is meant, or the folder itself.
        strict: Whether a wrong setting is an error; if not, its source is left out.
        project: Whether the settings of a project count.
        flags: Settings that the command line sets, by key.

    Raises:
        ConfigurationError: A setting is wrong, or there is no folder to work in.
    """
    env = environment()
    folder = _current() / (asked.directory or "")
    around = find_root(folder) if root else folder
    if near is not None:
        target = Path(os.path.normpath(folder / near))
        if not target.is_relative_to(around) and target.exists():
            around = find_root(target if target.is_dir() else target.parent)
    loaded = load(env, root=around if project else None, flags=flags, strict=strict)
    console = Console(
        color=asked.color or loaded.settings.cli.color,
        quiet=asked.quiet,
        verbose=asked.verbose,
        env=env,
    )
    level = "INFO" if asked.verbose else loaded.settings.cli.log_level.upper()
    redact = redactor_of(env, loaded.settings)
    log_to_stderr(level, faults=_fault_folder(loaded), redact=redact, verbose=asked.verbose)
    return Setup(
        asked=asked,
        folder=folder,
        root=around,
        loaded=loaded,
        env=env,
        console=console,
        redact=redact,
    )


def _current() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise ConfigurationError(
            "the current folder is gone", hint="go to another, or name one with -C DIR"
        ) from error


def _fault_folder(loaded: Loaded) -> Path | None:
    try:
        return places_of(loaded.settings.state).faults
    except ConfigurationError:
        return None


def run_verb(
    setup: Setup,
    verb: str,
    arguments: msgspec.Struct,
    *,
    command: str | None = None,
    view: View | None = None,
    open_house: OpenHouse = open_gateway,
) -> int:
    """Submit one request, write its events and return the exit status.

    Args:
        setup: What the command stands on.
        verb: Name of the verb.
        arguments: The verb's arguments.
        command: Name of the command; `None` for the verb's.
        view: What writes the events; `None` for one that is made here.
        open_house: Opens the gateway.
    """
    check_form(command or verb, setup.asked)
    shown = view or View(command or verb, setup.asked, setup.console)
    return anyio.run(partial(_run, setup, made(setup, verb, arguments), shown, open_house))


def answer(setup: Setup, command: str, result: msgspec.Struct) -> int:
    """Write the result of a command that needs no gateway, and return the exit status."""
    check_form(command, setup.asked)
    finished = Finished(status="ok", data=msgspec.Raw(msgspec.json.encode(result)))
    event = Event(id=1, request_id="", at=datetime.now(UTC), body=finished)
    return View(command, setup.asked, setup.console).take(event) or 0


def made(
    setup: Setup, verb: str, arguments: msgspec.Struct, *, asked: Globals | None = None
) -> Request:
    """Return the request for *verb*.

    Args:
        setup: What the command stands on.
        verb: Name of the verb.
        arguments: The verb's arguments.
        asked: Options in the place of those of *setup*; `None` for those.

    Raises:
        UsageError: The arguments cannot be said in a request.
    """
    asked = asked or setup.asked
    now = datetime.now(UTC)
    return Request(
        id=new_id("req", now=now, entropy=secrets.token_bytes(10)),
        verb=verb,
        arguments=_encoded(arguments),
        principal=Principal(user=user_name(), interface="cli", roles=EVERY_ROLE),
        root=str(setup.root),
        deadline=None if asked.timeout is None else now + timedelta(seconds=asked.timeout),
        options=RunOptions(
            model=asked.model,
            provider=asked.provider,
            strategy=asked.strategy,
            offline=asked.offline,
            dry_run=asked.dry_run,
            use_cache=not asked.no_cache,
            max_cost=asked.max_cost,
            max_output_tokens=asked.max_tokens,
            seed=asked.seed,
            record_prompts=asked.record_prompts,
            show_context=asked.show_context,
        ),
    )


def _encoded(arguments: msgspec.Struct) -> msgspec.Raw:
    try:
        return msgspec.Raw(msgspec.json.encode(arguments))
    except UnicodeEncodeError as error:
        name = str(error.object)
        raise UsageError(
            f"{name!r} is no UTF-8: requests cannot name it", hint="rename it, or pipe it in"
        ) from error


async def _run(setup: Setup, request: Request, view: View, open_house: OpenHouse) -> int:
    gateway = await open_house(setup.loaded, setup.env, redact=setup.redact, ask=asker())
    async with gateway:
        try:
            return await follow(gateway, request, view)
        except Exception as error:  # noqa: BLE001 - raised again, outside of the gateway's tasks
            problem = error
    raise problem


async def follow(gateway: Gateway, request: Request, view: View) -> int:
    """Submit *request*, write its events and return the exit status; Ctrl-C ends the request."""
    await gateway.submit(request)
    code = 0
    problem: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_on_signal, gateway, request.id)
        try:
            async for event in gateway.attach(request.id):
                code = view.take(event) or code
        except Exception as error:  # noqa: BLE001 - raised again, outside of the task group
            problem = error  # such as a reader of our output that left: the request ends, too
            await gateway.cancel(request.id)
        tasks.cancel_scope.cancel()
    if problem is not None:
        raise problem
    return code


async def _cancel_on_signal(gateway: Gateway, request_id: str) -> None:
    """Cancel the request at the first signal; at the second, end at once."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        first = True
        terminal = Terminal()
        async for _ in signals:
            if not first:
                terminal.restore()
                os._exit(130)
            first = False
            await gateway.cancel(request_id)
