"""The head of a definition, as it is told in one line."""

from __future__ import annotations

import pytest

from aiex.code import Language, read_facts


@pytest.mark.parametrize(
    ("language", "text", "signature"),
    [
        ("python", "def f(a):\n    # Why.\n    return a\n", "def f(a)"),
        ("python", "def f(a):  # Why.\n    return a\n", "def f(a)"),
        ("python", "class A:\n    # Why.\n    x = 1\n", "class A"),
        ("python", "def f(\n    a,  # Why.\n):\n    return a\n", "def f( a, # Why. )"),
        ("go", "package a\n\nfunc f(a int) int /* why */ {\n\treturn a\n}\n", "func f(a int) int"),
        ("rust", "fn f(a: i32) -> i32 // why\n{\n    a\n}\n", "fn f(a: i32) -> i32"),
    ],
)
def test_a_comment_before_the_body_is_no_part_of_the_head(
    language: Language, text: str, signature: str
) -> None:
    [symbol] = [s for s in read_facts(text.encode(), language).symbols if s.name in {"f", "A"}]

    assert symbol.signature == signature
