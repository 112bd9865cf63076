from __future__ import annotations

from aiex.assistant.explain.wording import facts_in_words
from aiex.core import ExplainFacts, SymbolFacts

SOURCE = 'def total(prices: list[int]) -> int:\n    """Return the sum\n    of *prices*."""\n'
FACTS = ExplainFacts(
    kind="symbol",
    title="function total",
    path="cart.py",
    docstring="Return the sum of *prices*.",
    symbol=SymbolFacts(
        name="total",
        kind="function",
        start_line=1,
        end_line=3,
        signature="def total(prices: list[int]) -> int",
    ),
    imports=("math",),
)


def test_what_the_code_beside_it_says_is_not_said_twice() -> None:
    beside = facts_in_words(FACTS, [SOURCE])
    assert "Return the sum" not in beside
    assert "signature" not in beside
    assert "- imports: math" in beside


def test_what_had_to_be_left_out_of_the_code_is_said() -> None:
    for said in (facts_in_words(FACTS), facts_in_words(FACTS, ["def other(): ..."])):
        assert "- documented as: Return the sum of *prices*." in said
        assert "- signature: `def total(prices: list[int]) -> int`" in said
