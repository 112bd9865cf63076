"""What is asked of sessions under `/api/v1/sessions`, as the verb `session` is asked. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from aiex.core import SessionArguments, SessionDocument, UsageError
from aiex.interfaces.http.bodies import read_body

__all__ = ["SESSION_ROUTES", "AskedOfSession"]

S = TypeVar("S", bound=msgspec.Struct)

AskedOfSession = Callable[[str, Mapping[str, str], bytes], SessionArguments]
"""Returns what is asked by the name in the address, the query and the body."""


class _Listed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sessions are listed, as in `SessionArguments`."""

    everybody: bool = False
    project: str | None = None
    most: int = 50


class _With(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who a session is shared with, or not any more."""

    user: str
    remove: bool = False


class _To(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who a session is handed off to."""

    user: str


def _list(name: str, query: Mapping[str, str], body: bytes) -> SessionArguments:
    del name, body
    try:
        listed = msgspec.convert(dict(query), type=_Listed, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"the query does not fit: {error}") from None
    return SessionArguments(
        action="list", everybody=listed.everybody, project=listed.project, most=listed.most
    )


def _import(name: str, query: Mapping[str, str], body: bytes) -> SessionArguments:
    del name
    return SessionArguments(
        action="import", document=_read(body, SessionDocument), project=query.get("project")
    )


def _show(name: str, query: Mapping[str, str], body: bytes) -> SessionArguments:
    del query, body
    return SessionArguments(action="show", id=name)


def _delete(name: str, query: Mapping[str, str], body: bytes) -> SessionArguments:
    del query, body
    return SessionArguments(action="delete", id=name)


def _export(name: str, query: Mapping[str, str], body: bytes) -> SessionArguments:
    del query, body
    return SessionArguments(action="export", id=name)


def _share(name: str, query: Mapping[str, str], body: bytes) -> SessionArguments:
    del query
    asked = _read(body, _With)
    return SessionArguments(action="share", id=name, user=asked.user, remove=asked.remove)


def _handoff(name: str, query: Mapping[str, str], body: bytes) -> SessionArguments:
    del query
    return SessionArguments(action="handoff", id=name, user=_read(body, _To).user)


def _read(body: bytes, shape: type[S]) -> S:
    read_body(body)
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.DecodeError as error:
        raise UsageError(f"the body does not fit: {error}") from None


SESSION_ROUTES: Final[Mapping[str, Mapping[str, AskedOfSession]]] = {
    "/sessions": {"GET": _list, "POST": _import},
    "/sessions/*": {"GET": _show, "DELETE": _delete},
    "/sessions/*/export": {"GET": _export},
    "/sessions/*/share": {"POST": _share},
    "/sessions/*/handoff": {"POST": _handoff},
}
"""What is there, by its address below the prefix and the method."""
