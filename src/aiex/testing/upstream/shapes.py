"""Checks bodies against the types that the official SDKs publish, and takes nothing else.

The types are TypedDicts that tolerate further keys and whose iterables are read lazily, so they
are rebuilt: no key that they do not name, lists in place of iterables, no coercion.
"""

from __future__ import annotations

import functools
import operator
import types
import typing
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import pydantic
import typing_extensions as extensions

__all__ = ["strictly", "what_is_wrong"]

_CONFIG = pydantic.ConfigDict(extra="forbid", strict=True)
_MOST = 6
_PLAIN = {str, int, float, bool, object, type(None), datetime, dict, list}


class _Rebuilder:
    """Rebuilds types; a TypedDict that holds itself is left open where it does."""

    def __init__(self) -> None:
        self._done: dict[Any, Any] = {}

    def build(self, kind: Any) -> Any:
        if kind in self._done:
            return self._done[kind]
        if extensions.is_typeddict(kind):
            self._done[kind] = Any
            self._done[kind] = self._typed_dict(kind)
            return self._done[kind]
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in {typing.Annotated, extensions.Required, extensions.NotRequired}:
            return self.build(arguments[0])
        if origin in {typing.Union, types.UnionType}:
            arms = [self.build(one) for one in arguments if self._is_json(one)]
            return functools.reduce(operator.or_, arms)
        if origin is Literal:
            return kind
        if origin is dict:
            return dict[str, self.build(arguments[1])]  # type: ignore[misc]
        if isinstance(origin, type) and issubclass(origin, Iterable):
            return list[self.build(arguments[0])]  # type: ignore[misc]
        if getattr(origin, "__name__", "") == "SequenceNotStr":
            return list[self.build(arguments[0])]  # type: ignore[misc]
        return Any if kind is object else kind

    def _is_json(self, kind: Any) -> bool:
        while typing.get_origin(kind) is typing.Annotated:
            kind = typing.get_args(kind)[0]
        if extensions.is_typeddict(kind) or kind in _PLAIN:
            return True
        origin = typing.get_origin(kind)
        if origin in {typing.Union, types.UnionType}:
            return any(map(self._is_json, typing.get_args(kind)))
        named = getattr(origin, "__name__", "") == "SequenceNotStr"
        known = origin in {Literal, list, dict, Sequence}
        return named or known or (isinstance(origin, type) and issubclass(origin, Iterable))

    def _typed_dict(self, kind: Any) -> Any:
        keys = {}
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            is_needed = typing.get_origin(hint) is extensions.Required
            outer = extensions.Required if is_needed else extensions.NotRequired
            keys[name] = outer[self.build(hint)]
        make: Any = extensions.TypedDict
        rebuilt = make(kind.__name__, keys)
        rebuilt.__pydantic_config__ = _CONFIG
        return rebuilt


@functools.cache
def strictly(kind: Any) -> pydantic.TypeAdapter[Any]:
    """Return what takes exactly the JSON that *kind*, a TypedDict or a union of them, names."""
    return pydantic.TypeAdapter(_Rebuilder().build(kind))


def what_is_wrong(kind: Any, body: bytes) -> list[str]:
    """Return what in *body* is not as *kind* says; empty for nothing.

    Of a union only what speaks against its nearest arm is told.
    """
    try:
        strictly(kind).validate_json(body, strict=True)
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        return [_said(one) for one in _nearest(found)][:_MOST]
    return []


def _nearest(errors: Sequence[Any]) -> list[Any]:
    is_other_arm = {
        _arm(one)
        for one in errors
        if one["type"] == "literal_error" and one["loc"][-1] in {"type", "role", "stream"}
    }
    near = [one for one in errors if not any(_is_below(one, arm) for arm in is_other_arm)]
    return near or list(errors)


def _arm(error: Any) -> tuple[Any, ...]:
    return tuple(error["loc"][:-1])


def _is_below(error: Any, arm: tuple[Any, ...]) -> bool:
    return bool(arm) and tuple(error["loc"][: len(arm)]) == arm


def _said(error: Any) -> str:
    place = ".".join(str(one) for one in error["loc"])
    return f"{place}: {error['msg']}"
