"""Putting the house together: chooses backends and providers by name and opens them in order.

What a command does not need is not imported: verbs are opened at their first request, adapters at
their first call, and tokens and prices load when the first of them is counted.
"""

from __future__ import annotations

import getpass
import logging
import os
import platform
import random
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from aiex.app.config import Loaded, user_file_or_none
from aiex.app.keys import Ask, KeySource, variables_of
from aiex.app.masking import redactor_of
from aiex.app.node import TOKEN, NodeClient, node_models, node_of, node_turns
from aiex.app.places import Places, further_roots, places_of, sealed_file
from aiex.app.services import HouseServices
from aiex.app.settings import Settings
from aiex.app.verbs import doctor_of, openers
from aiex.cluster import TableSpec
from aiex.cluster.local import SqliteStore
from aiex.context import (
    TABLES,
    AnalysisCache,
    BlobFiles,
    Changes,
    DigestCache,
    GatewayKeys,
    Interactions,
    Sessions,
    Shown,
    TokenFactors,
    Writers,
)
from aiex.core import (
    Actor,
    Entropy,
    Redactor,
    Request,
    StoreError,
    TokenFactor,
    logins_in,
)
from aiex.gateway.admission import Admission, Authenticator, OwnMachine
from aiex.gateway.local import LocalGateway
from aiex.gateway.operations import StoreInfo
from aiex.gateway.tables import TABLES as GATEWAY_TABLES
from aiex.runtime import Supervisor, SystemClock
from aiex.sandbox import (
    Account,
    Anchor,
    AuditLog,
    CommandPolicy,
    FileAnchor,
    FilePolicy,
    Files,
    Isolation,
)

if TYPE_CHECKING:
    from aiex.app.limits import HouseLimits
    from aiex.app.telemetry import Telemetry
    from aiex.assistant.models import Models
    from aiex.assistant.sessions.ports import AsksTurn
    from aiex.llm import (
        CallSink,
        Coordinator,
        PackageIndex,
        PriceTable,
        Pricing,
        Providers,
        TokenCounter,
    )

_LOG = logging.getLogger(__name__)

__all__ = ["House", "LetIn", "open_doctor", "open_gateway", "user_name"]


LIMITS: Final = (TableSpec(name="limit_ledger"), TableSpec(name="limit_member"))
"""What `llm.limits.LIMIT_TABLES` is; a test compares. All of `llm` is not imported for it."""


