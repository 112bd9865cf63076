"""What every backend of the store refuses, before it does anything. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from aiex.cluster.keys import encode_key
from aiex.cluster.ports import DELETE, LIMITS, Guard, TableSpec, Write
from aiex.core import UsageError

__all__ = [
    "check_amount",
    "check_idem",
    "check_spec",
    "check_subject",
    "check_transaction",
    "check_ttl",
    "check_value",
    "pattern_of",
    "spec_of",
]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_SUBJECT = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_PATTERN = re.compile(r"(?:(?:\*|[A-Za-z0-9_-]+)\.)*(?:>|\*|[A-Za-z0-9_-]+)")
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def check_spec(spec: TableSpec) -> None:
    """Raise `UsageError` if *spec* cannot be a table of any backend."""
    if not _NAME.fullmatch(spec.name):
        raise UsageError(f"A table's name is a-z, 0-9 and _, up to 63: {spec.name!r}.")
    for index in spec.indexes:
        if not _NAME.fullmatch(index.name) or not _FIELD.fullmatch(index.field):
            raise UsageError(f"Table {spec.name!r}: index {index.name!r} has a name or field "
                             f"that is not letters, digits and _.")  # fmt: skip
    if spec.version < 1:
        raise UsageError(f"Table {spec.name!r}: versions begin at 1.")
    if spec.max_records is not None and spec.replicated:
        raise UsageError(f"Table {spec.name!r}: only a table that is not replicated can have "
                         f"max_records.")  # fmt: skip
    if spec.max_age is not None:
        check_ttl(spec.max_age)


def spec_of(tables: Mapping[str, TableSpec], name: str) -> TableSpec:
    """Return the table called *name*, or raise `UsageError`."""
    try:
        return tables[name]
    except KeyError:
        known = ", ".join(sorted(tables)) or "none"
        raise UsageError(f"The store has no table {name!r}; it has: {known}.") from None


def check_value(value: bytes, what: str) -> None:
    """Raise `UsageError` if *value* is larger than any backend takes."""
    if len(value) > LIMITS.value_bytes:
        raise UsageError(
            f"{what}: a value may have {LIMITS.value_bytes} bytes, this one has {len(value)}.",
            hint="Store large content by reference.",
        )


def check_amount(count: int, what: str) -> None:
    """Raise `UsageError` if *count* is more than fits into one transaction, or nothing."""
    if not 0 < count <= LIMITS.writes:
        raise UsageError(f"{what}: 1 to {LIMITS.writes} at once, got {count}.")


def check_ttl(ttl: float) -> None:
    """Raise `UsageError` if *ttl* is shorter than any backend takes."""
    if not ttl >= LIMITS.ttl:
        raise UsageError(f"A TTL is at least {LIMITS.ttl:g} s, got {ttl:g}.")


def check_idem(idem: str | None) -> None:
    """Raise `UsageError` if *idem* is empty or too long."""
    if idem is not None and not 0 < len(idem.encode("utf-8", "replace")) <= LIMITS.key_bytes:
        raise UsageError(f"An idempotency key has 1 to {LIMITS.key_bytes} bytes.")


def check_transaction(
    tables: Mapping[str, TableSpec],
    writes: Sequence[Write],
    guards: Sequence[Guard],
    idem: str | None,
) -> list[str]:
    """Return the encoded key of each of *writes*.

    Raises:
        UsageError: The transaction is more than every backend takes.
    """
    check_amount(len(writes) + len(guards), "Writes and guards of a transaction")
    if not writes:
        raise UsageError("A transaction needs a write; guards alone store nothing.")
    check_idem(idem)
    names = {write.table for write in writes} | {guard.table for guard in guards}
    if len({spec_of(tables, name).replicated for name in names}) > 1:
        raise UsageError("Replicated tables and others cannot be in one transaction.")
    for guard in guards:
        if guard.key or not guard.prefix:
            encode_key(guard.key)
    keys = [_check_write(write) for write in writes]
    if len({(write.table, key) for write, key in zip(writes, keys, strict=True)}) < len(keys):
        raise UsageError("A transaction writes each record at most once.")
    return keys


def _check_write(write: Write) -> str:
    key = encode_key(write.key)
    if write.ttl is not None:
        check_ttl(write.ttl)
    if isinstance(write.value, bytes):
        where = f"Table {write.table!r}, key {key!r}"
        check_value(write.value, where)
        try:
            write.value.decode()
            _OBJECT.decode(write.value)
        except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
            raise UsageError(f"{where}: the value is not a JSON object: {error}.") from error
    elif write.value is not DELETE:
        raise UsageError(f"Table {write.table!r}, key {key!r}: the value is not bytes.")
    return key


def check_subject(subject: str) -> None:
    """Raise `UsageError` if nothing can be published under *subject*."""
    if len(subject) > LIMITS.key_bytes or not _SUBJECT.fullmatch(subject):
        raise UsageError(f"A subject is names of letters, digits, - and _, with dots: {subject!r}.")


def pattern_of(pattern: str) -> re.Pattern[str]:
    """Return what matches the subjects that *pattern* means.

    Raises:
        UsageError: It is no pattern.

    Example:
        >>> bool(pattern_of("node.*.state.>").fullmatch("node.a.state.up.now"))
        True
    """
    if len(pattern) > LIMITS.key_bytes or not _PATTERN.fullmatch(pattern):
        raise UsageError(f"A pattern is names, * and a last >, with dots: {pattern!r}.")
    names = {"*": r"[^.]+", ">": r".+"}
    return re.compile(r"\.".join(names.get(name, re.escape(name)) for name in pattern.split(".")))
