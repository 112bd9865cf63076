"""What `AIEX_SERVER` makes of a process: a client of a node, whose files and verbs stay here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import msgspec

from aiex.core import AiexError, ConfigurationError, Event, NotFoundError, Request
from aiex.gateway import Operations
from aiex.gateway.local import LocalGateway

if TYPE_CHECKING:
    from aiex.app.compose import House
    from aiex.assistant.sessions.node import NodeTurns
    from aiex.gateway.remote import RemoteGateway
    from aiex.llm.node import NodeModels

__all__ = [
    "CA_FILE",
    "SERVER",
    "TOKEN",
    "NodeClient",
    "node_models",
    "node_of",
    "node_turns",
]

SERVER: Final = "AIEX_SERVER"
"""Variable with the addresses of a node, tried in turn."""

TOKEN: Final = "AIEX_TOKEN"  # noqa: S105 - the name of a variable
"""Variable with the key of a node."""

CA_FILE: Final = "AIEX_CA_FILE"
"""Variable with a file of certificates to trust instead of the system's."""

_THERE: Final = {
    "key": None,
    "budget": None,
    "session": None,
    "model": frozenset({"list", "pull", "test"}),
}
"""Verbs that are the node's, and of one of them which actions; the others work on files here."""


class _Action(msgspec.Struct, frozen=True):
    action: str = ""


def node_of(env: Mapping[str, str], *, own_token: Path) -> RemoteGateway | None:
    """Return the gateway of the node that the environment names; `None` if it names none.

    Without a token, a node on this machine is shown the one that its own clients show.

    Args:
        env: Environment variables.
        own_token: File of that token.

    Raises:
        ConfigurationError: The address is none, or no token is known for it.
    """
    named = env.get(SERVER, "").strip()
    if not named:
        return None
    from aiex.gateway.remote import RemoteGateway, addresses_of, is_loopback

    addresses = addresses_of(named)
    token = env.get(TOKEN, "").strip() or None
    if token is None and all(map(is_loopback, addresses)):
        try:
            token = own_token.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            token = None
    if token is None:
        raise ConfigurationError(
            f"{SERVER} names a server, and there is no key to show it",
            hint=f"set {TOKEN} to a key of that server: aiex key create makes one there",
        )
    return RemoteGateway(addresses, token=token, ca_file=env.get(CA_FILE) or None)


def node_models(house: House, node: RemoteGateway) -> NodeModels:
    """Return what asks the node's models for the verbs that run here."""
    from aiex.app.compose import user_name
    from aiex.core import EVERY_ROLE, Principal
    from aiex.llm.node import NodeModels

    return NodeModels(
        node.run,
        principal=Principal(user=user_name(), interface="cli", roles=EVERY_ROLE),
        is_loopback=node.is_loopback,
        pricing=house.pricing(),
        counter=house.counter(),
        clock=house.clock,
    )


def node_turns(house: House, node: RemoteGateway) -> NodeTurns:
    """Return what keeps the node's sessions for the verbs that run here."""
    from aiex.assistant.sessions.node import NodeTurns

    return NodeTurns(node.run, is_loopback=node.is_loopback, clock=house.clock)


class NodeClient:
    """Satisfies `Gateway` with two: what works on files runs here, what is the node's runs there.

    Args:
        local: The gateway of this process.
        node: The node's, entered by the one of this process.
    """

    def __init__(self, local: LocalGateway, node: RemoteGateway) -> None:
        self._local = local
        self._node = node
        self._there: dict[str, Request] = {}
        self._running: set[str] = set()

    async def __aenter__(self) -> Self:
        await self._local.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._local.__aexit__(kind, error, trace)

    @property
    def operations(self) -> Operations:
        """What an operator asks: of the node."""
        return self._node.operations

    async def submit(self, request: Request) -> str:
        """Admit *request* here, or keep it for the node until its events are read."""
        if not _is_there(request):
            return await self._local.submit(request)
        self._there[request.id] = request
        return request.id

    def run(self, request: Request) -> AsyncGenerator[Event, None]:
        """Run *request* where it belongs and yield its events."""
        return self._node.run(request) if _is_there(request) else self._local.run(request)

    async def attach(self, request_id: str, *, after: int = 0) -> AsyncGenerator[Event, None]:
        """Yield the events of a request, of this process or of the node."""
        request = self._there.pop(request_id, None)
        if request is not None:
            events = self._node.run(request)
        elif await self._is_here(request_id):
            events = self._local.attach(request_id, after=after)
        else:
            events = self._node.attach(request_id, after=after)
        self._running.add(request_id)
        try:
            async with aclosing(events):
                async for event in events:
                    yield event
        finally:
            self._running.discard(request_id)

    async def cancel(self, request_id: str) -> bool:
        """Return whether the request was still running; it has stopped then."""
        if self._there.pop(request_id, None) is not None:
            return False  # it has not begun
        if await self._is_here(request_id):
            return await self._local.cancel(request_id)
        try:
            return await self._node.cancel(request_id)
        except AiexError:
            if request_id in self._running:
                raise
            return False  # it was this process's, and what ended it has been told

    async def _is_here(self, request_id: str) -> bool:
        try:
            await self._local.request_state(request_id)
        except NotFoundError:
            return False
        return True


def _is_there(request: Request) -> bool:
    if request.verb not in _THERE:
        return False
    actions = _THERE[request.verb]
    if actions is None:
        return True
    return msgspec.json.decode(request.arguments, type=_Action).action in actions
