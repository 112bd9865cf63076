"""How much of what it is sent the server takes, and for how long."""

from __future__ import annotations

import msgspec

__all__ = ["Bounds"]


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may send and hold.

    Attributes:
        connections: Most open connections of one process.
        header_bytes: Most bytes of a request's head.
        headers: Most headers of a request.
        header_seconds: Seconds until the head must be complete.
        body_bytes: Most bytes of a body.
        body_seconds: Seconds until the body must be complete.
        idle_seconds: Seconds that a connection may wait for a request.
        unread_seconds: Seconds that a client may leave unread what it was sent.
        linger_seconds: Seconds that a refused client has to read why, and to stop sending.
    """

    connections: int = 8192
    header_bytes: int = 32 << 10
    headers: int = 100
    header_seconds: float = 10.0
    body_bytes: int = 32 << 20
    body_seconds: float = 60.0
    idle_seconds: float = 75.0
    unread_seconds: float = 120.0
    linger_seconds: float = 2.0
