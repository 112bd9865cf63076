from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec
import pytest

from aiex.assistant.budget import BudgetVerb, Spent
from aiex.cluster import Store
from aiex.context import BlobFiles, Budget, Budgets, Interaction, Interactions
from aiex.core import (
    AuditLine,
    BudgetArguments,
    BudgetChanged,
    BudgetResult,
    NotFoundError,
    Principal,
    PublishedBody,
    RefusedError,
    RunOptions,
    Usage,
    UsageError,
)
from aiex.sandbox import AuditLog, last_records
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

ADMIN = Principal(user="eve", interface="cli", roles=("admin",))
ANN = Principal(user="ann", interface="http", team="core", roles=("developer",))


class Ledger:
    """What was spent, as a test says."""

    def __init__(self) -> None:
        self.by_id: dict[str, Sequence[Spent]] = {}

    async def spent(self, budgets: Sequence[Budget]) -> Mapping[str, Sequence[Spent]]:
        return self.by_id


class Office:
    """The verb over a real store and a real audit log, and what it told."""

    def __init__(
        self,
        store: Store,
        interactions: Interactions,
        clock: FakeClock,
        folder: Path,
        told: Callable[..., Any],
        audit: AuditLog,
    ) -> None:
        self.budgets = Budgets(store)
        self.ledger = Ledger()
        self.interactions = interactions
        self.clock = clock
        self.audit = audit
        self.folder = folder
        self.said: list[PublishedBody] = []
        self._told = told
        self.verb = BudgetVerb(
            self.budgets,
            self.ledger,
            interactions,
            clock=clock,
            audit=lambda: self.audit,
            announce=self.said.append,
        )

    async def ask(self, who: Principal, *, dry: bool = False, **given: Any) -> BudgetResult:
        run = self._told(self.folder)
        run.request = msgspec.structs.replace(
            run.request, principal=who, options=RunOptions(dry_run=dry)
        )
        finished = await self.verb.run(BudgetArguments(**given), run)
        return msgspec.json.decode(finished.data, type=BudgetResult)

    async def records(self) -> list[AuditLine]:
        return list(await anyio.to_thread.run_sync(last_records, self.folder / "audit", 100))


@pytest.fixture
def audit(clock: FakeClock, tmp_path: Path) -> Iterator[AuditLog]:
    log = AuditLog(tmp_path / "audit", now=clock.now)
    yield log
    log.close()


@pytest.fixture
async def office(
    store: Store, clock: FakeClock, tmp_path: Path, told: Any, audit: AuditLog
) -> AsyncIterator[Office]:
    blobs = BlobFiles(tmp_path / "blobs")
    async with Interactions(store, spill=tmp_path / "spill", blobs=blobs) as interactions:
        yield Office(store, interactions, clock, tmp_path, told, audit)


