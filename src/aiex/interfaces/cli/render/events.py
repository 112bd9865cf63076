"""What is published, a line an event."""

from __future__ import annotations

from datetime import datetime

import msgspec

from aiex.core import Finished, Missed, Published, name_of
from aiex.interfaces.cli.console import Console, safe

__all__ = ["EventsResult", "line_of", "show"]


class EventsResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `events tail` saw.

    Attributes:
        events: The events, oldest first.
    """

    events: tuple[Published, ...]


def line_of(one: Published) -> str:
    """Return one line: when, what happened, and what is known of it."""
    at = one.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
    if isinstance(one.body, Missed):
        return f"{at}  {one.body.count} events were missed: they came faster than they were read"
    fields = msgspec.structs.asdict(one.body)
    fields.pop("state", None)
    told = [f"{name}={_text(value)}" for name, value in fields.items() if value not in {None, ""}]
    return f"{at}  {name_of(one.body):<20} {'  '.join(told)}"


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def show(finished: Finished, console: Console) -> None:
    """Write the events."""
    for one in msgspec.json.decode(finished.data, type=EventsResult).events:
        console.line(safe(line_of(one)))
