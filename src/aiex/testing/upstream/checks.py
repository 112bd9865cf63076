"""What several wires check alike: pictures, schemas and names."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Refused", "check_data_url", "check_name", "check_picture", "check_schema"]

_MAGIC = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")


class Refused(Exception):  # noqa: N818 - a verdict on a request, not a failure of ours
    """A request is not what its wire demands.

    Args:
        what: What is wrong.
        where: Place in the body.
    """

    def __init__(self, what: str, where: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where


def check_picture(data: str, media_type: str, where: str) -> None:
    """Refuse what is not base64 of a picture of *media_type*."""
    if media_type not in _MAGIC:
        raise Refused(f"{where}: {media_type!r} is no kind of picture that is taken", where)
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"{where}: the picture is not base64: {error}", where) from error
    if not content.startswith(_MAGIC[media_type]):
        raise Refused(f"{where}: the picture is no {media_type}", where)


def check_data_url(url: str, where: str) -> None:
    """Refuse an address of a picture that is neither http(s) nor its whole data."""
    if url.startswith(("https://", "http://")):
        return
    match = re.fullmatch(r"data:([a-z]+/[a-z0-9.+-]+);base64,(.+)", url, re.DOTALL)
    if match is None:
        raise Refused(f"{where}: {url[:40]!r} is neither an address nor a data URL", where)
    check_picture(match[2], match[1], where)


def check_name(name: str, where: str, *, most: int = 64) -> None:
    """Refuse a name of a tool or schema that has other characters or is too long."""
    if len(name) > most or not _NAME.fullmatch(name):
        raise Refused(f"{where}: {name!r} does not match ^[a-zA-Z0-9_-]{{1,{most}}}$", where)


def check_schema(schema: object, where: str, *, strict: bool, root: bool = True) -> None:
    """Refuse what is no JSON Schema of an object; if *strict*, also what may not be enforced."""
    if not isinstance(schema, Mapping):
        raise Refused(f"{where}: a schema must be an object", where)
    if root and schema.get("type") != "object":
        raise Refused(f"{where}: the schema's type must be 'object'", where)
    for at, one in _schemas(schema, where):
        kinds = one.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if not isinstance(kinds, list) or not _TYPES.issuperset(kinds):
            raise Refused(f"{at}: {kinds!r} is no type of JSON", at)
        needed = one.get("required", [])
        known = one.get("properties", {})
        if not isinstance(needed, list) or not isinstance(known, Mapping):
            raise Refused(f"{at}: 'required' is no list, or 'properties' no object", at)
        if strict and "object" in kinds:
            if one.get("additionalProperties") is not False:
                raise Refused(
                    f"{at}: 'additionalProperties' is required to be supplied and to be false", at
                )
            if set(needed) != set(known):
                raise Refused(f"{at}: 'required' must name every key of 'properties'", at)


def _schemas(schema: Mapping[str, Any], where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield where, schema
    inner: list[tuple[str, object]] = []
    for key in _MAPS:
        inner += [(f"{where}.{key}.{name}", one) for name, one in schema.get(key, {}).items()]
    for key in _LISTS:
        inner += [(f"{where}.{key}[{n}]", one) for n, one in enumerate(schema.get(key, []))]
    for key in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(key), Mapping):
            inner.append((f"{where}.{key}", schema[key]))
    for at, one in inner:
        if not isinstance(one, Mapping):
            raise Refused(f"{at}: a schema must be an object", at)
        yield from _schemas(one, at)