async def test_a_budget_is_set_changed_shown_and_removed_and_all_of_it_is_told(
    office: Office,
) -> None:
    await office.ask(ADMIN, action="set", scope="team:core", amount=5_000_000)
    await office.ask(ADMIN, action="set", scope="team:core", amount=7_000_000)
    await office.ask(ADMIN, action="set", scope="team:core", amount=1_000_000, per="day")
    shown = (await office.ask(ADMIN, action="show")).budgets
    gone = await office.ask(ADMIN, action="set", scope="team:core", per="month")

    assert [(v.subject, v.per, v.amount, v.spent, v.left, v.set_by) for v in shown] == [
        ("team:core", "day", 1_000_000, 0, 1_000_000, "eve"),
        ("team:core", "month", 7_000_000, 0, 7_000_000, "eve"),
    ]
    assert gone.removed
    assert [one.per for one in await office.budgets.list()] == ["day"]
    assert office.said[-1] == BudgetChanged(
        scope="team:core", state="removed", amount_usd_micros=0, per="month", by="eve"
    )
    assert len(office.said) == 4
    assert [(r.op, r.kind) for r in await office.records()] == [
        ("budget_set", "intent"),
        ("budget_set", "op"),
    ] * 4


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"scope": "teams:core", "amount": 1}, UsageError),
        ({"scope": "user:", "amount": 1}, UsageError),
        ({"scope": "all", "amount": -1}, UsageError),
        ({"scope": "all", "amount": 10**18}, UsageError),
        ({"scope": "user:nobody"}, NotFoundError),
    ],
)
async def test_a_budget_that_cannot_be_is_refused_and_changes_nothing(
    office: Office, given: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await office.ask(ADMIN, action="set", **given)

    assert not await office.budgets.list()
    assert not office.said


async def test_a_dry_run_sets_nothing(office: Office) -> None:
    result = await office.ask(ADMIN, dry=True, action="set", amount=5)

    assert result.would
    assert not await office.budgets.list()
    assert not office.said


async def test_only_an_admin_sets_budgets_and_who_tries_is_written_down(office: Office) -> None:
    with pytest.raises(RefusedError):
        await office.ask(ANN, action="set", scope="user:ann", amount=10**9)

    assert not await office.budgets.list()
    (record,) = await office.records()
    assert (record.decision, record.actor.user) == ("deny", "ann")


async def test_who_is_no_admin_sees_their_own_and_nobody_elses(office: Office) -> None:
    for scope in ("all", "user:*", "user:bob", "team:core", "team:web", "provider:openai"):
        await office.ask(ADMIN, action="set", scope=scope, amount=100)
    office.ledger.by_id = {
        "budget/month/user:*": [
            Spent(subject="user:ann", spent=30, leased=0, left=70),
            Spent(subject="user:bob", spent=99, leased=0, left=1),
        ],
    }

    mine = (await office.ask(ANN, action="show")).budgets
    cat = Principal(user="cat", interface="http", roles=("viewer",))
    cats = (await office.ask(cat, action="show")).budgets
    every = (await office.ask(ADMIN, action="show")).budgets

    assert {(v.subject, v.left) for v in mine} == {("team:core", 100), ("user:ann", 70)}
    assert {(v.subject, v.left) for v in cats} == {("user:cat", 100)}
    assert len(every) == 7


def called(number: int, at: datetime, **more: Any) -> Interaction:
    given = {
        "user": "ann",
        "provider": "openai",
        "model": "gpt-5",
        "outcome": "ok",
        "usage": Usage(input_tokens=10, output_tokens=5),
        "cost_usd_micros": 100,
        **more,
    }
    return Interaction(
        id=f"call-{number}",
        request_id="req",
        at=at,
        interface="http",
        verb="complete",
        attempt=1,
        estimated_input_tokens=10,
        duration_ms=5,
        **given,
    )


async def test_a_report_sums_this_month_by_what_is_asked_and_only_ones_own(
    office: Office,
) -> None:
    now = office.clock.now()
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for one in (
        called(0, first - timedelta(seconds=1)),
        called(1, first),
        called(2, first, user="bob", team="core", key_id="k1", cost_usd_micros=None),
        called(3, first, provider="ollama", outcome="timeout", usage=None),
    ):
        await office.interactions.record(one)
    if now == first:
        office.clock.advance(1)

    every = await office.ask(ADMIN, action="report", by="user")
    keys = await office.ask(ADMIN, action="report", by="key")
    mine = await office.ask(ANN, action="report", by="provider")
    longer = await office.ask(ADMIN, action="report", by="day", since=first - timedelta(days=1))

    assert [(t.key, t.calls, t.failed, t.cost, t.unpriced) for t in every.totals] == [
        ("ann", 2, 1, 200, 0),
        ("bob", 1, 0, 0, 1),
    ]
    assert every.sum is not None
    assert (every.sum.calls, every.sum.input_tokens, every.sum.cost) == (3, 20, 200)
    assert [(t.key, t.calls) for t in keys.totals] == [("", 2), ("k1", 1)]
    assert {t.key for t in mine.totals} == {"openai", "ollama"}
    assert mine.sum is not None
    assert mine.sum.calls == 2
    assert [t.calls for t in longer.totals] == [1, 3]
    with pytest.raises(UsageError):
        await office.ask(ADMIN, action="report", since=now, until=now - timedelta(days=1))


@pytest.mark.parametrize(
    ("per", "now", "ends"),
    [
        ("day", datetime(2026, 12, 31, 23, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        ("week", datetime(2026, 11, 29, 12, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC)),
        ("week", datetime(2026, 11, 30, tzinfo=UTC), datetime(2026, 12, 7, tzinfo=UTC)),
        ("month", datetime(2028, 2, 29, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC)),
        ("month", datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
async def test_a_period_ends_where_the_calendar_says(
    per: Any, now: datetime, ends: datetime
) -> None:
    budget = Budget(scope="all", per=per, amount=1, set_at=now, set_by="eve")

    assert budget.ends(now) == ends
