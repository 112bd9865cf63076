from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from aiex.assistant.sessions.turns import TurnDesk
from aiex.cluster import Store
from aiex.context import Sessions, Writers
from aiex.core import (
    Entropy,
    Entry,
    Message,
    NotFoundError,
    Principal,
    RefusedError,
    Request,
    TextPart,
    TurnArguments,
    UsageError,
    WantedSession,
)
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

ANN = Principal(user="ann", interface="http")
BEA = Principal(user="bea", interface="http", roles=("admin",))


def says(role: Any, text: str) -> Entry:
    return Entry(message=Message(role=role, parts=(TextPart(text=text),)))


class Desk:
    """What keeps sessions, and one who asks it."""

    def __init__(self, store: Store, clock: FakeClock, folder: Path) -> None:
        self.sessions = Sessions(store, clock=clock, writers=Writers(folder, name="proc_a"))
        self._desk = TurnDesk(self.sessions, clock=clock, entropy=Entropy())

    async def ask(self, who: Principal, **given: Any) -> Any:
        request = Request(id="req_1", verb="turn", arguments=msgspec.Raw(b"{}"), principal=who)
        return await self._desk(TurnArguments(**given), request)

    async def begin(self, who: Principal = ANN, writer: str = "proc_a.req_1", **wanted: Any) -> Any:
        return await self.ask(
            who,
            action="begin",
            writer=writer,
            wanted=WantedSession(**wanted),
            title="Why?",
            entries=(says("user", "Why?"),),
        )

    async def told(self, begun: Any, action: str, who: Principal = ANN, **given: Any) -> Any:
        known = {
            "writer": "proc_a.req_1",
            "session": begun.session.id,
            "turn": begun.turn,
            "revision": begun.revision,
            "token": begun.token,
            "first": 1,
        }
        return await self.ask(who, action=action, **known | given)


@pytest.fixture
def desk(store: Store, clock: FakeClock, tmp_path: Path) -> Desk:
    return Desk(store, clock, tmp_path / "writers")


async def test_a_turn_is_begun_written_and_ended(desk: Desk) -> None:
    begun = await desk.begin(project="p", root="/p")
    await desk.told(begun, "write", entries=(says("assistant", "Be"),))
    assert (await desk.told(begun, "renew")).is_held
    ended = await desk.told(begun, "end", entries=(says("assistant", "Because."),), is_done=True)

    assert ended.session.turns == 1
    read = await desk.ask(ANN, action="read", wanted=WantedSession(latest=True, project="p"))
    assert read.session == ended.session
    assert read.past[0].entries == (says("user", "Why?"), says("assistant", "Because."))


@pytest.mark.parametrize("action", ["write", "renew", "end"])
async def test_nobody_else_writes_a_turn(desk: Desk, action: str) -> None:
    begun = await desk.begin()

    with pytest.raises(NotFoundError):
        await desk.told(begun, action, BEA, entries=(says("assistant", "Mine."),))

    (turn,) = await desk.sessions.turns(begun.session.id)
    assert turn.state == "open"
    assert len(turn.entries) == 1


@pytest.mark.parametrize("action", ["read", "begin"])
async def test_a_session_of_another_is_not_there(desk: Desk, action: str) -> None:
    begun = await desk.begin()

    with pytest.raises(NotFoundError):
        await desk.ask(
            BEA,
            action=action,
            wanted=WantedSession(id=begun.session.id),
            entries=(says("user", "Mine?"),),
        )


async def test_who_may_read_may_copy_and_not_write(desk: Desk) -> None:
    begun = await desk.begin(project="p", root="/home/ann/p")
    await desk.told(begun, "end", entries=(says("assistant", "So."),), is_done=True)
    await desk.sessions.change(begun.session.id, lambda one: replace(one, shared_with=("bea",)))

    with pytest.raises(RefusedError, match="belongs to ann"):
        await desk.begin(BEA, id=begun.session.id)
    copy = await desk.begin(BEA, id=begun.session.id, fork=True, project="q", root="/home/bea/q")

    assert (copy.session.owner, copy.session.root, copy.turn) == ("bea", "/home/bea/q", 2)
    assert copy.session.shared_with == ()
    assert copy.session.usage.calls == 0
    assert len(copy.past) == 1


@pytest.mark.parametrize("role", ["system", "developer", "user"])
async def test_nobody_speaks_for_the_system(desk: Desk, role: str) -> None:
    begun = await desk.begin()

    with pytest.raises(UsageError, match=f"of the role {role}"):
        await desk.told(begun, "write", entries=(says(role, "Obey."),))


async def test_a_turn_begins_with_what_a_user_says(desk: Desk) -> None:
    for entries in ((), (says("assistant", "Hi."),), (says("user", "a"), says("user", "b"))):
        with pytest.raises(UsageError):
            await desk.ask(ANN, action="begin", writer="w", entries=entries)


async def test_a_copy_of_an_open_turn_is_broken_off(desk: Desk) -> None:
    begun = await desk.begin()
    await desk.told(begun, "write", entries=(says("assistant", "Half"),))

    copy = await desk.begin(writer="proc_a.req_2", id=begun.session.id, fork=True)

    assert [turn.state for turn in copy.past] == ["broken"]
    assert (await desk.sessions.turns(begun.session.id))[0].state == "open"


async def test_the_model_that_is_named_stays(desk: Desk) -> None:
    begun = await desk.begin(model="openai:a")
    await desk.told(begun, "end", is_done=True)

    again = await desk.begin(writer="proc_a.req_2", id=begun.session.id)

    assert again.session.model == "openai:a"


async def test_several_sessions_cannot_be_meant(desk: Desk, clock: FakeClock) -> None:
    for number in range(2):
        await desk.begin(writer=f"proc_a.req_{number}")
    del clock

    with pytest.raises(UsageError, match="several sessions begin"):
        await desk.ask(ANN, action="read", wanted=WantedSession(id="ses_"))
    with pytest.raises(UsageError, match="4 or more characters"):
        await desk.ask(ANN, action="read", wanted=WantedSession(id="s"))
    with pytest.raises(UsageError, match="a copy of which session"):
        await desk.ask(ANN, action="read", wanted=WantedSession(fork=True))
