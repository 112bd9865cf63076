"""A definition is found by its line or by its name."""

from __future__ import annotations

import pytest

from aiex.code import read_facts, symbol_at, symbols_named

PYTHON = read_facts(
    b"""class A:
    def f(self):
        def inner(): pass
        return inner

    def g(self): pass

def f(x, y): pass
""",
    "python",
)
ELIXIR = read_facts(
    b"""defmodule Shop.Cart do
  def total(cart), do: total(cart, 0)
  def total(cart, tax), do: cart + tax
end
""",
    "elixir",
)


@pytest.mark.parametrize(
    ("line", "name"), [(1, "A"), (2, "A.f"), (3, "A.f.inner"), (5, "A"), (7, None), (8, "f")]
)
def test_the_innermost_definition_around_a_line_is_found(line: int, name: str | None) -> None:
    found = symbol_at(PYTHON, line)

    assert (found.qualified_name if found is not None else None) == name


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("f", [("f", 8)]),
        ("A.f", [("A.f", 2)]),
        ("A::f", [("A.f", 2)]),
        ("A#f", [("A.f", 2)]),
        ("inner", [("A.f.inner", 3)]),
        ("g", [("A.g", 6)]),
        ("h", []),
        ("f/2", [("f", 8)]),
        ("f/1", []),
    ],
)
def test_a_whole_name_wins_over_the_end_of_one(name: str, wanted: list[tuple[str, int]]) -> None:
    found = symbols_named(PYTHON, name)

    assert [(symbol.qualified_name, symbol.start_line) for symbol in found] == wanted


def test_an_arity_chooses_among_functions_of_one_name() -> None:
    assert [s.start_line for s in symbols_named(ELIXIR, "Shop.Cart.total")] == [2, 3]
    assert [s.start_line for s in symbols_named(ELIXIR, "total/2")] == [3]