class House:
    """Every service of one process, opened when it is first asked for.

    Args:
        loaded: The settings in force.
        env: Environment variables; only keys are read from them here.
        redact: Takes secrets out of what is kept and said, and learns of those that are found;
            `None` for one that is made here.
        ask: Asks for the passphrase of the keys; `None` if there is nobody to ask.
    """

    def __init__(
        self,
        loaded: Loaded,
        env: Mapping[str, str],
        *,
        redact: Redactor | None = None,
        ask: Ask | None = None,
    ) -> None:
        self.problem = loaded.problem
        self.settings: Settings = loaded.settings
        self.places: Places = places_of(self.settings.state)
        self.clock = SystemClock()
        self.sources = {"profile": loaded.profile, "settings": str(user_file_or_none(env))}
        self.env = env
        self.redact = redact or redactor_of(env, self.settings)
        self.keys = KeySource(
            env,
            self.settings.model.keyring,
            sealed=sealed_file(env),
            ask=ask,
            hold=self.redact.hold,
            variables=variables_of(self.settings),
        )
        self._files: dict[tuple[str, str], Files] = {}
        self._audit: AuditLog | None = None
        self._coordinator: Coordinator | None = None
        self.node = node_of(env, own_token=self.places.token)
        if TOKEN in env:
            self.redact.hold(env[TOKEN])
        self._limits: HouseLimits | None = None
        self._factors: TokenFactors | None = None
        self._learned: Sequence[TokenFactor] = ()
        self.store_error: StoreError | None = None
        sandbox = self.settings.sandbox
        self.isolation = Isolation(
            CommandPolicy(
                require=sandbox.require,
                tools=sandbox.tools,
                max_processes=sandbox.max_processes,
                max_memory_bytes=sandbox.max_memory_bytes,
            ),
            env,
        )
        self.blobs = BlobFiles(self.places.blobs)
        self.store = SqliteStore(
            self.places.store,
            (*TABLES, *GATEWAY_TABLES, *LIMITS),
            clock=self.clock,
            fsync=self.settings.state.fsync,
        )
        self.services = HouseServices(self.store, clock=self.clock, redact=self.redact)
        self.writers = Writers(self.places.writers, name=self.services.owner)

    async def open(self, *, needs_store: bool = True) -> AsyncExitStack:
        """Open the store and what writes to it; the stack closes everything again.

        Args:
            needs_store: Whether a store that cannot be opened is an error; if not, it is kept in
                `store_error`.
        """
        await anyio.to_thread.run_sync(self.keys.look)
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(self.isolation)
            try:
                await opened.enter_async_context(self.store)
            except StoreError as error:
                if needs_store:
                    raise
                self.store_error = error
            else:
                await self.services.open(opened)
                await self._load_factors()
                self.interactions = await opened.enter_async_context(
                    Interactions(
                        self.store,
                        spill=self.places.spill,
                        blobs=self.blobs,
                        redact=self.redact.without_held,
                    )
                )
                self.calls: CallSink = self.interactions
                if needs_store and self.settings.telemetry.endpoint is not None:
                    self.calls = await opened.enter_async_context(
                        await anyio.to_thread.run_sync(
                            self._telemetry, self.settings.telemetry.endpoint
                        )
                    )
            if self.node is not None:
                await opened.enter_async_context(self.node)
            supervisor = Supervisor(clock=self.clock, entropy=random.random)
            self.supervisor = await opened.enter_async_context(supervisor)
            # Closed first: adapters, then their servers, what records calls, the store.
            opened.push_async_callback(self._close_models)
            opened.push_async_callback(self._close_files)
            opened.push_async_callback(anyio.to_thread.run_sync, self.writers.close)
            return opened.pop_all()

    def _telemetry(self, address: str) -> Telemetry:
        """Return what tells the collector at *address* of calls. Blocks."""
        from aiex.app.providers import kinds_of
        from aiex.app.telemetry import Telemetry, exporters

        spans, metrics = exporters(address)
        return Telemetry(
            self.interactions,
            spans=spans,
            metrics=metrics,
            kinds=kinds_of(self),
            redact=self.redact if self.settings.telemetry.content else None,
        )

    async def _close_models(self) -> None:
        if self._coordinator is not None:
            await self._coordinator.__aexit__(None, None, None)
            with anyio.CancelScope(shield=True):
                await self.keep_factors()

    async def _load_factors(self) -> None:
        self._factors = TokenFactors(self.store)
        try:
            self._learned = await self._factors.load()
        except StoreError as error:
            _LOG.warning("what was learned of tokens is not known: %s", error.message)

    async def keep_factors(self) -> None:
        """Keep what was learned of how models count tokens; a lesson that is lost costs little."""
        if self._coordinator is not None and self._factors is not None:
            try:
                await self._factors.keep(self._coordinator.counter.learned)
            except StoreError as error:
                _LOG.warning("what was learned of tokens was not kept: %s", error.message)

    def counter(self) -> TokenCounter:
        """Return what counts tokens, with what was learned before."""
        from aiex.llm import TokenCounter

        return TokenCounter(self._learned)

    async def _close_files(self) -> None:
        if self._files or self._audit is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._close_files_now)

    def _close_files_now(self) -> None:
        for files in self._files.values():
            files.close()
        if self._audit is not None:
            self._audit.close()

    def files(self, request: Request) -> Files:
        """Return the files of the request's root; what a kill cut short there is finished first."""
        key = (request.root or "", request.id)
        if key not in self._files:
            policy = self.settings.sandbox
            self._files[key] = Files(
                Path(request.root or "."),
                state=self.places.state,
                policy=FilePolicy(
                    hardlinks=policy.hardlinks,
                    max_file_bytes=policy.max_file_bytes,
                    max_total_bytes=policy.max_total_bytes,
                    max_entries=policy.max_entries,
                    protected=policy.protected,
                    read_only=policy.read_only,
                ),
                audit=self.audit(),
                actor=_actor_of(request),
                op_id=request.id,
                roots=further_roots("sandbox.roots", policy.roots),
                readable=further_roots("sandbox.readable", policy.readable),
                own=self._own_files(),
            )
        return self._files[key]

    def audit(self) -> AuditLog:
        """Return the log of what is done to files and of what runs. Blocks when it is opened."""
        if self._audit is None:
            self._audit = AuditLog(
                self.places.audit,
                node=platform.node(),
                now=self.clock.now,
                anchor=self.anchor(),
                redact=self.redact,
                fsync=self.settings.state.fsync,
            )
        return self._audit

    def account(self, request: Request) -> Account:
        """Return what writes down the commands of *request*."""
        return Account(self.audit(), actor=_actor_of(request), op_id=request.id)

    def _own_files(self) -> list[Path]:
        """Return what decides about the sandbox or is looked after by Aiex, besides the state."""
        user, anchor = user_file_or_none(self.env), self.settings.state.audit_anchor
        sealed = sealed_file(self.env)
        return [
            self.places.models,
            *([] if anchor is None else [Path(anchor).expanduser().absolute()]),
            *([] if user is None else [user]),
            *([] if sealed is None else [sealed.path]),
        ]

    def anchor(self) -> Anchor | None:
        """Return where the checkpoints of the audit log go; `None` for beside it."""
        path = self.settings.state.audit_anchor
        return None if path is None else FileAnchor(Path(path).expanduser().absolute())

    def coordinator(self) -> Coordinator:
        """Return what asks models."""
        if self._coordinator is None:
            from aiex.app.providers import kinds_of, timeouts_of
            from aiex.llm import STRATEGIES, Coordinator

            pricing = self.pricing()
            model = self.settings.model
            self._coordinator = Coordinator(
                self.providers(pricing),
                pricing=pricing,
                counter=self.counter(),
                sink=self.calls,
                clock=self.clock,
                entropy=random.random,
                timeouts=timeouts_of(model, kinds_of(self)),
                strategy=STRATEGIES[model.strategy],
                limiter=self.limits(),
                announce=self.services.bulletin.announce,
            )
        return self._coordinator

    def limits(self) -> HouseLimits:
        """Return what counts calls of models under limits and budgets."""
        if self._limits is None:
            from aiex.app.limits import HouseLimits

            self._limits = HouseLimits(
                self.store,
                self.settings.limits,
                clock=self.clock,
                supervisor=lambda: self.supervisor,
                announce=self.services.bulletin.announce,
            )
        return self._limits

    def providers(self, pricing: Pricing) -> Providers:
        """Return who could be asked."""
        from aiex.app.providers import providers_of
        from aiex.llm import Providers

        model = self.settings.model
        return Providers(
            providers_of(self),
            pricing=pricing,
            default_model=model.default,
            aliases={
                alias: [(step,) if isinstance(step, str) else step for step in chain]
                for alias, chain in model.aliases.items()
            },
        )

    def pricing(self) -> Pricing:
        """Return the prices of the newer table: the one shipped, or the one derived here."""
        from aiex.app.providers import kinds_of, prices_of
        from aiex.llm import Pricing, load_table

        table = load_table()
        try:
            derived = load_table(self.places.prices)
        except (OSError, ValueError):  # absent, or damaged; `model update` writes it anew
            derived = table
        if _release(derived) > _release(table):
            table = derived
        return Pricing(table, prices_of(self), kinds=kinds_of(self))

    def package_index(self) -> PackageIndex:
        """Return where packages come from on this machine. Blocks."""
        from aiex.app.indexes import package_index

        index = package_index(self.env)
        for address in (index.default or "", *index.extra, *index.find_links):
            for secret in logins_in(address):
                self.redact.hold(secret)
        for user, password in index.access.logins.values():
            self.redact.hold(password or user)
        return index

    def models(self) -> Models:
        """Return what verbs ask models with."""
        from aiex.assistant.models import Models

        asked = self.coordinator() if self.node is None else node_models(self, self.node)
        return Models(asked, shown=Shown(self.store), clock=self.clock)

    def gateway_keys(self) -> GatewayKeys:
        """Return the stored keys of the gateway."""
        return GatewayKeys(self.store, pepper=self.places.pepper)

    def sessions(self) -> Sessions:
        """Return the stored sessions."""
        return Sessions(self.store, clock=self.clock, writers=self.writers)

    def turns(self) -> AsksTurn:
        """Return what keeps sessions for who answers in them."""
        from aiex.assistant.sessions.turns import TurnDesk

        if self.node is not None:
            return node_turns(self, self.node)
        return TurnDesk(self.sessions(), clock=self.clock, entropy=Entropy())

    def changes(self) -> Changes:
        """Return the stored proposals."""
        return Changes(self.store, self.blobs)

    def cache(self) -> AnalysisCache:
        """Return what is kept of analyses, by content."""
        return AnalysisCache(self.store)

    def digests(self) -> DigestCache:
        """Return the digests of files that did not change."""
        return DigestCache(self.store)


