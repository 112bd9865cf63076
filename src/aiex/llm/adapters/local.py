"""The embedded model: llama.cpp's server in a supervised child, reached over loopback."""

from __future__ import annotations

import secrets
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
import msgspec

from aiex.core import (
    ChildError,
    Delta,
    Embedding,
    IncompleteStreamError,
    InvalidCallError,
    ModelCall,
    ModelNotFoundError,
    OverloadedError,
    Progress,
    ProviderError,
    UnavailableError,
    UsageError,
)
from aiex.llm.adapters.openai import OpenAIAdapter
from aiex.llm.catalogue import CATALOGUE, Sampling
from aiex.llm.installed import InstalledModel, ModelFolder
from aiex.llm.ports import ModelInfo, Timeouts
from aiex.llm.pull import Puller
from aiex.llm.wheels import PackageIndex
from aiex.runtime import Child, ChildProcess, Clock, Restarts, Started, Supervisor
from aiex.wires import Spoken, openai_chat
from aiex.wires.openai_chat import Dialect

__all__ = ["SERVER_PROGRAM", "LocalAdapter"]

_NAME = "local"
_CONTEXT_TOKENS = 4096
_LOAD_SECONDS = 600.0
_NOTICE_SECONDS = 0.5
_DIALECT = Dialect(
    max_tokens_key="max_tokens", reasoning_key="reasoning_content", developer_role=False
)
_RESTARTS = Restarts(most=3, window=60.0, first_wait=0.25, longest_wait=10.0)
# By its path and with -P: neither Aiex nor anything in the folder of the user is imported.
SERVER_PROGRAM = (sys.executable, "-P", str(Path(__file__).with_name("local_server.py")))
"""Program and first arguments of the server."""


class _Said(msgspec.Struct):
    """The line by which the server says where it is, or why it cannot be."""

    port: int = 0
    error: str = ""


