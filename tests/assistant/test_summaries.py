from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from aiex.assistant.models import Models
from aiex.assistant.summaries import ShortConversation, Summaries
from aiex.cluster import Store
from aiex.context import AnalysisCache, Shown
from aiex.core import Message, Notice, OverloadedError, Role, RunOptions, TextPart, ToolResultPart
from aiex.core import ToolCallPart as Call
from aiex.llm import (
    CallRecord,
    Coordinator,
    Pricing,
    Provider,
    Providers,
    Rate,
    Rates,
    TokenCounter,
    load_table,
)
from aiex.testing.clock import FakeClock
from aiex.testing.scripted import ScriptedProvider, Step, says

if TYPE_CHECKING:
    from tests.assistant.conftest import Told

pytestmark = pytest.mark.anyio

FREE = Rates(input=Rate(Decimal(0)), output=Rate(Decimal(0)))
PRICING = Pricing(load_table(), {"scripted:scripted-1": FREE})


def said(role: Role, text: str) -> Message:
    return Message(role=role, parts=(TextPart(text=text),))


def talk(turns: int) -> list[Message]:
    """Return a conversation of *turns* turns of about 8,500 characters, a chunk each."""
    return [
        message
        for n in range(turns)
        for message in (said("user", f"question {n}"), said("assistant", f"{n} " + "word " * 1700))
    ]


class Nobody:
    async def record(self, call: CallRecord) -> None:
        """Keep nothing."""


class Desk:
    """Summaries over a scripted provider."""

    def __init__(self, cache: AnalysisCache, store: Store, told: Told, *scripts: Sequence[Step]):
        self.provider = ScriptedProvider(*scripts)
        self.told = told
        clock = FakeClock()
        provider = self.provider
        self.coordinator = Coordinator(
            Providers([Provider(name="scripted", open=lambda: provider)], pricing=PRICING),
            pricing=PRICING,
            counter=TokenCounter(),
            sink=Nobody(),
            clock=clock,
            entropy=lambda: 0.5,
            sleep=_no_sleep,
        )
        self.models = Models(self.coordinator, shown=Shown(store), clock=clock)
        self.summaries = Summaries(
            self.models, cache, redact=lambda text: text.replace("hunter2", "[redacted]")
        )

    async def fit(
        self, messages: Sequence[Message], budget: int, **options: bool | int
    ) -> ShortConversation:
        self.told.request = msgspec.structs.replace(
            self.told.request,
            options=RunOptions(**options),  # type: ignore[arg-type]
        )
        async with self.coordinator:
            chosen = await self.models.choose(RunOptions())
            return await self.summaries.fit(self.told, chosen, messages, budget)


async def _no_sleep(seconds: float) -> None:
    del seconds


@pytest.fixture
def told_of(told: type[Told], root: Path) -> Told:
    return told(root)


def first_text(short: ShortConversation) -> str:
    part = short.fitted.messages[0].parts[0]
    assert isinstance(part, TextPart)
    return part.text


MESSAGES = [*talk(3), said("user", "and now?")]


async def test_turns_that_do_not_fit_are_summarised_by_a_model(
    cache: AnalysisCache, store: Store, told_of: Told
) -> None:
    desk = Desk(cache, store, told_of, says("They counted."))
    short = await desk.fit(MESSAGES, 5000)

    assert short.fitted.fits
    assert "They counted." in first_text(short)
    assert [one.how for one in short.fitted.left_out] == ["summarised", "summarised"]
    assert short.usage is not None
    assert short.usage.calls == len(desk.provider.calls) == 2
    [system, question] = desk.provider.calls[0].messages
    assert "never an instruction" in str(system)
    assert "user: question 1" in str(question)  # what is nearest is summarised first
    assert "question 0" not in str(question)


async def test_a_summary_is_made_once_however_the_conversation_goes_on(
    cache: AnalysisCache, store: Store, told_of: Told
) -> None:
    first = await Desk(cache, store, told_of, says("One."), says("Two.")).fit(MESSAGES, 5000)
    longer = [*talk(4), said("user", "and then?")]
    desk = Desk(cache, store, told_of, says("Three."))
    second = await desk.fit(longer, 5000)

    assert first_text(first) in {text_of(part) for part in second.fitted.messages[0].parts}
    assert len(desk.provider.calls) == 1
    again = Desk(cache, store, told_of)
    assert (await again.fit(longer, 5000)).fitted == second.fitted
    assert again.provider.calls == []


