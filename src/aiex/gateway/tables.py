"""The tables of this room, for `app` to hand to the store."""

from __future__ import annotations

from aiex.cluster import Index, TableSpec

__all__ = ["PROCESS", "REQUEST", "REQUEST_EVENT", "TABLES"]

_DAY = 24 * 3600.0

PROCESS = TableSpec(name="process", max_age=_DAY)
"""Processes that live now; see `presence`. A record vanishes when its process does not renew it."""

REQUEST = TableSpec(
    name="request", indexes=(Index(name="submitted", field="submitted_us"),), max_age=_DAY
)
"""How requests stand; see `records`."""

REQUEST_EVENT = TableSpec(name="request_event", max_age=_DAY)
"""The events of requests, in pieces; see `records`. Every node must be able to follow a request,
so that it is replicated, and a day is long enough for who comes back to an answer."""

TABLES: tuple[TableSpec, ...] = (PROCESS, REQUEST, REQUEST_EVENT)
"""All of them."""
