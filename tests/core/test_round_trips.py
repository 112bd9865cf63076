"""Whatever travels or is stored comes back as it went, and what is not understood is refused."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect as shapes

import aiex.code
import aiex.context
import aiex.core
import aiex.gateway
from aiex.core import (
    Event,
    Finished,
    Passthrough,
    Principal,
    Request,
    RunOptions,
    Text,
)

_TIMES = st.integers(1, 2**52).map(
    lambda micros: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
)
_TEXT = st.text(max_size=8)
_JSON = st.dictionaries(_TEXT, st.none() | st.booleans() | st.integers(-9, 9) | _TEXT, max_size=2)


def _values(shape: shapes.Type) -> st.SearchStrategy[Any]:
    """Return every kind of value that a field of *shape* can have."""
    match shape:
        case shapes.StrType():
            return _TEXT
        case shapes.IntType():
            return st.integers(-(2**63), 2**63 - 1)
        case shapes.FloatType():
            return st.floats(allow_nan=False, allow_infinity=False)
        case shapes.BoolType():
            return st.booleans()
        case shapes.NoneType():
            return st.none()
        case shapes.BytesType():
            return st.binary(max_size=8)
        case shapes.DateTimeType():
            return _TIMES
        case shapes.RawType():
            return _JSON.map(lambda value: msgspec.Raw(msgspec.json.encode(value)))
        case shapes.LiteralType():
            return st.sampled_from(shape.values)
        case shapes.UnionType():
            return st.one_of([_values(one) for one in shape.types])
        case shapes.VarTupleType():
            return st.lists(_values(shape.item_type), max_size=2).map(tuple)
        case shapes.TupleType():
            return st.tuples(*(_values(one) for one in shape.item_types))
        case shapes.DictType():
            return st.dictionaries(_values(shape.key_type), _values(shape.value_type), max_size=2)
        case shapes.StructType():
            return _structs(shape.cls)
    raise AssertionError(f"no values are made for {shape}")


@functools.cache
def _structs(cls: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    described = shapes.type_info(cls)
    assert isinstance(described, shapes.StructType)
    fields = {field.name: _values(field.type) for field in described.fields}
    if inspect.signature(cls).parameters and any(
        p.kind is not inspect.Parameter.KEYWORD_ONLY
        for p in inspect.signature(cls).parameters.values()
    ):
        return st.tuples(*fields.values()).map(lambda values: cls(*values))
    return st.fixed_dictionaries(fields).map(lambda values: cls(**values))


def _travelling() -> Sequence[type[msgspec.Struct]]:
    """Return the values of the rooms that are sent or kept; `Place` and the like never are."""
    rooms = (aiex.core, aiex.gateway)
    named = [getattr(room, name) for room in rooms for name in room.__all__]
    named += [getattr(aiex.context, n) for n in ("Change", "Interaction", "ShownContext")]
    named += [aiex.code.FileFacts]
    return [one for one in named if isinstance(one, type) and issubclass(one, msgspec.Struct)]


@pytest.mark.parametrize("cls", _travelling(), ids=lambda cls: cls.__name__)
@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_travels_comes_back_as_it_went(cls: type[msgspec.Struct], data: st.DataObject) -> None:
    value = data.draw(_structs(cls))

    assert msgspec.json.decode(msgspec.json.encode(value), type=cls) == value


def test_every_value_is_frozen() -> None:
    for cls in _travelling():
        assert cls.__struct_config__.frozen, cls


def _request(**more: Any) -> Request:
    return Request(
        id="req_1",
        verb="explain",
        arguments=msgspec.Raw(b'{"path":"a.py"}'),
        principal=Principal(user="ada", interface="cli"),
        **more,
    )


def test_a_request_is_a_document_that_others_can_read() -> None:
    request = _request(
        deadline=datetime(2026, 1, 2, tzinfo=UTC),
        options=RunOptions(model="x:y"),
        passthrough=Passthrough(wire="openai_chat", body=b"{}"),
    )

    document = msgspec.json.decode(msgspec.json.encode(request))

    assert document["arguments"] == {"path": "a.py"}
    assert document["deadline"] == "2026-01-02T00:00:00Z"
    assert document["principal"]["roles"] == ["developer"]
    assert document["schema"] == 1


def test_a_field_that_a_newer_aiex_added_is_passed_over() -> None:
    raw = msgspec.json.encode(_request())
    newer = msgspec.json.encode({**msgspec.json.decode(raw), "colour": "blue"})

    assert msgspec.json.decode(newer, type=Request) == _request()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", None),
        ("deadline", "2026-01-02T00:00:00"),
        ("deadline", "soon"),
        ("principal", {"user": "ada"}),
        ("principal", {"user": "ada", "interface": "cli", "roles": ["god"]}),
        ("options", {"seed": "x"}),
    ],
)
def test_a_request_that_does_not_fit_is_refused_where_it_comes_in(field: str, value: Any) -> None:
    raw = msgspec.json.decode(msgspec.json.encode(_request()))
    raw[field] = value

    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.json.decode(msgspec.json.encode(raw), type=Request)


def test_an_event_of_a_kind_that_is_not_known_is_refused_by_its_name() -> None:
    event = Event(id=1, request_id="r", at=datetime(2026, 1, 1, tzinfo=UTC), body=Text(text="a"))
    raw = msgspec.json.decode(msgspec.json.encode(event))
    raw["body"]["type"] = "telepathy"

    with pytest.raises(msgspec.ValidationError, match="telepathy"):
        msgspec.json.decode(msgspec.json.encode(raw), type=Event)


def test_a_time_keeps_its_moment_whatever_zone_it_was_written_in() -> None:
    there = datetime(2026, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))

    back = msgspec.json.decode(msgspec.json.encode(_request(deadline=there)), type=Request)

    assert back.deadline == datetime(2026, 1, 1, tzinfo=UTC)


def test_exactly_the_two_ends_are_last() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    done = Finished(status="ok", data=msgspec.Raw(b"{}"))

    assert Event(id=2, request_id="r", at=at, body=done).is_last
    assert not Event(id=1, request_id="r", at=at, body=Text(text="a")).is_last
