"""Reading of a request's body what must be known of it, and refusing what no server should pass on.

The body goes to a provider as it came, and somebody else may read it otherwise than we do: a key
that is there twice could name one model to us, which the limits allow, and another to the provider.
"""

from __future__ import annotations

import re

import msgspec

from aiex.core import UsageError

__all__ = ["DEEPEST", "LONGEST_NUMBER", "Body", "read_body"]

DEEPEST = 256
"""Most levels of lists and objects within another."""

LONGEST_NUMBER = 64
"""Most digits in a row, outside of texts."""

_TOP = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT_OR_NULL = msgspec.json.Decoder(str | None)
_FLAG_OR_NULL = msgspec.json.Decoder(bool | None)
_NUMBER_OR_NULL: msgspec.json.Decoder[int | None] = msgspec.json.Decoder(int | None)
_STRIDE = 8
_COPIED = 4096  # below, to write the body anew and compare is quicker than to look at each key
_DIGITS = bytes(49 if 48 <= c <= 57 else 48 for c in range(256))
_SUSPECT = b"1" * (LONGEST_NUMBER // _STRIDE)
_NOT_BRACKETS = bytes(c for c in range(256) if c not in b'"[]{}')
_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_KEY = re.compile(rb'[ \t\r\n,]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_LONG = re.compile(b"[0-9]{%d}" % (LONGEST_NUMBER + 1))


class Body:
    """The keys of a body, each value as it was written.

    Args:
        keys: The object.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: dict[str, msgspec.Raw]) -> None:
        self._keys = keys

    def text(self, name: str) -> str:
        """Return the text at *name*; empty if it is absent or null.

        Raises:
            UsageError: It is none.
        """
        raw = self._keys.get(name)
        if raw is None:
            return ""
        try:
            return _TEXT_OR_NULL.decode(raw) or ""
        except msgspec.DecodeError:
            raise UsageError(f"{name} must be a text") from None

    def word(self, name: str) -> str:
        """Return the text at *name*; empty if there is none."""
        raw = self._keys.get(name)
        try:
            return "" if raw is None else _TEXT_OR_NULL.decode(raw) or ""
        except msgspec.DecodeError:
            return ""

    def flag(self, name: str) -> bool:
        """Return whether *name* is true; absent and null are not.

        Raises:
            UsageError: It is neither true nor false.
        """
        raw = self._keys.get(name)
        if raw is None:
            return False
        try:
            return _FLAG_OR_NULL.decode(raw) or False
        except msgspec.DecodeError:
            raise UsageError(f"{name} must be true or false") from None

    def number(self, *names: str) -> int | None:
        """Return the whole number above 0 at the first of *names* that is there.

        Raises:
            UsageError: It is none.
        """
        for name in names:
            raw = self._keys.get(name)
            if raw is None:
                continue
            number: int | None
            try:
                number = _NUMBER_OR_NULL.decode(raw)
            except msgspec.DecodeError:
                number = 0
            if number is None:
                continue
            if not 0 < number < 1 << 53:
                raise UsageError(f"{name} must be a whole number above 0")
            return number
        return None


def read_body(data: bytes) -> Body:
    """Return the keys of the JSON object *data*.

    Raises:
        UsageError: It is no JSON object in UTF-8, names a key twice, nests deeper than `DEEPEST`,
            or has a number of more than `LONGEST_NUMBER` digits in a row.
    """
    try:
        keys = _TOP.decode(data)
        if not data.isascii():
            data.decode()
    except msgspec.ValidationError:
        raise UsageError("the body must be a JSON object") from None
    except msgspec.DecodeError as error:
        raise UsageError(f"the body is no valid JSON: {error}") from None
    except UnicodeDecodeError:
        raise UsageError("the body is not in UTF-8") from None
    except RecursionError:
        raise _too_deep() from None
    if data.count(b"[") + data.count(b"{") > DEEPEST:
        _refuse_deep(data)
    _refuse_twice(keys, data)
    if _SUSPECT in data[::_STRIDE].translate(_DIGITS) and _LONG.search(_TEXT.sub(b"", data)):
        raise UsageError(f"a number of the body has more than {LONGEST_NUMBER} digits")
    return Body(keys)


def _refuse_twice(keys: dict[str, msgspec.Raw], data: bytes) -> None:
    """Refuse a key that is there twice.

    What was kept cannot be written shorter than it is without spaces: a body of that length has
    nothing else in it.
    """
    least = 1 + sum([len(name.encode()) + len(value) + 4 for name, value in keys.items()])
    if len(data) == least and keys:
        return
    if len(data) < _COPIED:
        named = [(name.encode(), value) for name, value in keys.items()]
        if data == b"{%b}" % b", ".join([b'"%b": %b' % pair for pair in named]):
            return
    at = 1 + len(data) - len(data.lstrip(b" \t\r\n"))
    for name, value in keys.items():
        found = _KEY.match(data, at)
        written = "" if found is None else msgspec.json.decode(found[1], type=str)
        if found is None or written != name:  # what is there instead was there before
            raise UsageError(f"the body names {written!r} twice")
        if not data.startswith(value, found.end()):  # what is kept is the last value
            raise UsageError(f"the body names {name!r} twice")
        at = found.end() + len(value)
    if b'"' in data[at:]:
        raise UsageError("the body names a key twice")


def _refuse_deep(data: bytes) -> None:
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NOT_BRACKETS)
    left = b"".join(bare.split(b'"')[::2])
    for _ in range(DEEPEST):
        left = left.replace(b"[]", b"").replace(b"{}", b"")
        if not left:
            return
    raise _too_deep()


def _too_deep() -> UsageError:
    return UsageError(f"the body nests deeper than {DEEPEST} levels")
