r"""Keys as text that is safe as a NATS subject and sorts as the parts of the key do.

A part is its UTF-8 (lone surrogates too), byte by byte:

```text
0x00 .. 0x2F      /@ .. /o      control characters, space, and !"#$%&'()*+,-./
=  >              =0 =1
0x7E .. 0xFF      ~7E .. ~FF    tilde, DEL, and every byte of a character beyond ASCII
anything else     itself        digits, letters, _ and :;<?@[\]^`{|}
```

Parts are joined by `.`, which sorts below all of these, so encoded keys compare as tuples of
their parts do, by code point, and the keys below a prefix are one range.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiex.cluster.ports import LIMITS
from aiex.core import UsageError

__all__ = ["decode_key", "encode_key", "encode_name", "range_below"]

_PLAIN = re.compile(r"[0-9:;<?@A-Z\[\\\]^_`a-z{|}]+")
_ESCAPE = re.compile(r"/(.)|=(.)|((?:~[7-9A-F][0-9A-F])+)|([^/=~]+)")


def _code(byte: int) -> str:
    if byte < 0x30:
        return "/" + chr(byte + 0x40)
    if byte in {0x3D, 0x3E}:
        return f"={byte - 0x3D}"
    if byte >= 0x7E:
        return f"~{byte:02X}"
    return chr(byte)


_CODES = [_code(byte) for byte in range(256)]


def encode_key(parts: Sequence[str]) -> str:
    r"""Return the parts of a key as one text.

    Raises:
        UsageError: There is no part, a part is empty, or the text is longer than 255 bytes.

    Example:
        >>> encode_key(("files", "src/a b.py"))
        'files.src/oa/`b/npy'
    """
    if not parts or not all(parts):
        raise UsageError(f"A key needs one or more parts, none of them empty: {tuple(parts)!r}.")
    text = ".".join(map(_encode_part, parts))
    if len(text) > LIMITS.key_bytes:
        raise UsageError(
            f"A key may have {LIMITS.key_bytes} bytes once encoded, this one has {len(text)}: "
            f"{text[:40]}...",
            hint="Use a hash of the long part.",
        )
    return text


def _encode_part(part: str) -> str:
    if _PLAIN.fullmatch(part):
        return part
    return "".join([_CODES[byte] for byte in part.encode("utf-8", "surrogatepass")])


def decode_key(text: str) -> tuple[str, ...]:
    """Return the parts that `encode_key` made *text* of."""
    return tuple(map(_decode_part, text.split(".")))


def _decode_part(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    raw = bytearray()
    for low, equal, high, plain in _ESCAPE.findall(text):
        if low:
            raw.append(ord(low) - 0x40)
        elif equal:
            raw.append(0x3D + int(equal))
        elif high:
            raw += bytes.fromhex(high.replace("~", ""))
        else:
            raw += plain.encode("ascii")
    return raw.decode("utf-8", "surrogatepass")


def encode_name(what: str, *parts: str) -> str:
    """Return *parts* as `encode_key` does; an error names *what* they are."""
    try:
        return encode_key(parts)
    except UsageError as error:
        raise UsageError(f"{what}: {error.message}", hint=error.hint) from error


def range_below(prefix: Sequence[str]) -> tuple[str, str]:
    """Return the first text of the keys below *prefix*, and the first text past them.

    Example:
        >>> range_below(("a", "b"))
        ('a.b.', 'a.b/')
    """
    if not prefix:
        return "", "\x7f"
    text = encode_key(prefix)
    return f"{text}.", f"{text}/"
