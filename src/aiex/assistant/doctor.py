"""`doctor`: looks at everything that Aiex leans on, and says what to do about each problem."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Protocol

import anyio.to_thread
import msgspec

from aiex import __version__
from aiex.assistant.lint import Ruff
from aiex.assistant.verbs import Run
from aiex.core import AiexError, DoctorArguments, DoctorCheck, DoctorResult, ErrorInfo, Finished
from aiex.llm import Providers, ProviderState
from aiex.sandbox import Command, isolation_status, run_command

__all__ = ["Doctor", "StoreInfo"]

_LEAST_FREE = 1 << 30
_ELSEWHERE = "keep it elsewhere with AIEX_STATE_DIRECTORY=FOLDER"
_TOOLS = (
    (("git", "--version"), "history, hotspots and changes need it"),
    (("mix", "--version"), "formatting of new Elixir modules needs it"),
)


class StoreInfo(Protocol):
    """What is needed of a store to describe it."""

    async def info(self) -> Mapping[str, str]:
        """Return what an operator wants to know."""


class Doctor:
    """The verb.

    Args:
        providers: Who could be asked; left when the run ends.
        ruff: Runs ruff.
        store: The store.
        state: Folder of Aiex's own state.
        sources: Where settings come from, by what they are.
        problem: What is wrong with the settings; `None` if nothing is.
        keys: Where the key of each provider comes from, in words.
    """

    name = "doctor"
    arguments_type = DoctorArguments

    def __init__(
        self,
        *,
        providers: Providers,
        ruff: Ruff,
        store: StoreInfo,
        state: Path,
        sources: Mapping[str, str],
        problem: ErrorInfo | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self._providers = providers
        self._ruff = ruff
        self._store = store
        self._state = state
        self._sources = sources
        self._problem = problem
        self._keys = keys or {}

    async def run(self, arguments: DoctorArguments, run: Run) -> Finished:
        """Look at everything; nothing is changed."""
        del arguments
        async with self._providers:
            states = await self._providers.states(offline=run.request.options.offline)
        checks = (
            *self._program(),
            *[await self._ruff_check(), *[await _tool(argv, why) for argv, why in _TOOLS]],
            *(_provider(state, self._keys.get(state.name)) for state in states),
            *await _sandbox(),
            *await self._state_checks(),
        )
        can_ask = any(state.problem is None and state.models for state in states)
        has_problem = any(check.state == "problem" for check in checks)
        return Finished(
            status="findings" if has_problem else "ok",
            data=msgspec.Raw(msgspec.json.encode(DoctorResult(checks=checks, can_ask=can_ask))),
            termination_reason="looked",
        )

    def _program(self) -> Iterator[DoctorCheck]:
        python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
        yield DoctorCheck(
            area="program", name="aiex", state="ok", detail=f"{__version__}, {python}"
        )
        for name, where in self._sources.items():
            yield DoctorCheck(area="program", name=name, state="ok", detail=where)
        if self._problem is not None:
            yield DoctorCheck(
                area="program",
                name="mistake",
                state="problem",
                detail=f"{self._problem.message} (the rest of that source is left out here)",
                hint=self._problem.hint or "aiex config list shows what can be set",
            )

    async def _ruff_check(self) -> DoctorCheck:
        version = await self._ruff.version()
        if version is None:
            return DoctorCheck(
                area="tools",
                name="ruff",
                state="missing",
                detail="lint and security findings of Python need it",
                hint="pip install ruff",
            )
        return DoctorCheck(area="tools", name="ruff", state="ok", detail=version)

    async def _state_checks(self) -> list[DoctorCheck]:
        return [await anyio.to_thread.run_sync(self._disk), await self._store_check()]

    def _disk(self) -> DoctorCheck:
        """Return how much room is left where the state lies, or would lie."""
        try:
            free = shutil.disk_usage(_nearest(self._state)).free
        except OSError as error:
            return _state_check("disk", f"{self._state}: {error.strerror}", hint=_ELSEWHERE)
        hint = "" if free >= _LEAST_FREE else f"make room, or {_ELSEWHERE}"
        return _state_check("disk", f"{free / 1e9:.1f} GB free in {self._state}", hint=hint)

    async def _store_check(self) -> DoctorCheck:
        try:
            info = await self._store.info()
        except AiexError as error:
            return _state_check(
                "store", error.message, hint=f"{error.hint or ''} Or {_ELSEWHERE}.".lstrip()
            )
        is_wal = info.get("journal", "wal") == "wal"
        return _state_check(
            "store",
            f"{info['place']}, {int(info['bytes']) / 1e6:.1f} MB, {info['backend']}, "
            f"schema {info['schema']}",
            hint="" if is_wal else f"put it on a local disk: {_ELSEWHERE}",
        )


def _state_check(name: str, detail: str, *, hint: str) -> DoctorCheck:
    """Return a check of the state, which is a problem where there is something to do about it."""
    state: Literal["problem", "ok"] = "problem" if hint else "ok"
    return DoctorCheck(area="state", name=name, state=state, detail=detail, hint=hint)


def _nearest(folder: Path) -> Path:
    """Return *folder*, or the nearest one above it that is there."""
    return next((f for f in (folder, *folder.parents) if f.is_dir()), folder)


async def _tool(argv: tuple[str, ...], why: str) -> DoctorCheck:
    try:
        ran = await run_command(Command(argv=argv, timeout=20))
    except AiexError:
        return DoctorCheck(
            area="tools",
            name=argv[0],
            state="missing",
            detail=why,
            hint=f"install {argv[0]} if you need it",
        )
    lines = ran.stdout.decode("utf-8", "replace").split("\n")
    named = [line.strip() for line in lines if argv[0] in line.lower()] or lines
    return DoctorCheck(
        area="tools",
        name=argv[0],
        state="ok" if ran.exit == 0 else "problem",
        detail=named[0].strip(),
    )


def _provider(state: ProviderState, key: str | None) -> DoctorCheck:
    told = "" if key is None else f"; its key comes from {key}"
    if state.problem is not None:
        return DoctorCheck(
            area="providers",
            name=state.name,
            state="missing",
            detail=f"{state.problem}{told}",
            hint=state.hint or "",
        )
    names = [model.name for model in state.models]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return DoctorCheck(
        area="providers",
        name=state.name,
        state="ok" if names else "missing",
        detail=f"answers: {', '.join(names[:3])}{more}{told}"
        if names
        else f"answers, with no model{told}",
    )


async def _sandbox() -> list[DoctorCheck]:
    status = await isolation_status()
    files = DoctorCheck(
        area="sandbox",
        name="files",
        state="ok",
        detail=f"kept below the project by {status.paths_by}, each one in the audit log",
    )
    failed = [probe for probe in status.probes if not probe.passes]
    if status.level is None:
        seen = "; ".join(f"{probe.level}: {probe.detail}" for probe in failed)
        commands = DoctorCheck(
            area="sandbox",
            name="commands",
            state="problem",
            detail=f"refused, since sandbox.require is {status.require}: {seen}",
            hint="aiex sandbox status shows what is missing",
        )
    else:
        stronger = "".join(f"; not {probe.level}: {probe.detail}" for probe in failed)
        commands = DoctorCheck(
            area="sandbox",
            name="commands",
            state="ok" if status.level != "none" else "problem",
            detail=f"kept inside by {status.level}{stronger}",
            hint="" if status.level != "none" else "aiex config set sandbox.require landlock",
        )
    return [files, commands]
