from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from msgspec.structs import replace

from aiex.cluster import Store
from aiex.context import LEASE_SECONDS, BegunTurn, Sessions, Writers
from aiex.core import (
    ConflictError,
    Entry,
    Message,
    NotFoundError,
    Session,
    TextPart,
    Turn,
    UsageTotal,
)
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

USED = UsageTotal(calls=1, input_tokens=7, output_tokens=3, cost_usd_micros=20, model="m")


def says(role: Any, text: str, usage: UsageTotal | None = None) -> Entry:
    return Entry(message=Message(role=role, parts=(TextPart(text=text),)), usage=usage)


YES = says("assistant", "Yes.", USED)


@pytest.fixture
def sessions(store: Store, clock: FakeClock, tmp_path: Path) -> Sessions:
    return Sessions(store, clock=clock, writers=Writers(tmp_path / "writers", name="proc_a"))


@pytest.fixture
def others(store: Store, clock: FakeClock, tmp_path: Path) -> Sessions:
    """The same sessions, as another process sees them."""
    return Sessions(store, clock=clock, writers=Writers(tmp_path / "writers", name="proc_b"))


def new(clock: FakeClock, **more: Any) -> Session:
    now = clock.now()
    told = {"id": "ses_1", "owner": "ada", "created": now, "updated": now, **more}
    return Session(**told)


def asks(clock: FakeClock, text: str, *, writer: str = "proc_a.req_1") -> Turn:
    return Turn(
        number=0,
        state="open",
        request_id=writer.partition(".")[2],
        started=clock.now(),
        writer=writer,
        entries=(says("user", text),),
    )


def done(begun: BegunTurn, clock: FakeClock, **more: Any) -> Turn:
    told = {"state": "done", "usage": USED, "model": "openai:m", **more}
    return Turn(number=begun.number, request_id="", started=clock.now(), **told)


async def told(sessions: Sessions, clock: FakeClock, session: Session, text: str) -> Session:
    begun, _, _ = await sessions.begin(session, asks(clock, text))
    return await sessions.end(begun, done(begun, clock), first=1, entries=[YES])


async def test_a_session_reads_as_it_was_written(sessions: Sessions, clock: FakeClock) -> None:
    first = await told(sessions, clock, new(clock), "One?")
    second = await told(sessions, clock, first, "Two?")

    turns = await sessions.turns("ses_1")
    assert [turn.state for turn in turns] == ["done", "done"]
    assert [turn.number for turn in turns] == [1, 2]
    texts = [
        p.text for t in turns for e in t.entries for p in e.message.parts if type(p) is TextPart
    ]
    assert texts == ["One?", "Yes.", "Two?", "Yes."]
    assert second.turns == 2
    assert second.usage.calls == 2
    assert second.usage.cost_usd_micros == 40
    assert second.answered_by == "openai:m"
    assert await sessions.get("ses_1") == second


async def test_a_message_too_large_for_a_record_comes_back_whole(
    sessions: Sessions, clock: FakeClock
) -> None:
    text = "é" * 400_000
    begun, _, _ = await sessions.begin(new(clock), asks(clock, "Much?"))
    await sessions.write(begun, 1, [says("assistant", "short")])
    await sessions.write(begun, 1, [says("assistant", text)])

    (turn,) = await sessions.turns("ses_1")

    assert turn.entries[1] == says("assistant", text)
    assert len(turn.entries) == 2


async def test_a_second_writer_is_refused_while_a_turn_is_open(
    sessions: Sessions, others: Sessions, clock: FakeClock
) -> None:
    begun, session, _ = await sessions.begin(new(clock), asks(clock, "One?"))

    with pytest.raises(ConflictError, match="being answered by another process") as refused:
        await others.begin(session, asks(clock, "Two?", writer="proc_b.req_2"))

    assert "--fork" in (refused.value.hint or "")
    await sessions.end(begun, done(begun, clock), first=1, entries=[YES])
    after, _, past = await others.begin(session, asks(clock, "Two?", writer="proc_b.req_2"))
    assert after.number == 2
    assert len(past) == 1


