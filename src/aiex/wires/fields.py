"""Reads a JSON object key by key and knows which keys are left over, so that none is lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

import msgspec

from aiex.core import InvalidCallError

__all__ = ["ABSENT", "UNREADABLE", "Fields", "as_object", "elements", "given"]

T = TypeVar("T")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading JSON may raise; the last one for what is nested too deeply."""

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


ABSENT = msgspec.Raw()
"""A key that was not there; msgspec cannot decode `Raw | None`."""


def given(raw: msgspec.Raw) -> bool:
    """Return whether *raw* was there and is not the JSON `null`."""
    return bool(raw) and bytes(raw).strip() != b"null"


class Fields:
    """One JSON object of a request body.

    Args:
        raw: The object as JSON.
        where: Its place in the body, for messages, such as `messages[2]`.

    Raises:
        InvalidCallError: It is not a JSON object.
    """

    def __init__(self, raw: bytes | msgspec.Raw, where: str) -> None:
        self._where = where
        self._raw = msgspec.Raw(raw)
        self._is_kept = False
        self._inner: list[Fields] = []
        try:
            self._left = _OBJECT.decode(raw)
        except UNREADABLE as error:
            raise InvalidCallError(f"{where} is not a JSON object: {error}") from error

    def take(self, name: str, kind: type[T]) -> T | None:
        """Return the value of *name* and count it as read; `None` if absent or null.

        Raises:
            InvalidCallError: The value is not of *kind*.
        """
        raw = self._left.pop(name, None)
        if raw is None or not given(raw):
            return None
        if kind is msgspec.Raw:
            return cast("T", raw)
        try:
            return msgspec.json.decode(raw, type=kind)
        except UNREADABLE as error:
            raise InvalidCallError(f"{self._where}.{name}: {error}") from error

    def need(self, name: str, kind: type[T]) -> T:
        """Return the value of *name*, which must be there.

        Raises:
            InvalidCallError: It is absent, null or not of *kind*.
        """
        value = self.take(name, kind)
        if value is None:
            raise InvalidCallError(f"{self._where}.{name} is missing")
        return value

    def choice(self, name: str, choices: Sequence[T]) -> T:
        """Return the value of *name*, which must be one of the strings *choices*.

        Raises:
            InvalidCallError: It is not.
        """
        value = self.need(name, str)
        for one in choices:
            if one == value:
                return one
        raise InvalidCallError(f"{self._where}.{name} is {value!r}, which is none of {choices}")

    def object(self, name: str) -> Fields:
        """Return the object *name*, which must be there; what nobody reads of it is `unread`.

        Raises:
            InvalidCallError: It is absent, null or no object.
        """
        inner = Fields(self.need(name, msgspec.Raw), self._place(name))
        self._inner.append(inner)
        return inner

    def objects(self, name: str) -> list[Fields]:
        """Return the objects of the array *name*, as `object` does; none if it is absent.

        Raises:
            InvalidCallError: It is no array of objects.
        """
        raw = self.take(name, msgspec.Raw) or b"[]"
        inner = [Fields(one, at) for at, one in elements(raw, self._place(name))]
        self._inner += inner
        return inner

    def _place(self, name: str) -> str:
        return name if self._where == "body" else f"{self._where}.{name}"

    def has(self, name: str) -> bool:
        """Return whether *name* is there and not null."""
        return self.peek(name) not in {b"", b"null"}

    def peek(self, name: str) -> bytes:
        """Return the JSON of *name* without counting it as read; empty if it is absent."""
        return bytes(self._left.get(name, b"")).strip()

    def copy(self, name: str, kind: type[T]) -> T:
        """Return the value of *name*, which must be there, without counting it as read.

        Raises:
            InvalidCallError: It is absent, null or not of *kind*.
        """
        raw = self._left.get(name, msgspec.Raw(b"null"))
        value = self.need(name, kind)
        self._left[name] = raw
        return value

    @staticmethod
    def rest(name: str, inner: Fields) -> dict[str, msgspec.Raw]:
        """Return what was not read of the object *inner*, as the key *name* of its owner."""
        left = inner.left()
        return {name: msgspec.Raw(msgspec.json.encode(left))} if left else {}

    def left(self) -> dict[str, msgspec.Raw]:
        """Return the keys that were not read and are not null; whoever asks keeps them."""
        self._is_kept = True
        return {name: raw for name, raw in self._left.items() if given(raw)}

    def keep(self) -> msgspec.Raw:
        """Return the whole object as it is, and count all of it as read."""
        self._is_kept = True
        self._inner.clear()
        return self._raw

    def unread(self) -> dict[str, msgspec.Raw]:
        """Return what nobody read or kept, in the objects within too, such as `messages.name`."""
        place = self._where.partition(".")[0].partition("[")[0]
        found = {} if self._is_kept else self.left()
        named = {f"{place}.{name}": raw for name, raw in found.items()}
        for inner in self._inner:
            named |= inner.unread()
        return named


def elements(raw: bytes | msgspec.Raw, where: str) -> Iterable[tuple[str, msgspec.Raw]]:
    """Return the elements of a JSON array, each with its place.

    Raises:
        InvalidCallError: It is not a JSON array.
    """
    try:
        array = _ARRAY.decode(raw)
    except UNREADABLE as error:
        raise InvalidCallError(f"{where} is not a JSON array: {error}") from error
    return [(f"{where}[{index}]", element) for index, element in enumerate(array)]


def as_object(arguments: str) -> msgspec.Raw:
    """Return the arguments of a tool call as a JSON object, for wires that want one.

    What a model wrote is not always an object; then it becomes the only value of one, so that
    the conversation stays one that the provider accepts.

    Example:
        >>> bytes(as_object('{"a": 1}')), bytes(as_object("")), bytes(as_object("[1"))
        (b'{"a": 1}', b'{}', b'{"arguments":"[1"}')
    """
    text = arguments.strip()
    if not text:
        return msgspec.Raw(b"{}")
    try:
        _OBJECT.decode(text)
    except UNREADABLE:
        wrapped: dict[str, Any] = {"arguments": arguments}
        return msgspec.Raw(msgspec.json.encode(wrapped))
    return msgspec.Raw(text.encode())
