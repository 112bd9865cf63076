"""What a setting takes, in words, and whether a table that somebody wrote has that shape."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from aiex.core import ConfigurationError, nearest

__all__ = [
    "SECRET_WORDS",
    "check_table",
    "hints",
    "in_words",
    "is_table",
    "leaves",
    "member",
    "meta_of",
    "words_of",
]

SECRET_WORDS = ("key", "token", "secret", "password")
"""Words in the name of a setting that would hold what belongs in no file."""


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """Return the annotations of a branch, with what is said of them."""
    return typing.get_type_hints(cls, include_extras=True)


def meta_of(annotation: Any) -> msgspec.Meta:
    """Return what is said of a setting."""
    found = [m for m in get_args(annotation) if isinstance(m, msgspec.Meta)]
    return found[0] if found else msgspec.Meta()


def bare(annotation: Any) -> Any:
    """Return the type of *annotation* without what is said of it, and without `None`."""
    if hasattr(annotation, "__metadata__"):
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        some = [one for one in get_args(annotation) if one is not types.NoneType]
        return bare(some[0]) if len(some) == 1 else annotation
    return annotation


def words_of(annotation: Any) -> tuple[str, ...]:
    """Return the words that a setting takes; empty where it takes others than certain ones."""
    inner = bare(annotation)
    if get_origin(inner) is tuple:
        inner = get_args(inner)[0]
    return get_args(inner) if get_origin(inner) is Literal else ()


def in_words(annotation: Any) -> str:
    """Return what a setting takes."""
    inner = bare(annotation)
    words = words_of(annotation)
    if is_table(annotation):
        members = get_args(inner)[1:] if get_origin(inner) is dict else ()
        return f"a table of {in_words(members[0]).removeprefix('a ')}s" if members else "a table"
    if get_origin(inner) is tuple:
        return f"a list of {' | '.join(words)}" if words else "a list of texts"
    if words:
        return " | ".join(words)
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(inner, "text")


def is_table(annotation: Any) -> bool:
    """Return whether a setting is a table: of names that the user chose, or of certain ones."""
    inner = bare(annotation)
    return get_origin(inner) is dict or _is_struct(inner)


def member(annotation: Any, name: str) -> Any | None:
    """Return the annotation of what stands under *name* in a table; `None` if nothing may."""
    inner = bare(annotation)
    if get_origin(inner) is dict:
        return get_args(inner)[1]
    return hints(inner).get(name) if _is_struct(inner) else None


def leaves(key: str, annotation: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what may stand in a table: key, annotation and default; chosen names are `NAME`."""
    inner = bare(annotation)
    if get_origin(inner) is dict:
        inside = get_args(inner)[1]
        if is_table(inside):
            yield from leaves(f"{key}.NAME", inside)
        else:
            yield f"{key}.NAME", inside, None
    elif _is_struct(inner):
        for field in msgspec.structs.fields(inner):
            below = hints(inner)[field.name]
            if is_table(below):
                yield from leaves(f"{key}.{field.name}", below)
            else:
                yield f"{key}.{field.name}", below, field.default


def check_table(key: str, value: object, annotation: Any, origin: str) -> None:
    """Return if *value* may be what stands under *key*.

    Raises:
        ConfigurationError: It may not; the place inside it is named, and what may have been meant.
    """
    place = f"{origin}: " if origin else ""
    if not is_table(annotation):
        _check_leaf(key, value, annotation, place)
        return
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{place}{key} must be a table, [{key}]")
    inner = bare(annotation)
    if _is_struct(inner):
        _check_names(key, value, inner, place)
    for name, below in value.items():
        check_table(f"{key}.{name}", below, member(annotation, name), origin)
    if _is_struct(inner):
        try:
            msgspec.convert(value, inner)
        except msgspec.ValidationError as error:  # each value fits, and not with the others
            raise ConfigurationError(f"{place}{key}: {error}") from error


def _check_names(
    key: str, value: Mapping[str, object], struct: type[msgspec.Struct], place: str
) -> None:
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for name in value:
        if name in fields:
            continue
        if any(word in name.split("_") for word in SECRET_WORDS):
            raise ConfigurationError(
                f"{place}{key}.{name}: keys do not belong in a file",
                hint=f"aiex config key set {key.rpartition('.')[2]}",
            )
        near = nearest(name, fields)
        raise ConfigurationError(
            f"{place}there is no setting {f'{key}.{name}'!r}",
            hint=f"did you mean {key}.{near}?" if near else f"{key} takes {', '.join(fields)}",
        )
    for name, field in fields.items():
        if field.required and name not in value:
            raise ConfigurationError(
                f"{place}{key} says nothing of its {name}",
                hint=f"{name} takes {in_words(hints(struct)[name])}",
            )


def _check_leaf(key: str, value: object, annotation: Any, place: str) -> None:
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError as error:
        what = str(error).partition(" - at ")[0]
        words = words_of(annotation)
        given = value if isinstance(value, list | tuple) else [value]
        wrong = next((v for v in given if isinstance(v, str) and v not in words), None)
        near = None if wrong is None else nearest(wrong, words)
        shown = value if wrong is None or not words else wrong
        raise ConfigurationError(
            f"{place}{key} takes {in_words(annotation)}, not {shown!r}"
            + ("" if words else f": {what[:1].lower()}{what[1:]}"),
            hint=f"did you mean {near}?" if near else None,
        ) from error


def _is_struct(inner: Any) -> bool:
    return isinstance(inner, type) and issubclass(inner, msgspec.Struct)
