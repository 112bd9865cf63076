"""What a gateway tells other processes, and hears of them: one of each for one process."""

from __future__ import annotations

import platform
import secrets
from contextlib import AsyncExitStack
from typing import Any

from aiex.cluster import Store
from aiex.core import Redactor, new_id
from aiex.gateway.admission import Authenticator
from aiex.gateway.bulletin import Bulletin
from aiex.gateway.operations import Services
from aiex.gateway.presence import Presence
from aiex.gateway.records import RequestRecords
from aiex.runtime import Clock

__all__ = ["HouseServices"]


class HouseServices:
    """Published events, the presence of this process, and the records of its requests.

    Args:
        store: The store.
        clock: Where time comes from.
        redact: Takes secrets out of what is stored.

    Attributes:
        presence: Says that this process lives.
        bulletin: Publishes events.
        records: Keeps requests for other processes.
        owner: Name of this process, that no other has.
    """

    def __init__(self, store: Store, *, clock: Clock, redact: Redactor) -> None:
        owner = new_id("proc", now=clock.now(), entropy=secrets.token_bytes(10))
        node = platform.node()
        self.owner = owner
        self.presence = Presence(
            store, clock=clock, entropy=secrets.token_bytes, owner=owner, node=node
        )
        self.bulletin = Bulletin(store, self.presence, clock=clock, node=node, origin=owner)
        self.records = RequestRecords(store, self.presence, clock=clock, redact=redact.without_held)

    async def open(self, opened: AsyncExitStack) -> None:
        """Open all of them on *opened*, once the store is open."""
        await opened.enter_async_context(self.presence)
        await opened.enter_async_context(self.bulletin)
        await opened.enter_async_context(self.records)

    def services(self, authenticator: Authenticator, **more: Any) -> Services:
        """Return what a gateway is given.

        Args:
            authenticator: Knows the keys.
            **more: What `Services` takes besides.
        """
        return Services(
            bulletin=self.bulletin, presence=self.presence, authenticator=authenticator, **more
        )
