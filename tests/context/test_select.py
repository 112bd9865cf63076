"""What answers comes first, and it is said how sure that is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.context.indexes import indexed

from aiex.context import ContextIndex, Selection, Selector, understand

CART = '''"""What is bought."""


class Cart:
    def __init__(self) -> None:
        self.lines: list[int] = []

    def weigh_lines(self) -> int:
        return len(self.lines)


def apply_discount(cart: Cart, percent: int) -> int:
    """Take a discount off what a cart costs."""
    return cart.weigh_lines() * (100 - percent) // 100
'''
TILL = """from shop.cart import apply_discount


def bill(cart: object) -> int:
    return apply_discount(cart, 10)
"""
TEST = """from shop.cart import Cart, apply_discount


def test_a_discount_is_taken_off_the_cart() -> None:
    assert apply_discount(Cart(), 10) == 0
"""
FILES = {
    "shop/cart.py": CART,
    "shop/till.py": TILL,
    "shop/ledger.py": "def enter(amount):\n    return [amount]\n",
    "shop/stock.py": "def count_apples(boxes):\n    return sum(boxes)\n",
    "tests/test_cart.py": TEST,
    "examples/discount.py": "from shop.cart import apply_discount\n\napply_discount(None, 3)\n",
    "docs/cart.md": "# Cart\n\nA discount is taken off the cart.\n",
    "web/cart.min.js": "function applyDiscount(cart){return cart.discount}\n",
}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[ContextIndex]:
    with indexed(FILES, tmp_path) as (index, _):
        yield index


def select(index: ContextIndex, text: str) -> Selection:
    return Selector(index).select(understand(text))


def test_code_comes_before_tests_examples_prose_and_what_was_generated(index: ContextIndex) -> None:
    paths = [hit.path for hit in select(index, "take a discount off the cart").hits]

    assert paths[0] == "shop/cart.py"
    assert set(paths) >= {"tests/test_cart.py", "examples/discount.py", "docs/cart.md"}
    assert paths[-1] == "web/cart.min.js"


def test_tests_come_first_for_whoever_asks_for_them(index: ContextIndex) -> None:
    assert select(index, "which test covers the discount?").hits[0].path == "tests/test_cart.py"


@pytest.mark.parametrize(
    "text",
    [
        "shop/stock.py",
        "look into shop/stock.py for the discount",
        "stock.py:2: NameError: discount",
    ],
)
def test_what_is_named_by_its_path_comes_first(index: ContextIndex, text: str) -> None:
    found = select(index, text)

    assert found.hits[0].path == "shop/stock.py"
    assert found.hits[0].reason in {"path", "place"}
    assert found.confidence == "strong"


def test_the_place_of_a_traceback_comes_first(index: ContextIndex) -> None:
    text = '  File "/srv/app/shop/ledger.py", line 2, in enter\nTypeError: discount of a cart'

    assert select(index, text).hits[0].path == "shop/ledger.py"


@pytest.mark.parametrize("name", ["weigh_lines", "weighLines", "Cart.weigh_lines", "count_apples"])
def test_a_name_alone_finds_its_definition(index: ContextIndex, name: str) -> None:
    wanted = "shop/stock.py" if "apples" in name else "shop/cart.py"

    assert select(index, name).hits[0].path == wanted


def test_who_calls_what_was_found_is_found_with_it(index: ContextIndex) -> None:
    found = select(index, "weigh lines percent")

    callers = [hit for hit in found.hits if hit.reason == "calls apply_discount"]
    assert [hit.path for hit in callers] == ["shop/till.py"]


def test_words_that_stand_nowhere_are_told_and_make_it_unsure(index: ContextIndex) -> None:
    found = select(index, "how is the zebra quantized before it discounts?")

    assert {"zebra", "quantized"} <= set(found.unknown)
    assert found.confidence == "weak"


def test_nothing_is_found_of_what_is_not_there(index: ContextIndex) -> None:
    found = select(index, "zebra quantization")

    assert found.hits == ()
    assert found.confidence == "none"
    assert set(found.unknown) == {"zebra", "quantization"}


def test_an_answer_that_has_it_all_is_sure(index: ContextIndex) -> None:
    assert select(index, "count apples in boxes").confidence == "strong"


def test_hits_say_where_they_are_and_what_is_there(index: ContextIndex) -> None:
    hit = select(index, "count apples").hits[0]

    assert (hit.path, hit.start_line, hit.end_line) == ("shop/stock.py", 1, 2)
    assert hit.symbols == ("count_apples",)
    assert hit.signature == "def count_apples(boxes)"


def test_the_same_question_has_the_same_answer(index: ContextIndex) -> None:
    assert select(index, "discount cart lines") == select(index, "discount cart lines")


def test_no_more_is_given_than_was_asked_for(index: ContextIndex) -> None:
    found = Selector(index).select(understand("cart discount"), limit=2)

    assert len(found.hits) == 2
    assert found.hits[0].score >= found.hits[1].score


def test_an_empty_project_has_no_answer(tmp_path: Path) -> None:
    with indexed({}, tmp_path) as (index, _):
        assert select(index, "anything at all").confidence == "none"