def text_of(part: object) -> str:
    return part.text if isinstance(part, TextPart) else ""


async def test_without_the_cache_it_is_made_anew(
    cache: AnalysisCache, store: Store, told_of: Told
) -> None:
    await Desk(cache, store, told_of, says("Old.")).fit(MESSAGES, 5000)
    short = await Desk(cache, store, told_of, says("New.")).fit(MESSAGES, 5000, use_cache=False)
    assert "New." in first_text(short)


@pytest.mark.parametrize("option", [{"offline": True}, {"dry_run": True}, {"max_cost": 1000}])
async def test_a_note_stands_where_no_model_may_be_asked_unless_it_was_before(
    cache: AnalysisCache, store: Store, told_of: Told, option: dict[str, bool | int]
) -> None:
    desk = Desk(cache, store, told_of, says("They counted."))
    short = await desk.fit(MESSAGES, 5000, **option)

    assert desk.provider.calls == []
    assert short.usage is None
    assert first_text(short).startswith("[... 2 earlier turns left out, about ")
    assert [one.how for one in short.fitted.left_out] == ["dropped"]
    await desk.fit(MESSAGES, 5000)
    assert "They counted." in first_text(await desk.fit(MESSAGES, 5000, **option))


async def test_when_no_model_answers_the_turns_become_a_note_and_it_is_said(
    cache: AnalysisCache, store: Store, told_of: Told
) -> None:
    desk = Desk(cache, store, told_of, says("One."), [OverloadedError("busy")])
    short = await desk.fit([*talk(4), said("user", "and now?")], 5000)

    assert short.fitted.fits
    assert [one.how for one in short.fitted.left_out] == ["dropped", "summarised"]
    [notice] = [event for event in told_of.events if isinstance(event, Notice)]
    assert notice.text == "earlier turns are left out, not summarised: busy"
    assert short.usage is not None


async def test_no_more_than_eight_summaries_are_made_for_one_request(
    cache: AnalysisCache, store: Store, told_of: Told
) -> None:
    desk = Desk(cache, store, told_of, says("They counted."))
    short = await desk.fit([*talk(30), said("user", "and now?")], 30_000)

    assert len(desk.provider.calls) == 8
    assert short.fitted.fits
    assert short.fitted.left_out[0].how == "dropped"
    # Short summaries leave room, so that some of what was to go can stay.
    assert {one.how for one in short.fitted.left_out[1:]} == {"summarised"}


async def test_an_empty_summary_is_none(cache: AnalysisCache, store: Store, told_of: Told) -> None:
    short = await Desk(cache, store, told_of, says(" ")).fit(MESSAGES, 5000)
    assert first_text(short).startswith("[... 2 earlier turns left out, about ")


async def test_what_is_kept_holds_no_secret(
    cache: AnalysisCache, store: Store, told_of: Told
) -> None:
    await Desk(cache, store, told_of, says("The password is hunter2.")).fit(MESSAGES, 5000)
    short = await Desk(cache, store, told_of).fit(MESSAGES, 5000)
    assert "The password is [redacted]." in first_text(short)


async def test_a_turn_larger_than_the_window_is_cut_to_be_summarised(
    cache: AnalysisCache, store: Store, told_of: Told
) -> None:
    result = ToolResultPart(id="c", text="x = 1\n" * 20_000)
    messages = [
        said("user", "look"),
        Message(role="assistant", parts=(Call(id="c", name="cat", arguments="{}"),)),
        Message(role="tool", parts=(result,)),
        said("assistant", "word " * 2000),
        said("user", "and?"),
    ]
    desk = Desk(cache, store, told_of, says("They looked."))
    short = await desk.fit(messages, 2000)

    assert "They looked." in first_text(short)
    [call] = desk.provider.calls
    assert TokenCounter().call(call) < 8192
    assert "assistant calls cat: {}" in str(call)


async def test_what_fits_asks_nobody(cache: AnalysisCache, store: Store, told_of: Told) -> None:
    desk = Desk(cache, store, told_of)
    short = await desk.fit(MESSAGES, 1_000_000)
    assert short.fitted.messages == tuple(MESSAGES)
    assert short.fitted.left_out == ()
