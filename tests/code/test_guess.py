"""The language of a text without a name."""

from __future__ import annotations

import pytest

from aiex.code import guess_language


@pytest.mark.parametrize(
    ("source", "language"),
    [
        ("def f(x):\n    return g(x)\n", "python"),
        ("#!/usr/bin/env python3\nx = 1\n", "python"),
        ("defmodule A do\n  def f(x), do: x + 1\nend\n", "elixir"),
        ("package main\n\nfunc f(x int) int { return g(x) }\n", "go"),
        ("fn f(x: u8) -> u8 { g(x) }\n", "rust"),
        ("public class A { int f(int x) { return g(x); } }\n", "java"),
        ("interface A { x: number }\nconst f = (a: A): number => g(a.x);\n", "typescript"),
        ("#include <vector>\nint f(std::vector<int> &x) { return g(x); }\n", "cpp"),
        ("const f = (x) => g(x);\nmodule.exports = { f };\n", "javascript"),
    ],
)
def test_the_language_is_the_one_as_which_it_makes_sense(source: str, language: str) -> None:
    assert guess_language(source.encode()) == language


@pytest.mark.parametrize("source", ["", "Dear all, see you at ten.\n", "\0\1\2"])
def test_what_is_no_code_has_no_language(source: str) -> None:
    assert guess_language(source.encode()) is None