class LocalAdapter:
    """Models of this machine, each in a child of its own that is started at its first call.

    A child that crashes takes its replies with it, which is an error that may pass, and is
    started again. One that nobody uses makes room when another model is asked.

    Args:
        models: Folder of the models.
        supervisor: Keeps the children; outlives the adapter.
        clock: Where time comes from.
        entropy: Gives random numbers in [0, 1).
        index: Gives the settings of the package index; called when a model is fetched.
        context_tokens: Most tokens of a window, where the model has that many: memory is taken
            for all of them, and a processor reads a few hundred a second.
        program: Program and first arguments of the server.
        environment: Whole environment of the server; `None` for ours.
    """

    def __init__(
        self,
        models: Path,
        *,
        supervisor: Supervisor,
        clock: Clock,
        entropy: Callable[[], float],
        index: Callable[[], PackageIndex] = PackageIndex,
        context_tokens: int = _CONTEXT_TOKENS,
        program: Sequence[str] = SERVER_PROGRAM,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = ModelFolder(models)
        self._puller = Puller(self._folder, index=index)
        self._supervisor = supervisor
        self._clock = clock
        self._entropy = entropy
        self._context_tokens = context_tokens
        self._program = tuple(program)
        self._environment = environment
        self._servers: dict[str, _Server] = {}
        self._lock = anyio.Lock()

    @property
    def provider(self) -> str:
        """Name of the provider."""
        return _NAME

    @property
    def is_loopback(self) -> bool:
        """Whether it is reached without leaving this machine."""
        return True

    @property
    def spoken(self) -> Spoken:
        """What it understands of a call."""
        return Spoken(wire=openai_chat.WIRE, takes_thinking=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            for name in tuple(self._servers):
                await self._stop(name)

    async def prepare(self, model: str, *, offline: bool) -> AsyncGenerator[Progress, None]:
        """Fetch *model* if it is one that is known and not there; see `llm.ports.Preparable`."""
        if model not in CATALOGUE or await self._find(model) is not None:
            return
        if offline:
            raise UnavailableError(
                f"{model} is not on this machine, and --offline opens no connection",
                hint=f"aiex model pull {model}",
            )
        async with aclosing(self._puller.pull(model)) as steps:
            async for step in steps:
                yield step

    async def stream(self, call: ModelCall, *, timeouts: Timeouts) -> AsyncGenerator[Delta, None]:
        """Yield the reply's deltas; see `llm.ports.Adapter.stream`. Loading is part of the wait."""
        async with self._used(call.model, timeouts) as server:
            upstream = await server.connect()
            url = server.url
            known = CATALOGUE.get(call.model)
            if known is not None and known.sampling is not None:
                call = _sampled(call, known.sampling)
            try:
                async with aclosing(upstream.stream(call, timeouts=timeouts)) as deltas:
                    async for delta in deltas:
                        yield delta
            except (OverloadedError, IncompleteStreamError) as error:
                if error.status is None and await server.has_left(url):
                    error.hint = f"the server of {call.model} crashed; it is started again"
                raise

    @asynccontextmanager
    async def _used(self, model: str, timeouts: Timeouts) -> AsyncGenerator[_Server, None]:
        """Give the model's child once it is up; it does not make room meanwhile."""
        server = None
        try:
            try:
                with anyio.fail_after(timeouts.first_token):
                    server = await self._server(model)
                    server.in_flight += 1
                    await server.connect()
            except TimeoutError as error:
                raise OverloadedError(
                    f"{model} was not loaded within {timeouts.first_token:g} s", provider=_NAME
                ) from error
            yield server
        finally:
            if server is not None:
                server.in_flight -= 1

    async def models(self) -> Sequence[ModelInfo]:
        """Return the models that are there, and those that are fetched at their first call."""
        there = await anyio.to_thread.run_sync(self._folder.installed)
        names = {model.name for model in there}
        known = [self._known_info(name) for name in CATALOGUE if name not in names]
        return [*(self._info(model) for model in there if model.problem is None), *known]

    async def describe(self, model: str) -> ModelInfo | None:
        """Return what is known of one model; `None` if it is neither there nor in the catalogue."""
        found = await self._find(model)
        if found is not None:
            return self._info(found)
        return self._known_info(model) if model in CATALOGUE else None

    async def count_tokens(self, call: ModelCall) -> int | None:
        """Return the prompt's tokens by the model's own count; `None` while it is not loaded."""
        server = self._servers.get(call.model)
        if server is None or server.url is None:
            return None
        upstream = await server.connect()
        return await upstream.count_tokens(call)

    async def embed(self, model: str, texts: Sequence[str]) -> Embedding:
        """Refuse: the embedded models chat.

        Raises:
            InvalidCallError: Always.
        """
        raise InvalidCallError(
            f"{model} of {_NAME} gives no embeddings of {len(texts)} texts", provider=_NAME
        )

    async def probe(self) -> None:
        """Return: a child is started when it is needed."""

    def _info(self, model: InstalledModel) -> ModelInfo:
        server = self._servers.get(model.name)
        return ModelInfo(
            provider=_NAME,
            name=model.name,
            context_tokens=self._window(model.context_tokens),
            is_loaded=server is not None and server.url is not None,
            size_bytes=model.size_bytes,
        )

    def _known_info(self, name: str) -> ModelInfo:
        known = CATALOGUE[name]
        return ModelInfo(
            provider=_NAME,
            name=name,
            context_tokens=self._window(known.context_tokens),
            is_loaded=False,
            size_bytes=known.size_bytes,
        )

    def _window(self, context_tokens: int | None) -> int:
        return min(context_tokens or self._context_tokens, self._context_tokens)

    async def _find(self, name: str) -> InstalledModel | None:
        try:
            return await anyio.to_thread.run_sync(self._folder.find, name)
        except UsageError:  # no file can have this name
            return None

    async def _server(self, name: str) -> _Server:
        """Return the child that serves the model, started if need be."""
        async with self._lock:
            server = self._servers.get(name)
            if server is not None and not server.is_gone:
                return server
            model = await self._find(name)
            if model is None:
                raise ModelNotFoundError(
                    f"{name} is not on this machine",
                    hint="aiex model list shows what is, and aiex model pull gets more",
                    provider=_NAME,
                )
            if model.problem is not None:
                raise _unusable(model, model.problem)
            for other in tuple(self._servers):
                if other == name or not self._servers[other].in_flight:
                    await self._stop(other)
            server = _Server(
                model,
                program=self._program,
                environment=self._environment,
                context_tokens=self._window(model.context_tokens),
                clock=self._clock,
                entropy=self._entropy,
            )
            child = Child(name=_child_name(name), run=server.supervise, restart="temporary")
            try:
                await self._supervisor.start(child)
            except ChildError as error:
                raise _unusable(model, server.reason(error)) from error
            self._servers[name] = server
            return server

    async def _stop(self, name: str) -> None:
        server = self._servers.pop(name)
        await self._supervisor.stop(_child_name(name))
        await server.disconnect()


class _Server:
    """One model's child, and the way to it, which changes with every restart."""

    def __init__(
        self,
        model: InstalledModel,
        *,
        program: Sequence[str],
        environment: Mapping[str, str] | None,
        context_tokens: int,
        clock: Clock,
        entropy: Callable[[], float],
    ) -> None:
        self._name = model.name
        self._token = secrets.token_urlsafe(32)
        self._process = ChildProcess(
            [*program, str(model.path), "--name", model.name, "--context", str(context_tokens)],
            name=f"the server of {model.name}",
            stdin=f"{self._token}\n".encode(),
            cwd=model.path.parent,
            env=environment,
            ready_within=_LOAD_SECONDS,
        )
        self._clock = clock
        self._entropy = entropy
        self._changed = anyio.Event()
        self._upstream: OpenAIAdapter | None = None
        self._upstream_url: str | None = None
        self.url: str | None = None
        self.is_gone = False
        self.in_flight = 0

    async def supervise(self, started: Started) -> None:
        """Keep the child running until it crashed too often; what `Child.run` is."""
        child = Child(name=self._name, run=self._run)
        try:
            async with Supervisor(
                [child], clock=self._clock, entropy=self._entropy, restarts=_RESTARTS
            ):
                started()
                await anyio.sleep_forever()
        finally:
            self.is_gone = True
            self._change(None)

    async def connect(self) -> OpenAIAdapter:
        """Return the way to the child once it is up.

        Raises:
            ProviderError: It is down for good.
        """
        while self.url is None:
            if self.is_gone:
                raise ProviderError(
                    f"the server of {self._name} crashes again and again",
                    hint="is there memory enough? aiex doctor tells",
                    provider=_NAME,
                )
            await self._changed.wait()
        if self._upstream is None or self._upstream_url != self.url:
            before = self._upstream
            self._upstream_url = self.url
            self._upstream = OpenAIAdapter(
                api_key=lambda: self._token,
                base_url=self.url,
                provider=_NAME,
                dialect=_DIALECT,
                counts_tokens=True,
                reuses_connections=False,  # llama.cpp closes them as it likes
            )
            await self._upstream.__aenter__()
            if before is not None:
                await before.__aexit__(None, None, None)
        return self._upstream

    async def has_left(self, url: str | None) -> bool:
        """Return whether the child that was at *url* ended; a broken connection tells first."""
        with anyio.move_on_after(_NOTICE_SECONDS):
            while self.url == url:
                await self._changed.wait()
        return self.url != url

    async def disconnect(self) -> None:
        """Close the connections."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            await upstream.__aexit__(None, None, None)

    def reason(self, error: ChildError) -> str:
        """Return why the child could not start, by llama.cpp's own words where it has some."""
        for line in self._process.stderr.splitlines():
            _, found, said = line.partition("error loading model: ")
            if found:
                return said
        return error.message

    async def _run(self, started: Started) -> None:
        def ready(line: bytes) -> None:
            self._change(f"http://127.0.0.1:{_port_of(line)}/v1")
            started()

        try:
            await self._process.run(ready)
        finally:
            self._change(None)

    def _change(self, url: str | None) -> None:
        self.url = url
        self._changed.set()
        self._changed = anyio.Event()


def _sampled(call: ModelCall, sampling: Sampling) -> ModelCall:
    """Return *call* with *sampling* where it leaves open how tokens are drawn."""
    ours = msgspec.to_builtins(sampling)
    temperature, top_p = ours.pop("temperature"), ours.pop("top_p")
    if call.response_format is not None or call.tools:
        ours = {}
    said = call.extra if call.wire in {None, openai_chat.WIRE} else {}
    extra = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in ours.items()}
    return msgspec.structs.replace(
        call,
        temperature=temperature if call.temperature is None else call.temperature,
        top_p=top_p if call.top_p is None else call.top_p,
        extra=extra | said,
        wire=openai_chat.WIRE,
    )


def _port_of(line: bytes) -> int:
    try:
        said = msgspec.json.decode(line, type=_Said)
    except msgspec.MsgspecError as error:
        raise ChildError(f"the server says {line[:100]!r}") from error
    if not said.port:
        raise ChildError(said.error or "the server does not say where it listens")
    return said.port


def _child_name(model: str) -> str:
    return f"{_NAME}:{model}"


def _unusable(model: InstalledModel, reason: str) -> ProviderError:
    hint = f"aiex model pull {model.name}" if model.name in CATALOGUE else f"see {model.path}"
    return ProviderError(f"{model.name} cannot be used: {reason}", hint=hint, provider=_NAME)
