"""Keys of the gateway, for a terminal."""

from __future__ import annotations

import msgspec

from aiex.core import Finished, KeyResult, KeyView
from aiex.interfaces.cli.console import Console, Style

__all__ = ["show"]

_TONES: dict[str, Style] = {
    "active": "green",
    "expired": "yellow",
    "revoked": "dim",
    "unusable": "red",
}


def show(finished: Finished, console: Console) -> None:
    """Write what `key` answered; of a new key, nothing but the key goes to standard output."""
    result = msgspec.json.decode(finished.data, type=KeyResult)
    match result.action:
        case "list":
            _list(result, console)
        case "revoke":
            (key,) = result.keys
            what = "would be revoked" if result.would else "is revoked"
            console.line(f"the key {key.id} of {key.user} {what}")
        case "create" if result.would:
            console.line(f"would make: {_about(result.keys[0])}")
        case "create":
            console.note(_about(result.keys[0]), "dim")
            console.note("this is the only time that the key is shown:", "yellow")
            console.line(result.key)


def _list(result: KeyResult, console: Console) -> None:
    if not result.keys:
        console.note("no keys; aiex key create makes one")
    for key in result.keys:
        console.line(_about(key), label=f"{key.id}  {key.state:<8}  ", tone=_TONES[key.state])


def _about(key: KeyView) -> str:
    limits = (
        (key.requests_per_minute, "requests/min"),
        (key.tokens_per_minute, "tokens/min"),
        (key.concurrency, "at a time"),
    )
    parts = [
        key.user,
        f"team {key.team}" if key.team else "",
        ", ".join(key.roles),
        f"only {', '.join(key.models)}" if key.models else "",
        *(f"{most} {what}" for most, what in limits if most is not None),
        f"until {key.expires:%Y-%m-%d %H:%M}" if key.expires else "",
        f"revoked {key.revoked:%Y-%m-%d %H:%M} by {key.revoked_by}" if key.revoked else "",
        f"used {key.last_used:%Y-%m-%d %H:%M}" if key.last_used else "",
        key.name,
    ]
    return "  ".join(part for part in parts if part)
