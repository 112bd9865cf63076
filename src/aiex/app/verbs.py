"""Every verb by its name: opened at its first request, so that no other is imported for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import msgspec

from aiex.assistant.project import ProjectReader
from aiex.assistant.verbs import Run, StreamVerb, Verb
from aiex.core import AnalyzeArguments, Entropy, Finished, Notice
from aiex.sandbox import Git, Recovered, on_account

if TYPE_CHECKING:
    from aiex.app.compose import House
    from aiex.assistant.doctor import StoreInfo
    from aiex.assistant.indexing import Indexer
    from aiex.assistant.proposals import Proposals
    from aiex.assistant.related import Related

__all__ = ["doctor_of", "openers"]

_RECOVERED = {
    "completed": "an earlier change was cut short and is complete now",
    "taken_back": "an earlier change was cut short and was taken back",
    "conflict": "an earlier change was cut short; files changed since, they were left alone",
}


def openers(house: House) -> Mapping[str, Callable[[], Verb[Any] | StreamVerb[Any]]]:
    """Return what opens each verb."""
    made = {
        "explain": _explain,
        "analyze": _analyze,
        "context": _context,
        "create_module": _create_module,
        "create_project": _create_project,
        "change": _change,
        "chat": _chat,
    }
    openers = {name: partial(_Recovering, make, house) for name, make in made.items()}
    return {
        **openers,
        "complete": partial(_complete, house),
        "model": partial(_Recovering, lambda house: _Masking(_model(house), house), house),
        "audit": partial(_audit, house),
        "doctor": lambda: doctor_of(house, house.store),
        "sandbox": partial(_sandbox, house),
        "key": partial(_key, house),
        "budget": partial(_budget, house),
        "session": partial(_session, house),
        "turn": partial(_turn, house),
    }


class _Masking:
    """A verb whose result tells of providers and their errors, and of nothing of the user's."""

    def __init__(self, verb: Verb[Any], house: House) -> None:
        self._verb = verb
        self._house = house
        self.name = verb.name
        self.arguments_type = verb.arguments_type

    async def run(self, arguments: Any, run: Run) -> Finished:
        """Do what was asked for, and take secrets out of what is told of it."""
        finished = await self._verb.run(arguments, run)
        return msgspec.structs.replace(finished, data=self._house.redact.data(finished.data))


class _Recovering:
    """A verb that first finishes what a kill cut short in the request's project, and says so.

    The commands that it runs are written down.
    """

    def __init__(self, make: Callable[[House], Verb[Any]], house: House) -> None:
        self._verb = make(house)
        self._house = house
        self.name = self._verb.name
        self.arguments_type = self._verb.arguments_type

    async def run(self, arguments: Any, run: Run) -> Finished:
        """Recover, then do what was asked for."""
        if run.request.root is not None:
            for one in await anyio.to_thread.run_sync(self._recover, run):
                text = f"{_RECOVERED[one.outcome]}: {', '.join(one.paths)}"
                await run.emit(Notice(text=text, level="warning"))
        account = await anyio.to_thread.run_sync(self._house.account, run.request)
        with on_account(account):
            return await self._verb.run(arguments, run)

    def _recover(self, run: Run) -> list[Recovered]:
        return self._house.files(run.request).recover()


def _reader(house: House) -> ProjectReader:
    return ProjectReader(house.files, house.cache(), house.digests())


def _explain(house: House) -> Verb[Any]:
    from aiex.assistant.explain.verb import Explain
    from aiex.assistant.lint import Ruff

    return Explain(
        reader=_reader(house),
        open_git=Git,
        lint=Ruff(house.cache()),
        models=house.models(),
        related=_related(house),
    )


def _context(house: House) -> Verb[Any]:
    from aiex.assistant.context import ContextVerb

    return ContextVerb(_indexer(house), house.models())


def _indexer(house: House) -> Indexer:
    from aiex.assistant.indexing import Indexer

    return Indexer(house.files, house.places.index)


def _related(house: House) -> Related:
    from aiex.assistant.related import Related

    return Related(_indexer(house))


def _analyze(house: House) -> Verb[Any]:
    from aiex.assistant.analyze.code import CodeAnalysis
    from aiex.assistant.analyze.diff import DiffAnalysis
    from aiex.assistant.analyze.graph import GraphAnalysis
    from aiex.assistant.analyze.history import HistoryReader
    from aiex.assistant.analyze.hotspots import HotspotsAnalysis
    from aiex.assistant.analyze.verb import Analyze
    from aiex.assistant.lint import Ruff

    reader, lint = _reader(house), Ruff(house.cache())
    history = HistoryReader(Git, house.cache(), now=house.clock.now)
    return Analyze(
        {
            "code": CodeAnalysis(reader=reader, lint=lint, history=history),
            "hotspots": HotspotsAnalysis(reader=reader, history=history),
            "graph": GraphAnalysis(reader=reader),
            "diff": DiffAnalysis(reader=reader, lint=lint, open_git=Git),
            "deps": _Deps(house, reader),
        }
    )