async def test_two_turns_of_one_process_are_two_writers(
    sessions: Sessions, clock: FakeClock
) -> None:
    _, session, _ = await sessions.begin(new(clock), asks(clock, "One?"))

    with pytest.raises(ConflictError):
        await sessions.begin(session, asks(clock, "Two?", writer="proc_a.req_2"))


async def test_who_has_not_seen_the_last_turn_is_told_before_going_on(
    sessions: Sessions, others: Sessions, clock: FakeClock
) -> None:
    seen = await told(sessions, clock, new(clock), "One?")
    await told(others, clock, seen, "Two?")

    with pytest.raises(ConflictError, match="has 2 turns by now, not 1"):
        await sessions.begin(seen, asks(clock, "Three?"), after=1)

    assert len(await sessions.turns("ses_1")) == 2
    begun, _, _ = await sessions.begin(seen, asks(clock, "Three?"), after=2)
    assert begun.number == 3


async def test_a_turn_whose_writer_is_silent_is_broken_off_and_keeps_its_text(
    sessions: Sessions, others: Sessions, clock: FakeClock
) -> None:
    begun, session, _ = await sessions.begin(new(clock), asks(clock, "One?"))
    await sessions.write(begun, 1, [says("assistant", "Half of", USED)])
    clock.advance(LEASE_SECONDS + 1)

    (shown,) = await others.turns("ses_1")
    assert (shown.state, shown.note) == ("broken", "the process that answered was ended")

    _, after, past = await others.begin(session, asks(clock, "Two?", writer="proc_b.req_2"))
    assert [turn.state for turn in past] == ["broken"]
    assert past[0].entries[1].message.parts == (TextPart(text="Half of"),)
    assert after.usage.cost_usd_micros == 20, "what it had used by then counts"
    stored = await others.turns("ses_1")
    assert [turn.state for turn in stored] == ["broken", "open"]


async def test_a_writer_that_was_taken_for_dead_writes_nothing_any_more(
    sessions: Sessions, others: Sessions, clock: FakeClock
) -> None:
    begun, session, _ = await sessions.begin(new(clock), asks(clock, "One?"))
    await sessions.write(begun, 1, [says("assistant", "Half of")])
    clock.advance(LEASE_SECONDS + 1)
    await others.begin(session, asks(clock, "Two?", writer="proc_b.req_2"))

    with pytest.raises(ConflictError, match="taken over"):
        await sessions.write(begun, 1, [says("assistant", "Half of what was said")])
    with pytest.raises(ConflictError, match="taken over"):
        await sessions.end(begun, done(begun, clock), first=1, entries=[])
    assert not await sessions.renew(begun)

    turn, _ = await sessions.turns("ses_1")
    assert turn.entries[1].message.parts == (TextPart(text="Half of"),)


async def test_a_writer_that_slept_goes_on_if_nobody_came_in_between(
    sessions: Sessions, clock: FakeClock
) -> None:
    begun, _, _ = await sessions.begin(new(clock), asks(clock, "One?"))
    clock.advance(LEASE_SECONDS * 10)

    assert await sessions.renew(begun)
    ended = await sessions.end(begun, done(begun, clock), first=1, entries=[YES])

    assert ended.turns == 1


async def test_a_process_of_this_machine_that_died_is_not_waited_for(
    others: Sessions, store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    program = (
        "import sys; from pathlib import Path; from aiex.context import Writers\n"
        "Writers(Path(sys.argv[1]), name='proc_dead').live()\n"
        "print('holds', flush=True); sys.stdin.read()"
    )
    child = await anyio.to_thread.run_sync(
        lambda: subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "writers")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    )
    assert child.stdout is not None
    assert child.stdin is not None
    await anyio.to_thread.run_sync(child.stdout.readline)
    # What it has begun, it has begun under its own name.
    own = Writers(tmp_path / "elsewhere", name="proc_x")
    its = Sessions(store, clock=clock, writers=own)
    begun, session, _ = await its.begin(new(clock), asks(clock, "One?", writer="proc_dead.req_1"))
    await its.write(begun, 1, [says("assistant", "Half of")])
    with pytest.raises(ConflictError):
        await others.begin(session, asks(clock, "Two?", writer="proc_b.req_2"))

    os.kill(child.pid, signal.SIGKILL)
    await anyio.to_thread.run_sync(child.wait)
    child.stdin.close()
    child.stdout.close()
    await anyio.to_thread.run_sync(own.close)

    _, _, past = await others.begin(session, asks(clock, "Two?", writer="proc_b.req_2"))
    assert past[0].state == "broken"


