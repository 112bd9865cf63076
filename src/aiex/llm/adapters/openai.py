"""OpenAI, and every server that speaks one of its two wires."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Literal
from urllib.parse import quote

import msgspec

from aiex.core import Delta, Embedding, ModelCall, ModelNotFoundError
from aiex.llm.adapters.http import Upstream, UpstreamAdapter, flattened, no_key
from aiex.llm.ports import Heard, ModelInfo, Timeouts
from aiex.wires import Spoken, openai_chat, openai_embeddings, openai_responses
from aiex.wires.openai_chat import Dialect
from aiex.wires.openai_errors import decode_error

__all__ = ["OpenAIAdapter"]

_OPENAI = "https://api.openai.com/v1"
_HEADERS = frozenset({"openai-beta"})
_PATHS = {
    openai_chat.WIRE: "/chat/completions",
    openai_responses.WIRE: "/responses",
    openai_embeddings.WIRE: "/embeddings",
    openai_responses.COUNT_WIRE: "/responses/input_tokens",
}


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class OpenAIAdapter(UpstreamAdapter):
    """OpenAI's models over chat completions or responses.

    Adapters of imitators are composed of one: they give it their address and name, and ask it
    for what their server does as OpenAI does.

    Args:
        api_key: Gives the key for each call, or `None`; must not block.
        base_url: Address up to and including the version.
        provider: Name of the provider.
        api: Wire to speak.
        dialect: How the server differs from OpenAI on the wire of chat completions.
        counts_tokens: Whether the server has /responses/input_tokens.
        timeouts: For everything but `stream`, which gets its own.
        reuses_connections: Whether to keep connections for further calls.
    """

    def __init__(
        self,
        *,
        api_key: Callable[[], str | None] = no_key,
        base_url: str = _OPENAI,
        provider: str = "openai",
        api: Literal["chat", "responses"] = "chat",
        dialect: Dialect | None = None,
        counts_tokens: bool = False,
        timeouts: Timeouts | None = None,
        reuses_connections: bool = True,
    ) -> None:
        self._api = api
        self._dialect = dialect or Dialect()
        self._counts_tokens = counts_tokens
        # An imitator has the wire that it is called by; OpenAI has all of its own.
        ours = openai_responses.WIRE if api == "responses" else openai_chat.WIRE
        wires = {ours, openai_embeddings.WIRE}
        if base_url == _OPENAI:
            wires |= _PATHS.keys()
        if counts_tokens:
            wires.add(openai_responses.COUNT_WIRE)
        if self._dialect != Dialect():
            wires.discard(openai_chat.WIRE)  # what it calls otherwise has to be written anew
        self._paths = {wire: _PATHS[wire] for wire in wires}
        upstream = Upstream(
            base_url,
            provider=provider,
            decode_error=decode_error,
            api_key=api_key,
            reuses_connections=reuses_connections,
        )
        super().__init__(upstream, provider=provider, timeouts=timeouts)

    @property
    def spoken(self) -> Spoken:
        """What it understands of a call."""
        if self._api == "responses":
            return Spoken(wire=openai_responses.WIRE)
        takes_thinking = self._dialect.reasoning_key is not None
        return Spoken(wire=openai_chat.WIRE, takes_thinking=takes_thinking)

    def stream(self, call: ModelCall, *, timeouts: Timeouts) -> AsyncGenerator[Delta, None]:
        """Yield the reply's deltas; see `llm.ports.Adapter.stream`."""
        return flattened(self.batches(call, timeouts=timeouts))

    def batches(
        self, call: ModelCall, *, timeouts: Timeouts
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Yield the reply's deltas as they were read; see `llm.ports.Batching`."""
        if self._api == "responses":
            return self._upstream.batches(
                "/responses",
                openai_responses.encode_request(call),
                decoder=openai_responses.StreamDecoder(),
                decode_reply=openai_responses.decode_reply,
                timeouts=timeouts,
            )
        return self._upstream.batches(
            "/chat/completions",
            openai_chat.encode_request(call, dialect=self._dialect),
            decoder=openai_chat.StreamDecoder(),
            decode_reply=openai_chat.decode_reply,
            timeouts=timeouts,
        )

    def forwards(self, wire: str) -> bool:
        """Return whether bodies of *wire* can go to the server as they are."""
        return wire in self._paths

    def forward(
        self,
        wire: str,
        body: bytes,
        *,
        headers: Sequence[tuple[str, str]],
        timeouts: Timeouts,
        heard: Heard,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the answer; see `llm.ports.Forwarding.forward`."""
        return self._upstream.forward(
            self._paths[wire],
            body,
            headers={name: value for name, value in headers if name in _HEADERS},
            timeouts=timeouts,
            heard=heard,
        )

    async def forward_whole(
        self, wire: str, body: bytes, *, headers: Sequence[tuple[str, str]], timeouts: Timeouts
    ) -> bytes:
        """Return the whole answer; see `llm.ports.Forwarding.forward_whole`."""
        return await self._upstream.request(
            "POST",
            self._paths[wire],
            body,
            headers={name: value for name, value in headers if name in _HEADERS},
            timeouts=timeouts,
        )

    async def models(self) -> Sequence[ModelInfo]:
        """Return the models that it serves; the wire tells their names only."""
        found = await self._upstream.read("/models", _Models, timeouts=self._timeouts)
        return [self._info(model.id) for model in found.data]

    async def describe(self, model: str) -> ModelInfo | None:
        """Return the model by its name; `None` if the provider does not serve it."""
        path = f"/models/{quote(model, safe='')}"
        try:
            await self._upstream.request("GET", path, timeouts=self._timeouts)
        except ModelNotFoundError:
            return None
        return self._info(model)

    def _info(self, model: str) -> ModelInfo:
        kind: Literal["chat", "embedding"] = "embedding" if "embed" in model else "chat"
        return ModelInfo(provider=self._provider, name=model, kind=kind)

    async def count_tokens(self, call: ModelCall) -> int | None:
        """Return the prompt's tokens by the provider's count; `None` where it has none."""
        if not self._counts_tokens:
            return None
        body = await self._upstream.request(
            "POST",
            "/responses/input_tokens",
            openai_responses.encode_count_request(call),
            timeouts=self._timeouts,
        )
        return openai_responses.decode_count(body)

    async def embed(self, model: str, texts: Sequence[str]) -> Embedding:
        """Return one vector a text."""
        body = await self._upstream.request(
            "POST",
            "/embeddings",
            openai_embeddings.encode_embedding_request(model, texts),
            timeouts=self._timeouts,
        )
        return openai_embeddings.decode_embedding(body, model=model)

    async def probe(self) -> None:
        """Return if the provider answers."""
        await self._upstream.request("GET", "/models", timeouts=self._timeouts)
