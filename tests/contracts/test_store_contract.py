"""What every `Store` must do; a second driver is one more entry in `PLACES`."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import anyio
import pytest

from aiex.cluster import DELETE, LIMITS, Guard, Index, Message, Record, Store, TableSpec, Write
from aiex.cluster.local import SqliteStore
from aiex.core import ConflictError, UsageError
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

TABLES = (
    TableSpec(
        name="thing", indexes=(Index(name="by_n", field="n"), Index(name="by_name", field="name"))
    ),
    TableSpec(name="other"),
    TableSpec(name="aging", max_age=60.0),
    TableSpec(name="cached", replicated=False, max_records=3),
)
LEVELS = ("local", "session", "linearizable")


class Time(Protocol):
    """The clock by which a place lets things expire.

    Attributes:
        slack: Seconds by which it may differ from ours.
    """

    slack: float

    def now(self) -> datetime: ...

    async def after(self, seconds: float) -> None:
        """Return once *seconds* have passed; a place of real time may skip a test that is long."""


class Place(Protocol):
    """Somewhere to open stores that share their state."""

    time: Time

    def open(self) -> AbstractAsyncContextManager[Store]: ...


class TurnedTime(FakeClock):
    slack = 0.0

    async def after(self, seconds: float) -> None:
        self.advance(seconds)


class SqlitePlace:
    def __init__(self, directory: Path) -> None:
        self._path = directory / "state" / "store.db"
        self._turned = TurnedTime()
        self.time: Time = self._turned

    def open(self) -> AbstractAsyncContextManager[Store]:
        return SqliteStore(self._path, TABLES, clock=self._turned)


PLACES: dict[str, Callable[[Path], Place]] = {"sqlite": SqlitePlace}


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return PLACES[request.param](tmp_path)


@pytest.fixture
def time(place: Place) -> Time:
    return place.time


@pytest.fixture
async def store(place: Place) -> AsyncIterator[Store]:
    async with place.open() as opened:
        yield opened


def put(key: str, value: bytes = b"{}", *, table: str = "thing", **more: object) -> Write:
    return Write(table=table, key=tuple(key.split("/")), value=value, **more)  # type: ignore[arg-type]


def keys(records: object) -> list[str]:
    return ["/".join(record.key) for record in records]  # type: ignore[attr-defined]


async def test_what_was_written_is_read_with_the_revision_of_its_transaction(store: Store) -> None:
    first = await store.transact([put("a", b'{"n":1}'), put("b")])
    second = await store.transact([put("a", b'{"n":2}')])

    assert second > first
    for level in LEVELS:
        found = await store.get("thing", ("a",), level=level)  # type: ignore[arg-type]
        assert found == Record(table="thing", key=("a",), value=b'{"n":2}', revision=second)
    many = await store.get_many("thing", [("b",), ("none",), ("a",)])
    assert [r and r.revision for r in many] == [first, None, second]


async def test_many_keys_are_read_in_their_order(store: Store) -> None:
    await store.transact([put(f"k/{n}") for n in range(100)])

    found = await store.get_many("thing", [("k", str(n)) for n in range(99, -1, -1)])

    assert keys(found) == [f"k/{n}" for n in range(99, -1, -1)]


async def test_a_failed_expectation_stores_nothing(store: Store) -> None:
    revision = await store.transact([put("a")])
    with pytest.raises(ConflictError, match="revision"):
        await store.transact([put("b"), put("a", expect=revision + 1)])
    with pytest.raises(ConflictError):
        await store.transact([put("b"), put("a", expect=0)])

    assert await store.get("thing", ("b",)) is None
    await store.transact([put("b", expect=0), put("a", expect=revision)])
    assert await store.get("thing", ("b",)) is not None


async def test_a_deleted_record_is_gone_and_may_be_made_anew(store: Store) -> None:
    await store.transact([put("a")])
    await store.transact([Write(table="thing", key=("a",), value=DELETE)])

    assert await store.get("thing", ("a",)) is None
    assert await store.scan("thing") == []
    await store.transact([put("a", expect=0)])
    assert keys(await store.scan("thing")) == ["a"]


async def test_a_guard_on_a_record_fails_once_it_was_written(store: Store) -> None:
    seen = await store.transact([put("a")])
    await store.transact([put("b")], guards=[Guard(table="thing", key=("a",), max_revision=seen)])
    await store.transact([put("a")])

    with pytest.raises(ConflictError):
        await store.transact(
            [put("c")], guards=[Guard(table="thing", key=("a",), max_revision=seen)]
        )
    assert await store.get("thing", ("c",)) is None


async def test_a_guard_on_a_prefix_sees_new_changed_and_deleted_records(store: Store) -> None:
    seen = await store.transact([put("p/1"), put("p/2")])
    guard = Guard(table="thing", key=("p",), max_revision=seen, prefix=True)
    await store.transact([put("p")])  # not below itself
    await store.transact([put("q/1")])
    await store.transact([put("x")], guards=[guard])

    await store.transact([Write(table="thing", key=("p", "2"), value=DELETE)])

    with pytest.raises(ConflictError):
        await store.transact([put("y")], guards=[guard])


async def test_a_guard_that_nothing_exists_accepts_what_was_deleted(store: Store) -> None:
    none = Guard(table="thing", key=("p",), max_revision=0, prefix=True)
    await store.transact([put("p/1")], guards=[none])
    with pytest.raises(ConflictError):
        await store.transact([put("p/2")], guards=[none])
    await store.transact([Write(table="thing", key=("p", "1"), value=DELETE)])

    await store.transact([put("p/2")], guards=[none])


async def test_the_same_idempotency_key_gets_the_first_answer(store: Store, time: Time) -> None:
    first = await store.transact([put("a", b'{"n":1}')], idem="once")

    # It answers even where an expectation would fail now: the caller repeats what it did.
    again = await store.transact([put("a", b'{"n":2}', expect=0)], idem="once")
    assert again == first
    found = await store.get("thing", ("a",))
    assert found is not None
    assert found.value == b'{"n":1}'

    await time.after(24 * 3600 + 1)
    assert await store.transact([put("a", b'{"n":3}')], idem="once") > first


async def test_a_record_vanishes_at_its_ttl(store: Store, time: Time) -> None:
    await store.transact([put("a", ttl=10.0), put("b")])
    found = await store.get("thing", ("a",))
    assert found is not None
    assert found.expires is not None
    assert (found.expires - time.now()).total_seconds() == pytest.approx(10, abs=time.slack)

    await time.after(10)

    assert await store.get("thing", ("a",)) is None
    assert keys(await store.scan("thing")) == ["b"]
    await store.transact([put("a", expect=0)])  # as if it had never been
    assert keys(await store.scan("thing")) == ["a", "b"]


async def test_a_table_with_an_age_lets_its_records_go(store: Store, time: Time) -> None:
    await store.transact([put("a", table="aging"), put("b", table="aging", ttl=5.0)])
    await time.after(6)
    assert keys(await store.scan("aging")) == ["a"]
    await time.after(55)
    assert await store.scan("aging") == []


async def test_a_bounded_table_keeps_the_newest(store: Store, time: Time) -> None:
    for n in range(6):
        await store.transact([put(str(n), table="cached")])
        await time.after(3600)
    await store.transact([put("last", table="cached")])

    assert keys(await store.scan("cached")) == ["4", "5", "last"]


async def test_a_scan_goes_by_the_parts_of_the_keys_page_by_page(store: Store) -> None:
    names = ["a", "a/b", "a/b/c", "a/-", "a-", "a.b", "aé", "a/é", "a/~", "ab", "a/B"]
    await store.transact([put(name) for name in names])
    in_order = sorted(names, key=lambda name: tuple(name.split("/")))

    assert keys(await store.scan("thing")) == in_order
    assert keys(await store.scan("thing", ("a",))) == [n for n in in_order if n.startswith("a/")]
    assert keys(await store.scan("thing", ("a", "b"))) == ["a/b/c"]

    paged: list[str] = []
    after = None
    while page := await store.scan("thing", after=after, limit=2):
        paged += keys(page)
        after = page[-1].key
    assert paged == in_order


async def test_a_query_selects_and_orders_by_an_index(store: Store) -> None:
    values = {"a": b'{"n":3}', "b": b'{"n":1.5}', "c": b'{"n":3}', "d": b'{"n":"x"}', "e": b"{}",
              "f": b'{"n":null}', "g": b'{"n":-2}', "h": b'{"n":true}', "i": b'{"n":[1]}',
              "j": b'{"n":""}'}  # fmt: skip
    await store.transact([put(key, value) for key, value in values.items()])

    assert keys(await store.query("thing", "by_n")) == ["g", "b", "a", "c", "j", "d"]
    assert keys(await store.query("thing", "by_n", descending=True)) == list("djcabg")
    assert keys(await store.query("thing", "by_n", equal=3)) == ["a", "c"]
    assert keys(await store.query("thing", "by_n", at_least=1.5)) == ["b", "a", "c"]
    assert keys(await store.query("thing", "by_n", below=3)) == ["g", "b"]
    assert keys(await store.query("thing", "by_n", at_least="")) == ["j", "d"]
    assert keys(await store.query("thing", "by_n", below="x")) == ["j"]
    assert keys(await store.query("thing", "by_n", limit=2)) == ["g", "b"]


@pytest.mark.parametrize("descending", [False, True])
async def test_a_query_goes_on_after_the_last_record_of_a_page(
    store: Store, descending: bool
) -> None:
    await store.transact(
        [put(f"{n:02}", b'{"name":"%d","n":%d}' % (n % 3, n % 3)) for n in range(20)]
    )
    for index in ("by_n", "by_name"):
        whole = keys(await store.query("thing", index, descending=descending))
        paged: list[str] = []
        after = None
        while page := await store.query(
            "thing", index, descending=descending, after=after, limit=7
        ):
            paged += keys(page)
            after = page[-1]
        assert paged == whole
        assert len(whole) == 20


@pytest.mark.parametrize(
    ("writes", "says"),
    [
        ([], "1 to 1000"),
        ([put(str(n)) for n in range(LIMITS.writes + 1)], "1 to 1000"),
        ([put("a"), put("a")], "at most once"),
        ([put("a", b'{"n":"' + b"x" * LIMITS.value_bytes + b'"}')], "262144 bytes"),
        ([put("k" * (LIMITS.key_bytes + 1))], "255 bytes"),
        ([put("a", ttl=0.5)], "at least 1 s"),
        ([put("a", ttl=math.nan)], "at least 1 s"),
        ([put("a", b"[]")], "not a JSON object"),
        ([put("a", b'{"n":1')], "not a JSON object"),
        ([put("a", b'{"n":"\xff"}')], "not a JSON object"),
        ([put("a", b'{"n":' + b"[" * 99999 + b"]" * 99999 + b"}")], "not a JSON object"),
        ([Write(table="thing", key=(), value=b"{}")], "one or more parts"),
        ([Write(table="thing", key=("a", ""), value=b"{}")], "none of them empty"),
        ([put("a", table="unknown")], "no table 'unknown'"),
        ([put("a"), put("b", table="cached")], "one transaction"),
    ],
)
async def test_what_no_backend_takes_is_refused_and_nothing_is_stored(
    store: Store, writes: list[Write], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        await store.transact(writes)

    assert await store.scan("thing") == []


async def test_guards_count_as_writes_and_cannot_stand_alone(store: Store) -> None:
    guards = [Guard(table="thing", key=(str(n),), max_revision=0) for n in range(LIMITS.writes)]
    with pytest.raises(UsageError, match="1 to 1000"):
        await store.transact([put("a")], guards=guards)
    with pytest.raises(UsageError, match="needs a write"):
        await store.transact([], guards=guards)
    await store.transact([put("a")], guards=guards[1:])


async def test_a_query_that_makes_no_sense_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="no index 'size'"):
        await store.query("thing", "size")
    with pytest.raises(UsageError, match="all text or all numbers"):
        await store.query("thing", "by_n", at_least=1, below="x")


async def test_increments_by_compare_and_set_from_many_tasks_lose_nothing(place: Place) -> None:
    async def increment(store: Store, times: int) -> None:
        done = 0
        while done < times:
            found = await store.get("thing", ("n",), level="session")
            value = int(found.value[5:-1]) if found else 0
            expect = found.revision if found else 0
            try:
                await store.transact([put("n", b'{"n":%d}' % (value + 1), expect=expect)])
                done += 1
            except ConflictError:
                continue

    async with place.open() as one, place.open() as two:
        async with anyio.create_task_group() as tasks:
            for store in (one, one, one, two, two, two):
                tasks.start_soon(increment, store, 20)
        found = await one.get("thing", ("n",), level="linearizable")

    assert found is not None
    assert found.value == b'{"n":120}'


async def test_a_watch_tells_what_is_there_and_then_what_changes(store: Store) -> None:
    await store.transact([put("p/1"), put("p/2"), put("q/1")])
    await store.transact([Write(table="thing", key=("p", "1"), value=DELETE)])

    async with store.watch("thing", ("p",)) as changes:
        first = await anext(changes)
        assert isinstance(first, Record)
        assert first.key == ("p", "2")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.transact, [put("q/2"), put("p/3")])
            with anyio.fail_after(10):
                second = await anext(changes)
        assert isinstance(second, Record)
        assert second.key == ("p", "3")

        await store.transact([Write(table="thing", key=("p", "2"), value=DELETE)])
        with anyio.fail_after(10):
            assert await anext(changes) == ("p", "2")


async def test_a_watch_goes_on_after_a_revision_and_sees_what_others_write(place: Place) -> None:
    async with place.open() as one, place.open() as two:
        await one.transact([put("p/1"), put("p/2")])
        seen = await one.transact([put("p/3")])
        await two.transact([Write(table="thing", key=("p", "1"), value=DELETE)])
        async with one.watch("thing", ("p",), after=seen) as changes:
            assert await anext(changes) == ("p", "1")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(two.transact, [put("p/4")])
                with anyio.fail_after(10):
                    record = await anext(changes)
    assert isinstance(record, Record)
    assert record.key == ("p", "4")


async def test_a_watch_tells_each_of_many_records_of_one_transaction(store: Store) -> None:
    await store.transact([put(f"p/{n:03}") for n in range(300)])

    async with store.watch("thing", ("p",)) as changes:
        found = [await anext(changes) for _ in range(300)]

    assert keys(found) == [f"p/{n:03}" for n in range(300)]


async def test_a_watch_passes_by_many_deletions_without_waiting(store: Store) -> None:
    names = [("p", str(n)) for n in range(100)]
    await store.transact([Write(table="thing", key=key, value=b"{}") for key in names])
    await store.transact([Write(table="thing", key=key, value=DELETE) for key in names])
    await store.transact([put("p/last")])

    async with store.watch("thing", ("p",)) as changes:
        with anyio.fail_after(10):
            record = await anext(changes)

    assert isinstance(record, Record)
    assert record.key == ("p", "last")


async def test_what_is_published_reaches_those_who_subscribed(place: Place) -> None:
    async with place.open() as one, place.open() as two:
        await one.publish("node.a.up", b"before")
        async with one.subscribe("node.*.up") as ups, two.subscribe("node.>") as all_of_them:
            await two.publish("node.b.down", b"1")
            await two.publish("node.b.up", b"2")
            with anyio.fail_after(10):
                assert await anext(ups) == Message(subject="node.b.up", value=b"2")
                assert [(await anext(all_of_them)).value for _ in range(2)] == [b"1", b"2"]


async def test_a_slow_subscriber_is_told_that_it_missed_something(store: Store) -> None:
    async with store.subscribe("s.>") as messages:
        for n in range(1100):
            await store.publish("s.x", str(n).encode())
        with anyio.fail_after(10):
            first = await anext(messages)
            second = await anext(messages)

    assert first.missed >= int(first.value) > 0
    assert second.missed == 0
    assert int(second.value) == int(first.value) + 1


@pytest.mark.parametrize("subject", ["", "a..b", "a b", "a.*", "a.>", ".a", "x" * 256])
async def test_a_subject_that_cannot_be_sent_is_refused(store: Store, subject: str) -> None:
    with pytest.raises(UsageError, match="subject"):
        await store.publish(subject, b"")


@pytest.mark.parametrize("pattern", ["", "a.>.b", "a..b", "a b", "a*"])
async def test_a_pattern_that_means_nothing_is_refused(store: Store, pattern: str) -> None:
    with pytest.raises(UsageError, match="pattern"):
        store.subscribe(pattern)


async def test_a_lease_has_one_holder_until_its_time_is_over(store: Store, time: Time) -> None:
    lease = await store.leases.acquire("role", "leader", owner="a", ttl=10)
    assert lease is not None
    assert await store.leases.acquire("role", "leader", owner="b", ttl=10) is None
    assert await store.leases.holder("role", "leader") == lease

    await time.after(9)
    assert await store.leases.renew(lease)
    await time.after(9)
    assert await store.leases.acquire("role", "leader", owner="b", ttl=10) is None
    await time.after(1)
    assert await store.leases.holder("role", "leader") is None
    assert not await store.leases.renew(lease)

    other = await store.leases.acquire("role", "leader", owner="b", ttl=10)
    assert other is not None
    assert other.token > lease.token
    assert not await store.leases.release(lease)
    assert not await store.leases.renew(lease)
    assert await store.leases.holder("role", "leader") == other


async def test_the_holder_of_a_lease_gets_it_again_with_its_token(store: Store) -> None:
    lease = await store.leases.acquire("role", "leader", owner="a", ttl=10)
    again = await store.leases.acquire("role", "leader", owner="a", ttl=20)

    assert lease is not None
    assert again is not None
    assert again.token == lease.token
    assert again.ttl == 20


async def test_tokens_never_go_back_even_when_a_lease_was_released(
    place: Place, time: Time
) -> None:
    tokens = []
    for _ in range(3):
        async with place.open() as store:
            lease = await store.leases.acquire("role", "leader", owner="a", ttl=1)
            assert lease is not None
            tokens.append(lease.token)
            assert await store.leases.release(lease)
            assert not await store.leases.release(lease)
        await time.after(3600)

    assert tokens == sorted(set(tokens))


async def test_work_is_taken_in_order_and_done_once(store: Store) -> None:
    ids = [await store.queues.put("jobs", str(n).encode()) for n in range(3)]
    assert ids == sorted(set(ids))

    taken = [await store.queues.take("jobs", owner="w", ttl=10) for _ in range(4)]
    assert [item and item.value for item in taken] == [b"0", b"1", b"2", None]
    assert taken[0] is not None
    assert taken[0].delivery == 1
    assert await store.queues.ack(taken[0])
    assert not await store.queues.ack(taken[0])
    assert await store.queues.take("other", owner="w", ttl=10) is None


async def test_each_item_goes_to_one_of_many_workers(place: Place) -> None:
    done: list[bytes] = []

    async def work(store: Store, name: str) -> None:
        while item := await store.queues.take("jobs", owner=name, ttl=60):
            done.append(item.value)
            assert await store.queues.ack(item)

    async with place.open() as one, place.open() as two:
        for n in range(40):
            await one.queues.put("jobs", b"%d" % n)
        async with anyio.create_task_group() as tasks:
            for n in range(6):
                tasks.start_soon(work, one if n % 2 else two, str(n))

    assert sorted(done, key=int) == [b"%d" % n for n in range(40)]


async def test_of_many_who_ask_at_once_one_gets_the_lease(place: Place) -> None:
    got: list[str] = []

    async def ask(store: Store, owner: str) -> None:
        if await store.leases.acquire("role", "leader", owner=owner, ttl=10):
            got.append(owner)

    async with place.open() as one, place.open() as two:
        async with anyio.create_task_group() as tasks:
            for n in range(10):
                tasks.start_soon(ask, one if n % 2 else two, str(n))
        held = await two.leases.holder("role", "leader")

    assert held is not None
    assert got == [held.owner]


async def test_an_item_put_twice_with_one_key_is_one_item(store: Store) -> None:
    first = await store.queues.put("jobs", b"a", idem="k")
    assert await store.queues.put("jobs", b"b", idem="k") == first
    assert await store.queues.put("others", b"c", idem="k") != first

    item = await store.queues.take("jobs", owner="w", ttl=10)
    assert item is not None
    assert item.value == b"a"
    assert await store.queues.take("jobs", owner="w", ttl=10) is None


async def test_work_of_a_worker_that_died_is_handed_out_again(store: Store, time: Time) -> None:
    await store.queues.put("jobs", b"a")
    dead = await store.queues.take("jobs", owner="dead", ttl=10)
    assert dead is not None
    await time.after(9)
    assert await store.queues.extend(dead, ttl=10)
    await time.after(9)
    assert await store.queues.take("jobs", owner="w", ttl=10) is None
    await time.after(1)

    item = await store.queues.take("jobs", owner="w", ttl=10)
    assert item is not None
    assert item.delivery == 2
    assert item.token > dead.token
    assert not await store.queues.ack(dead)
    assert not await store.queues.nak(dead)
    assert not await store.queues.extend(dead, ttl=10)
    assert await store.queues.ack(item)


async def test_work_given_back_waits_for_its_delay(store: Store, time: Time) -> None:
    await store.queues.put("jobs", b"a")
    item = await store.queues.take("jobs", owner="w", ttl=10)
    assert item is not None
    assert await store.queues.nak(item, delay=30)
    assert not await store.queues.ack(item)
    await time.after(29)
    assert await store.queues.take("jobs", owner="w", ttl=10) is None
    await time.after(1)
    assert await store.queues.take("jobs", owner="w", ttl=10) is not None


@pytest.mark.parametrize("gives_back", [True, False])
async def test_after_five_deliveries_an_item_is_a_dead_letter(
    store: Store, time: Time, gives_back: bool
) -> None:
    await store.queues.put("jobs", b"poison")
    for delivery in range(1, LIMITS.deliveries + 1):
        item = await store.queues.take("jobs", owner="w", ttl=10)
        assert item is not None
        assert item.delivery == delivery
        assert await store.queues.dead_letters("jobs") == []
        if gives_back:
            assert await store.queues.nak(item)
        else:
            await time.after(10)

    assert await store.queues.take("jobs", owner="w", ttl=10) is None
    (dead,) = await store.queues.dead_letters("jobs")
    assert dead.value == b"poison"
    assert await store.queues.ack(dead)
    assert await store.queues.dead_letters("jobs") == []


async def test_a_counter_adds_up_what_many_add(place: Place) -> None:
    async with place.open() as one, place.open() as two:
        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon((one if n % 2 else two).counters.add, "n", n)
        assert await one.counters.get("n") == sum(range(20))
        assert await one.counters.add("n", -100) == 90
        assert await two.counters.get("other") == 0
        with pytest.raises(UsageError, match="64 bits"):
            await one.counters.add("n", 2**63 - 1)
        assert await one.counters.get("n") == 90


async def test_a_log_is_read_in_the_order_of_its_appends(store: Store, time: Time) -> None:
    await store.logs.append("audit", [b"a", b"b"])
    await store.logs.append("other", [b"x"])
    await time.after(1)
    last = await store.logs.append("audit", [b"c"])

    found = await store.logs.scan("audit")
    assert [record.value for record in found] == [b"a", b"b", b"c"]
    assert [record.sequence for record in found] == sorted({r.sequence for r in found})
    assert found[-1].sequence == last
    assert abs((found[-1].at - time.now()).total_seconds()) <= time.slack
    assert (await store.logs.scan("audit", after=found[0].sequence, limit=1)) == found[1:2]
    with pytest.raises(UsageError, match="1 to 1000"):
        await store.logs.append("audit", [])


async def test_the_store_says_where_and_what_it_is(store: Store) -> None:
    sequence = await store.transact([put("a")])

    info = await store.info()

    assert {"backend", "place", "bytes", "schema", "sequence"} <= set(info)
    assert int(info["sequence"]) == sequence


async def test_the_stores_time_is_the_one_by_which_records_vanish(store: Store, time: Time) -> None:
    before = await store.now()
    await store.transact([put("a", ttl=1.0)])
    found = await store.get("thing", ("a",))
    after = await store.now()

    assert found is not None
    assert found.expires is not None
    assert before <= found.expires - timedelta(seconds=1) <= after
    assert abs((before - time.now()).total_seconds()) <= time.slack
    assert before.utcoffset() == timedelta(0)

    await time.after(1.5)
    assert await store.now() - before >= timedelta(seconds=1.5)
