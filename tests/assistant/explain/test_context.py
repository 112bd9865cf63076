"""What of a project a model should see, most important first."""

from __future__ import annotations

from aiex.assistant.explain.context import (
    around,
    items_of_file,
    items_of_symbol,
    neighbour_paths,
)
from aiex.assistant.explain.facts import facts_of_file, facts_of_symbol
from aiex.code import import_graph, read_facts
from aiex.context import SymbolIndex
from aiex.core import ExplainFacts

TEXTS = {
    "cart.py": (
        "from prices import of\n\n\n"
        "class Cart:\n"
        "    def total(self):\n        a = of(1)\n        b = of(2)\n        return a + b\n\n"
        "    def _add(self):\n        x = 1\n        y = 2\n        return x + y\n"
    ),
    "prices.py": "def of(thing):\n    return 1\n",
    "till.py": "from cart import Cart\n\n\ndef bill():\n    return Cart().total()\n",
}
FILES = {path: read_facts(text.encode(), "python") for path, text in TEXTS.items()}
IMPORTS = import_graph(FILES).edges
INDEX = SymbolIndex(FILES, IMPORTS)


def _facts(name: str) -> ExplainFacts:
    [symbol] = [s for s in FILES["cart.py"].symbols if s.qualified_name == name]
    return facts_of_symbol("cart.py", FILES["cart.py"], symbol, index=INDEX, findings=())


def test_a_definition_comes_first_then_what_it_calls_then_who_calls_it() -> None:
    facts = _facts("Cart.total")
    [symbol] = [s for s in FILES["cart.py"].symbols if s.name == "total"]

    items = items_of_symbol("cart.py", TEXTS["cart.py"], FILES["cart.py"], symbol, facts, TEXTS)

    assert [(item.path, item.start_line, item.reason) for item in items] == [
        ("cart.py", 5, "what is explained"),
        ("prices.py", 1, "of is called"),
        ("till.py", 2, "calls Cart().total in bill"),
    ]
    assert items[0].text.startswith("    def total(self):\n")
    assert [form.text for form in items[1].shorter] == ["def of(thing)\n"]


def test_a_class_is_called_where_its_methods_are() -> None:
    facts = _facts("Cart")

    assert [(c.path, c.line, c.callee) for c in facts.callers] == [
        ("till.py", 5, "Cart"),
        ("till.py", 5, "Cart().total"),
    ]
    assert [call.name for call in facts.calls] == ["of"]


def test_a_file_gets_shorter_by_its_private_bodies_first() -> None:
    facts = facts_of_file("cart.py", FILES["cart.py"], index=INDEX, imports=IMPORTS, findings=())

    whole, *callers = items_of_file("cart.py", TEXTS["cart.py"], FILES["cart.py"], facts, TEXTS)

    first, second, outline = (form.text for form in whole.shorter)
    assert "a = of(1)" in first
    assert "x = 1" not in first
    assert "a = of(1)" not in second
    assert "def total(self):" in second
    assert outline == (
        "# ... 3 lines ...\n"
        "class Cart:\n    def total(self):\n        # ... 4 lines ...\n"
        "    def _add(self):\n        # ... 3 lines ...\n"
    )
    assert [item.path for item in callers] == ["till.py"]
    assert neighbour_paths(facts) == ("prices.py", "till.py")
    assert facts.imported_by == ("till.py",)


def test_the_lines_around_a_place_shrink_towards_it() -> None:
    text = "".join(f"{n}\n" for n in range(1, 101))

    item = around("a.py", text, 50, reason="x")

    assert item.start_line == 35
    assert item.text.split() == [str(n) for n in range(35, 66)]
    assert [form.text.split() for form in item.shorter] == [
        [str(n) for n in range(43, 58)],
        [str(n) for n in range(47, 54)],
    ]
    assert [item.start_line + form.skipped for form in item.shorter] == [43, 47]
    assert [form.skipped for form in around("a.py", text, 1, reason="x").shorter] == [0, 0]
