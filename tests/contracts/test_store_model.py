"""Any sequence of operations gives what a dictionary and some lists give."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import anyio.from_thread
import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aiex.cluster import DELETE, LIMITS, Guard, Index, Lease, QueueItem, Store, TableSpec, Write
from aiex.cluster.local import SqliteStore
from aiex.core import ConflictError
from aiex.runtime import Clock
from aiex.testing.clock import FakeClock

T = TypeVar("T")
Key = tuple[str, ...]

TABLES = (TableSpec(name="thing", indexes=(Index(name="n", field="n"),)),)
PARTS = ("a", "b", "a-", "é")
KEYS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=2).map(tuple)
VALUES = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from(["", "x", "y"]))
EXPECTS = st.sampled_from(["any", "none", "right", "wrong"])
TTLS = st.sampled_from([None, None, 1.0, 5.0])

OPENERS: dict[str, Callable[[Path, Clock], Store]] = {
    "sqlite": lambda place, clock: SqliteStore(place / "store.db", TABLES, clock=clock)
}


class _Row(msgspec.Struct):
    value: Any
    revision: int
    expires: datetime | None


class _Item(msgspec.Struct):
    id: int
    value: bytes
    free: datetime
    token: int = 0
    delivery: int = 0


def _order(value: Any) -> tuple[bool, Any]:
    return (isinstance(value, str), value)


class StoreMachine(RuleBasedStateMachine):
    opener: Callable[[Path, Clock], Store]

    def __init__(self) -> None:
        super().__init__()
        self.exits = ExitStack()
        self.place = Path(tempfile.mkdtemp())
        self.exits.callback(shutil.rmtree, self.place)
        self.clock = FakeClock()
        self.portal = self.exits.enter_context(anyio.from_thread.start_blocking_portal())
        self.open_exits = self.exits.enter_context(ExitStack())
        self.rows: dict[Key, _Row] = {}
        self.deleted: dict[Key, int] = {}
        self.sequence = 0
        self.answers: dict[str, int] = {}
        self.leases: dict[str, tuple[Lease, datetime]] = {}
        self.old_leases: list[Lease] = []
        self.items: list[_Item] = []
        self.taken: list[QueueItem] = []
        self.count = 0

    @initialize()
    def open(self) -> None:
        self.store = self.open_exits.enter_context(
            self.portal.wrap_async_context_manager(type(self).opener(self.place, self.clock))
        )

    def teardown(self) -> None:
        self.exits.close()

    def call(self, function: Callable[..., Awaitable[T]], *args: Any, **named: Any) -> T:
        return self.portal.call(lambda: function(*args, **named))

    def after(self, seconds: float) -> datetime:
        return self.clock.now() + timedelta(seconds=seconds)

    def live(self) -> dict[Key, _Row]:
        now = self.clock.now()
        return {
            key: row for key, row in self.rows.items() if row.expires is None or row.expires > now
        }

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def open_again(self) -> None:
        self.open_exits.close()
        self.open()

    @rule(
        writes=st.dictionaries(
            KEYS,
            st.tuples(st.one_of(VALUES, st.just(DELETE)), EXPECTS, TTLS),
            min_size=1,
            max_size=3,
        ),
        guard=st.none() | st.tuples(KEYS, st.booleans(), st.sampled_from(["none", "now", "old"])),
        idem=st.sampled_from([None, None, "k1", "k2"]),
    )
    def transact(
        self,
        writes: dict[Key, tuple[Any, str, float | None]],
        guard: tuple[Key, bool, str] | None,
        idem: str | None,
    ) -> None:
        live = self.live()
        fails = False
        asked: list[Write] = []
        for key, (value, expect, ttl) in writes.items():
            at = live[key].revision if key in live else 0
            expected = {"any": None, "none": 0, "right": at, "wrong": at + 7}[expect]
            fails |= expected not in {None, at}
            encoded = value if value is DELETE else msgspec.json.encode({"n": value})
            asked.append(Write(table="thing", key=key, value=encoded, expect=expected, ttl=ttl))
        guards = []
        if guard is not None:
            key, prefix, which = guard
            most = {"none": 0, "now": self.sequence, "old": self.sequence // 2}[which]
            guards = [Guard(table="thing", key=key, max_revision=most, prefix=prefix)]
            fails |= self.guard_fails(key, prefix, most)
        if idem in self.answers:
            assert (
                self.call(self.store.transact, asked, guards=guards, idem=idem)
                == (self.answers[idem])
            )
            return
        try:
            sequence = self.call(self.store.transact, asked, guards=guards, idem=idem)
        except ConflictError:
            assert fails
            return
        assert not fails
        assert sequence > self.sequence
        self.sequence = sequence
        if idem is not None:
            self.answers[idem] = sequence
        for key, (value, _, ttl) in writes.items():
            self.rows.pop(key, None)
            self.deleted.pop(key, None)
            if value is DELETE:
                self.deleted[key] = sequence
            else:
                expires = None if ttl is None else self.after(ttl)
                self.rows[key] = _Row(value, sequence, expires)

    def guard_fails(self, key: Key, prefix: bool, most: int) -> bool:
        def meant(other: Key) -> bool:
            below = len(other) > len(key) and other[: len(key)] == key
            return below if prefix else other == key

        live = self.live()
        if most == 0:
            return any(map(meant, live))
        written = [*((k, row.revision) for k, row in live.items()), *self.deleted.items()]
        return any(meant(other) and revision > most for other, revision in written)

    @invariant()
    def reads_agree(self) -> None:
        if not hasattr(self, "store"):
            return
        live = self.live()
        found = self.call(self.store.scan, "thing")
        assert [(r.key, msgspec.json.decode(r.value)["n"], r.revision) for r in found] == [
            (key, live[key].value, live[key].revision) for key in sorted(live)
        ]
        assert [r.expires for r in found] == [live[key].expires for key in sorted(live)]

    @rule(prefix=KEYS, after=st.none() | KEYS, limit=st.integers(1, 4))
    def scan(self, prefix: Key, after: Key | None, limit: int) -> None:
        found = self.call(self.store.scan, "thing", prefix, after=after, limit=limit)
        below = sorted(
            k for k in self.live() if len(k) > len(prefix) and k[: len(prefix)] == prefix
        )
        assert [r.key for r in found] == [k for k in below if after is None or k > after][:limit]

    @rule(low=VALUES, descending=st.booleans(), limit=st.integers(1, 5))
    def query(self, low: Any, descending: bool, limit: int) -> None:
        found = self.call(
            self.store.query, "thing", "n", at_least=low, descending=descending, limit=limit
        )
        wanted = sorted(
            (_order(row.value), key)
            for key, row in self.live().items()
            if row.value is not None
            and (low is None or isinstance(row.value, str) == isinstance(low, str))
            and (low is None or row.value >= low)
        )
        in_order = wanted[::-1] if descending else wanted
        assert [r.key for r in found] == [key for _, key in in_order][:limit]

    @rule(owner=st.sampled_from("ab"), ttl=st.sampled_from([1.0, 5.0]))
    def acquire(self, owner: str, ttl: float) -> None:
        lease = self.call(self.store.leases.acquire, "role", "x", owner=owner, ttl=ttl)
        held = self.leases.get("x")
        if held is not None and held[1] > self.clock.now():
            if held[0].owner != owner:
                assert lease is None
                return
            assert lease is not None
            assert lease.token == held[0].token
        assert lease is not None
        assert all(lease.token >= old.token for old in self.old_leases)
        self.old_leases.append(lease)
        self.leases["x"] = (lease, self.after(ttl))

    @precondition(lambda self: self.old_leases)
    @rule(data=st.data(), release=st.booleans())
    def renew_or_release(self, data: st.DataObject, release: bool) -> None:
        lease = data.draw(st.sampled_from(self.old_leases))
        held = self.leases.get("x")
        is_held = held is not None and held[0].token == lease.token and held[1] > self.clock.now()
        leases = self.store.leases
        assert self.call(leases.release if release else leases.renew, lease) == is_held
        if is_held and release:
            del self.leases["x"]
        elif is_held:
            self.leases["x"] = (lease, self.after(lease.ttl))

    @rule(value=st.binary(max_size=4))
    def put(self, value: bytes) -> None:
        number = self.call(self.store.queues.put, "q", value)
        self.items.append(_Item(number, value, self.clock.now()))

    @rule(ttl=st.sampled_from([1.0, 5.0]))
    def take(self, ttl: float) -> None:
        now = self.clock.now()
        item = self.call(self.store.queues.take, "q", owner="w", ttl=ttl)
        free = [i for i in self.items if i.free <= now and i.delivery < LIMITS.deliveries]
        if not free:
            assert item is None
            return
        assert item is not None
        first = free[0]
        assert (item.id, item.value, item.delivery) == (
            first.id,
            first.value,
            first.delivery + 1,
        )
        assert item.token > first.token
        first.delivery, first.token, first.free = item.delivery, item.token, self.after(ttl)
        self.taken.append(item)

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), how=st.sampled_from(["ack", "nak", "extend"]))
    def finish(self, data: st.DataObject, how: str) -> None:
        item = data.draw(st.sampled_from(self.taken))
        queues = self.store.queues
        mine = next((i for i in self.items if (i.id, i.token) == (item.id, item.token)), None)
        if how == "ack":
            assert self.call(queues.ack, item) == (mine is not None)
            self.items = [i for i in self.items if i is not mine]
        elif how == "nak":
            assert self.call(queues.nak, item, delay=2.0) == (mine is not None)
            if mine is not None:
                last = item.delivery >= LIMITS.deliveries
                mine.free = self.after(0 if last else 2.0)
                self.taken.remove(item)
        else:
            assert self.call(queues.extend, item, ttl=3.0) == (mine is not None)
            if mine is not None:
                mine.free = self.after(3.0)

    @rule()
    def dead_letters(self) -> None:
        now = self.clock.now()
        found = self.call(self.store.queues.dead_letters, "q")
        assert [i.id for i in found] == [
            i.id for i in self.items if i.free <= now and i.delivery >= LIMITS.deliveries
        ]

    @rule(amount=st.integers(-5, 5))
    def add(self, amount: int) -> None:
        self.count += amount
        assert self.call(self.store.counters.add, "c", amount) == self.count
        assert self.call(self.store.counters.get, "c") == self.count


@pytest.mark.parametrize("name", sorted(OPENERS))
def test_any_sequence_of_operations_gives_what_the_model_gives(name: str) -> None:
    machine = type("Machine", (StoreMachine,), {"opener": staticmethod(OPENERS[name])})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