def _actor_of(request: Request) -> Actor:
    principal = request.principal
    return Actor(user=principal.user, interface=principal.interface)


def _release(table: PriceTable) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall("[0-9]+", table.version))


LetIn = Callable[[House, AsyncExitStack], Awaitable[tuple[Authenticator, Mapping[str, Any]]]]
"""Opens what says who asks, and returns it with what else the `Services` are given."""


async def open_gateway(
    loaded: Loaded,
    env: Mapping[str, str],
    *,
    redact: Redactor | None = None,
    ask: Ask | None = None,
    let_in: LetIn | None = None,
) -> LocalGateway | NodeClient:
    """Return the gateway of this process, ready to be entered; leaving it closes everything.

    Where the environment names a node, what is the node's goes there.

    Args:
        loaded: The settings in force.
        env: Environment variables.
        redact: Takes secrets out of what is kept and said, and learns of those that are found.
        ask: Asks for the passphrase of the keys; `None` if there is nobody to ask.
        let_in: Opens what says who asks, on what closes it; `None` for one that takes everybody
            for the user of this process.

    Raises:
        StoreError: The store cannot be opened.
    """
    house = House(loaded, env, redact=redact, ask=ask)
    resources = await house.open()
    more: Mapping[str, Any] = {}
    if let_in is None:
        authenticator: Authenticator = OwnMachine(user_name())
    else:
        async with AsyncExitStack() as opened:
            opened.push_async_callback(resources.aclose)
            authenticator, more = await let_in(house, opened)
            resources = opened.pop_all()
    gateway = LocalGateway(
        openers(house),
        clock=house.clock,
        store=house.store,
        resources=resources,
        redact=house.redact,
        services=house.services.services(authenticator, **more),
        records=house.services.records,
        admission=Admission(),
    )
    return gateway if house.node is None else NodeClient(gateway, house.node)


async def open_doctor(
    loaded: Loaded,
    env: Mapping[str, str],
    *,
    redact: Redactor | None = None,
    ask: Ask | None = None,
) -> LocalGateway:
    """Return a gateway that knows `doctor` alone, and opens also where the store cannot.

    Args:
        loaded: The settings in force.
        env: Environment variables.
        redact: Takes secrets out of what is kept and said, and learns of those that are found.
        ask: Not used: who looks at everything asks nothing.

    Raises:
        ConfigurationError: No folder is known to keep state in.
    """
    del ask
    house = House(loaded, env, redact=redact)
    resources = await house.open(needs_store=False)
    error = house.store_error
    store: StoreInfo = house.store if error is None else _NoStore(error)
    return LocalGateway(
        {"doctor": lambda: doctor_of(house, store)},
        clock=house.clock,
        store=store,
        resources=resources,
        redact=house.redact,
    )


class _NoStore:
    """Stands in the place of a store that cannot be opened."""

    def __init__(self, error: StoreError) -> None:
        self._error = error

    async def info(self) -> Mapping[str, str]:
        """Raise what keeps it from being opened."""
        raise self._error


def user_name() -> str:
    """Return the name of the user of this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid-{os.getuid()}" if sys.platform != "win32" else "user"