async def test_sharing_while_a_turn_is_open_loses_neither(
    sessions: Sessions, clock: FakeClock
) -> None:
    begun, _, _ = await sessions.begin(new(clock), asks(clock, "One?"))
    await sessions.change("ses_1", lambda one: replace(one, shared_with=("ben",)))

    ended = await sessions.end(begun, done(begun, clock), first=1, entries=[YES])

    assert ended.shared_with == ("ben",)
    assert ended.turns == 1
    assert ended.usage == USED


async def test_a_deleted_session_leaves_nothing(
    sessions: Sessions, store: Store, clock: FakeClock
) -> None:
    session = await told(sessions, clock, new(clock), "One?" * 100_000)
    await told(sessions, clock, session, "Two?")

    await sessions.delete("ses_1", "proc_a.req_9")

    assert await sessions.get("ses_1") is None
    assert not await store.scan("ai_context_turn")
    with pytest.raises(NotFoundError):
        await sessions.begin(session, asks(clock, "Three?"))
    assert await store.leases.holder("session", "ses_1") is None


async def test_a_session_is_not_deleted_under_its_writer(
    sessions: Sessions, clock: FakeClock
) -> None:
    await sessions.begin(new(clock), asks(clock, "One?"))

    with pytest.raises(ConflictError):
        await sessions.delete("ses_1", "proc_b.req_9")
    with pytest.raises(ConflictError):
        await sessions.alone("ses_1", "proc_b.req_9", lambda one: replace(one, owner="ben"))

    assert await sessions.get("ses_1") is not None


async def test_the_last_used_session_is_listed_first(sessions: Sessions, clock: FakeClock) -> None:
    for name in ("ses_1", "ses_2", "ses_3"):
        await told(sessions, clock, new(clock, id=name), "One?")
        clock.advance(1)
    first = await sessions.get("ses_1")
    assert first is not None
    await told(sessions, clock, first, "Again?")

    assert [s.id for s in await sessions.list(lambda _: True)] == ["ses_1", "ses_3", "ses_2"]
    assert [s.id for s in await sessions.list(lambda s: s.id != "ses_1", limit=1)] == ["ses_3"]


async def test_a_beginning_of_an_id_finds_all_that_have_it(
    sessions: Sessions, clock: FakeClock
) -> None:
    for name in ("ses_aab", "ses_aac", "ses_b"):
        await told(sessions, clock, new(clock, id=name), "One?")

    assert [s.id for s in await sessions.beginning("ses_aa")] == ["ses_aab", "ses_aac"]
    assert [s.id for s in await sessions.beginning("ses_b")] == ["ses_b"]
    assert not await sessions.beginning("ses_c")
    assert not await sessions.beginning("")


async def test_a_copy_is_there_once_all_of_it_is(sessions: Sessions, clock: FakeClock) -> None:
    session = await told(sessions, clock, new(clock), "One?")
    turns = await sessions.turns("ses_1")

    copy = await sessions.add(replace(session, id="ses_2", revision=0), turns)

    assert await sessions.get("ses_2") == copy
    assert await sessions.turns("ses_2") == turns


async def test_an_end_counts_once(sessions: Sessions, clock: FakeClock) -> None:
    begun, _, _ = await sessions.begin(new(clock), asks(clock, "One?"))
    await sessions.end(begun, done(begun, clock), first=1, entries=[YES])

    with pytest.raises(ConflictError):
        await sessions.end(begun, done(begun, clock), first=1, entries=[])

    session = await sessions.get("ses_1")
    assert session is not None
    assert session.usage == USED


async def test_the_lease_is_let_go_when_a_turn_cannot_begin(
    sessions: Sessions, store: Store, clock: FakeClock
) -> None:
    session = replace(new(clock), revision=7)

    with pytest.raises(NotFoundError):
        await sessions.begin(session, asks(clock, "One?"))

    assert await store.leases.holder("session", "ses_1") is None
    assert clock.now() + timedelta(0) == session.created
