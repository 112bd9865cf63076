from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiex.assistant.models import Chosen
from aiex.llm import Endpoint


def chosen(*windows: int | None) -> Chosen:
    return Chosen(
        endpoints=tuple(
            Endpoint(provider="p", model=f"m{n}", context_tokens=window)
            for n, window in enumerate(windows)
        )
    )


@given(
    windows=st.lists(st.integers(256, 10**6), min_size=1, max_size=3), wish=st.integers(1, 10**5)
)
def test_prompt_and_reply_fit_into_the_smallest_window(windows: list[int], wish: int) -> None:
    who = chosen(*windows)
    reply = who.longest_reply(wish)
    assert 1 <= reply <= wish
    assert who.room(wish) + reply <= min(windows)
    assert reply == wish or reply == min(windows) // 2


def test_a_window_that_nobody_knows_is_taken_to_be_small() -> None:
    assert chosen(None).room(1200) == chosen(8192).room(1200) == int((8192 - 1200) / 1.1)