class _Deps:
    """The analysis of dependencies, imported when it is first asked for."""

    def __init__(self, house: House, reader: ProjectReader) -> None:
        self._house = house
        self._reader = reader

    async def run(self, arguments: AnalyzeArguments, run: Run) -> Finished:
        """Do it."""
        from aiex.app.registries import open_asked
        from aiex.assistant.analyze.deps.analysis import DepsAnalysis

        house = self._house
        asked = partial(open_asked, house.settings.analysis, house.env, hold=house.redact.hold)
        return await DepsAnalysis(reader=self._reader, open_asked=asked).run(arguments, run)


def _proposals(house: House) -> Proposals:
    from aiex.assistant.proposals import Proposals

    return Proposals(house.changes(), house.blobs, house.files, house.clock)


def _create_module(house: House) -> Verb[Any]:
    from aiex.assistant.create.finish import Finisher
    from aiex.assistant.create.module import CreateModule
    from aiex.assistant.create.writing import Writer
    from aiex.assistant.lint import Ruff
    from aiex.assistant.ruff_run import ruff_program

    models = house.models()
    return CreateModule(
        reader=_reader(house),
        models=models,
        writer=Writer(models, Finisher(ruff_program), house.places.replies),
        lint=Ruff(house.cache()),
        proposals=_proposals(house),
        related=_related(house),
    )


def _create_project(house: House) -> Verb[Any]:
    from aiex.assistant.create.project import CreateProject

    return CreateProject(house.files)


def _change(house: House) -> Verb[Any]:
    from aiex.assistant.change import ChangeVerb

    return ChangeVerb(_proposals(house))


def _chat(house: House) -> Verb[Any]:
    from aiex.assistant.chat.search import IndexSearch, LineSearch
    from aiex.assistant.chat.tools import ReadTools
    from aiex.assistant.chat.verb import Chat
    from aiex.assistant.summaries import Summaries

    models = house.models()
    search = IndexSearch(_indexer(house), LineSearch(house.files))
    return Chat(
        models=models,
        summaries=Summaries(models, house.cache(), redact=house.redact),
        files=house.files,
        tools=ReadTools(house.files, search),
        keep=house.turns(),
        writer=house.services.owner,
        clock=house.clock,
    )


def _session(house: House) -> StreamVerb[Any]:
    from aiex.assistant.sessions.verb import SessionVerb

    async def users() -> set[str]:
        return {key.user for key in await house.gateway_keys().list() if key.revoked is None}

    return SessionVerb(
        house.sessions(),
        clock=house.clock,
        entropy=Entropy(),
        redact=house.redact,
        users=users,
    )


def _turn(house: House) -> StreamVerb[Any]:
    from aiex.assistant.sessions.turns import TurnDesk, TurnVerb

    return TurnVerb(TurnDesk(house.sessions(), clock=house.clock, entropy=Entropy()))


def doctor_of(house: House, store: StoreInfo) -> Verb[Any]:
    """Return the verb that looks at everything; *store* may be one that cannot be opened.

    It changes nothing, so that what a kill cut short is left to the next command.
    """
    from aiex.assistant.doctor import Doctor
    from aiex.assistant.lint import Ruff

    doctor = Doctor(
        providers=house.providers(house.pricing()),
        ruff=Ruff(house.cache()),
        store=store,
        state=house.places.state,
        sources=house.sources,
        problem=house.problem,
        keys=house.keys.origins(),
    )
    return _Masking(doctor, house)


def _complete(house: House) -> StreamVerb[Any]:

    from aiex.assistant.complete import Complete
    from aiex.llm.relay import Relay

    coordinator = house.coordinator()
    relay = Relay(
        counter=coordinator.counter,
        pricing=coordinator.pricing,
        clock=house.clock,
        entropy=Entropy(),
        redact=house.redact,
    )
    return Complete(coordinator, relay)


def _sandbox(house: House) -> Verb[Any]:
    from aiex.assistant.sandbox import SandboxVerb

    return SandboxVerb(house.isolation)


def _audit(house: House) -> Verb[Any]:
    from aiex.assistant.audit import AuditVerb

    return AuditVerb(house.places.audit, anchor=house.anchor())


def _key(house: House) -> Verb[Any]:
    from aiex.assistant.key import KeyVerb

    return KeyVerb(
        house.gateway_keys(),
        clock=house.clock,
        audit=house.audit,
        announce=house.services.bulletin.announce,
    )


def _budget(house: House) -> Verb[Any]:
    from aiex.assistant.budget import BudgetVerb
    from aiex.context import Budgets

    return BudgetVerb(
        Budgets(house.store),
        house.limits(),
        house.interactions,
        clock=house.clock,
        audit=house.audit,
        announce=house.services.bulletin.announce,
    )


def _model(house: House) -> Verb[Any]:
    from aiex.app.config import set_user
    from aiex.assistant.model import ModelVerb
    from aiex.llm import ModelFolder, Puller

    coordinator = house.coordinator()
    folder = ModelFolder(house.places.models)
    return ModelVerb(
        models=house.models(),
        providers=coordinator.providers,
        pricing=coordinator.pricing,
        health=coordinator.health,
        clock=house.clock,
        strategy=house.settings.model.strategy,
        puller=Puller(folder, index=house.package_index),
        folder=folder,
        set_default=lambda name: set_user(house.env, "model.default", name),
        default=house.settings.model.default,
        prices=house.places.prices,
    )
