"""The form of a gateway's keys: whoever makes one shows it, all others get its digest. Pure."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

import msgspec

__all__ = ["KEY_ENTROPY_BYTES", "NewKey", "digest_of_key", "is_key_id", "key_id_of", "new_key"]

_PREFIX: Final = "aiex_"
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_ID_LENGTH: Final = 10
_ID_BYTES: Final = 7
_SECRET_BYTES: Final = 32
_ID_AT: Final = slice(len(_PREFIX), len(_PREFIX) + _ID_LENGTH)

KEY_ENTROPY_BYTES: Final = _ID_BYTES + _SECRET_BYTES
"""Random bytes that a key is made of."""


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was just made, by the door that shows it.

    Attributes:
        id: Its identifier, 10 characters, which is no secret.
        token: The key: `aiex_<id>_<256 bits>`. It is in no request, event, log or record.
        digest: SHA-256 of the key, hexadecimal: what the gateway is told of it.
    """

    id: str
    token: str
    digest: str

    def __repr__(self) -> str:
        return f"NewKey(id={self.id!r})"


def new_key(entropy: bytes) -> NewKey:
    """Return a key made of *entropy*, which is `KEY_ENTROPY_BYTES` random bytes.

    Raises:
        ValueError: These are not that many.

    Example:
        >>> new_key(bytes(39)).token
        'aiex_0000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
    """
    if len(entropy) != KEY_ENTROPY_BYTES:
        msg = f"{KEY_ENTROPY_BYTES} random bytes are needed, got {len(entropy)}"
        raise ValueError(msg)
    number = int.from_bytes(entropy[:_ID_BYTES], "big")
    id_ = "".join(_ALPHABET[number >> 5 * place & 31] for place in range(_ID_LENGTH))
    secret = base64.urlsafe_b64encode(entropy[_ID_BYTES:]).rstrip(b"=").decode()
    token = f"{_PREFIX}{id_}_{secret}"
    return NewKey(id=id_, token=token, digest=digest_of_key(token).hex())


def digest_of_key(token: str) -> bytes:
    """Return the SHA-256 of *token*, which may be any text that somebody sent."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def key_id_of(token: str) -> str:
    """Return the identifier in *token*; of a text that is no key, some part of it."""
    return token[_ID_AT]


def is_key_id(text: str) -> bool:
    """Return whether *text* has the form of a key's identifier."""
    return len(text) == _ID_LENGTH and all(letter in _ALPHABET for letter in text)
