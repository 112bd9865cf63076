"""Anthropic, and every server that speaks its messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from urllib.parse import quote, urlencode

import msgspec

from aiex.core import (
    Delta,
    Embedding,
    InvalidCallError,
    ModelCall,
    ModelNotFoundError,
)
from aiex.llm.adapters.http import Upstream, UpstreamAdapter, flattened, no_key
from aiex.llm.ports import Heard, ModelInfo, Timeouts
from aiex.wires import Spoken, anthropic_messages

__all__ = ["AnthropicAdapter"]

_VERSION = "2023-06-01"
_PAGE = 1000
_MAX_PAGES = 20
_HEADERS = frozenset({"anthropic-version", "anthropic-beta"})
_PATHS = {
    anthropic_messages.WIRE: "/v1/messages",
    anthropic_messages.COUNT_WIRE: "/v1/messages/count_tokens",
}


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]
    has_more: bool = False
    last_id: str | None = None


class AnthropicAdapter(UpstreamAdapter):
    """Anthropic's models over messages.

    Args:
        api_key: Gives the key for each call, or `None`; must not block.
        base_url: Address without the version.
        provider: Name of the provider.
        betas: Names of beta features that every call asks for.
        timeouts: For everything but `stream`, which gets its own.
    """

    def __init__(
        self,
        *,
        api_key: Callable[[], str | None] = no_key,
        base_url: str = "https://api.anthropic.com",
        provider: str = "anthropic",
        betas: Sequence[str] = (),
        timeouts: Timeouts | None = None,
    ) -> None:
        self._betas = ",".join(betas)
        upstream = Upstream(
            base_url,
            provider=provider,
            decode_error=anthropic_messages.decode_error,
            api_key=api_key,
            headers=self._headers,
        )
        super().__init__(upstream, provider=provider, timeouts=timeouts)

    def _headers(self, key: str | None) -> Mapping[str, str]:
        headers = {"anthropic-version": _VERSION}
        if key is not None:
            headers["x-api-key"] = key
        if self._betas:
            headers["anthropic-beta"] = self._betas
        return headers

    @property
    def spoken(self) -> Spoken:
        """What it understands of a call."""
        return Spoken(wire=anthropic_messages.WIRE)

    def stream(self, call: ModelCall, *, timeouts: Timeouts) -> AsyncGenerator[Delta, None]:
        """Yield the reply's deltas; see `llm.ports.Adapter.stream`."""
        return flattened(self.batches(call, timeouts=timeouts))

    def batches(
        self, call: ModelCall, *, timeouts: Timeouts
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Yield the reply's deltas as they were read; see `llm.ports.Batching`."""
        return self._upstream.batches(
            "/v1/messages",
            anthropic_messages.encode_request(call),
            decoder=anthropic_messages.StreamDecoder(),
            decode_reply=anthropic_messages.decode_reply,
            timeouts=timeouts,
        )

    def forwards(self, wire: str) -> bool:
        """Return whether bodies of *wire* can go to the provider as they are."""
        return wire in _PATHS

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
        kept = {name: value for name, value in headers if name in _HEADERS}
        if self._betas and "anthropic-beta" in kept:
            kept["anthropic-beta"] += f",{self._betas}"
        return self._upstream.forward(
            _PATHS[wire], body, headers=kept, timeouts=timeouts, heard=heard
        )

    async def forward_whole(
        self, wire: str, body: bytes, *, headers: Sequence[tuple[str, str]], timeouts: Timeouts
    ) -> bytes:
        """Return the whole answer; see `llm.ports.Forwarding.forward_whole`."""
        return await self._upstream.request(
            "POST",
            _PATHS[wire],
            body,
            headers={name: value for name, value in headers if name in _HEADERS},
            timeouts=timeouts,
        )

    async def models(self) -> Sequence[ModelInfo]:
        """Return the models that it serves; the wire tells their names only."""
        found: list[ModelInfo] = []
        after: str | None = None
        for _ in range(_MAX_PAGES):
            page = await self._models(after)
            found.extend(ModelInfo(provider=self._provider, name=one.id) for one in page.data)
            after = page.last_id
            if not page.has_more or after is None:
                break
        return found

    async def _models(self, after: str | None) -> _Models:
        query = {"limit": str(_PAGE)} | ({} if after is None else {"after_id": after})
        path = f"/v1/models?{urlencode(query)}"
        return await self._upstream.read(path, _Models, timeouts=self._timeouts)

    async def describe(self, model: str) -> ModelInfo | None:
        """Return the model by its name; `None` if the provider does not serve it."""
        path = f"/v1/models/{quote(model, safe='')}"
        try:
            await self._upstream.request("GET", path, timeouts=self._timeouts)
        except ModelNotFoundError:
            return None
        return ModelInfo(provider=self._provider, name=model)

    async def count_tokens(self, call: ModelCall) -> int | None:
        """Return the prompt's tokens by the provider's count."""
        body = await self._upstream.request(
            "POST",
            "/v1/messages/count_tokens",
            anthropic_messages.encode_count_request(call),
            timeouts=self._timeouts,
        )
        return anthropic_messages.decode_count(body)

    async def embed(self, model: str, texts: Sequence[str]) -> Embedding:
        """Raise `InvalidCallError`: Anthropic has no embeddings."""
        raise InvalidCallError(
            f"{self._provider} has no embeddings, so {model} cannot embed {len(texts)} texts",
            provider=self._provider,
        )

    async def probe(self) -> None:
        """Return if the provider answers."""
        await self._upstream.request("GET", "/v1/models?limit=1", timeouts=self._timeouts)
