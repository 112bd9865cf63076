"""Which lines can be left out, in the words of each language."""

from __future__ import annotations

import pytest

from aiex.code import Foldable, Language, read_folds


def places(folds: tuple[Foldable, ...]) -> list[tuple[int, int]]:
    return [(fold.first, fold.last) for fold in folds]


@pytest.mark.parametrize(
    ("language", "text", "bodies"),
    [
        ("python", "def f(\n    a,\n):\n    b = a\n    return b\n\n\nx = 1\n", [(4, 5)]),
        ("python", 'def f():\n    """Doc."""\n    return 1\n', [(3, 3)]),
        ("python", 'def f():\n    """Doc."""\n', []),
        ("python", "def f(): return 1\n", []),
        ("python", "@deco\nasync def f():\n    return 1\n    # End.\n# Out.\n", [(3, 4)]),
        ("elixir", "defmodule A do\n def f(x) do\n  x\n end\n def g(x), do: x\nend\n", [(3, 3)]),
        ("javascript", "const f = (a) => {\n  b();\n  c();\n};\n", [(2, 3)]),
        ("javascript", "const f = (a) => ({\n  b: 1,\n  c: 2,\n});\n", []),
        ("typescript", "class A {\n  f(): void {\n    b();\n  }\n}\n", [(3, 3)]),
        ("tsx", "export function F() {\n  return <b>x</b>;\n}\n", [(2, 2)]),
        ("go", "package a\n\nfunc (a *A) F() int {\n\treturn 1\n}\n", [(4, 4)]),
        ("rust", "fn f<B>()\nwhere\n    B: C,\n{\n    d();\n}\n", [(5, 5)]),
        ("java", "class A {\n    int f() {\n        return 1; }\n}\n", []),
        ("java", "class A {\n    int f() {\n        g();\n        return 1;\n    }\n}\n", [(3, 4)]),
        ("cpp", "int f()\n{\n  return 1;\n}\n", [(3, 3)]),
        ("cpp", "#define F(x) \\\n  do { g(x); \\\n  } while (0)\n", []),
    ],
)  # fmt: skip
def test_a_body_is_what_stands_between_its_ends(
    language: Language, text: str, bodies: list[tuple[int, int]]
) -> None:
    assert places(read_folds(text.encode(), language).bodies) == bodies


@pytest.mark.parametrize(
    ("language", "text", "imports"),
    [
        ("python", "import a\n\n# b\nfrom b import (\n c,\n)\nx = 1\nimport d\n", [(1, 6), (8, 8)]),
        ("python", "import a; b = 1\n", []),
        ("python", "import a, b\n", [(1, 1)]),
        ("elixir", "defmodule A do\n  alias B.{C, D}\n  use E\nend\n", [(2, 3)]),
        ("javascript", 'import a from "a";\nconst b = require("b");\n', [(1, 2)]),
        ("javascript", 'const b = require("b").c;\n', []),
        ("go", 'package a\n\nimport "b"\n\nimport (\n\t"c"\n\td "e"\n)\n', [(3, 3), (6, 7)]),
        ("rust", "use a::{b, c};\nmod d;\n", [(1, 2)]),
        ("java", "package a;\n\nimport b.C;\n\nimport static d.E.*;\n", [(3, 5)]),
        ("cpp", '#include <a>\n#include "b.h"\n', [(1, 2)]),
    ],
)  # fmt: skip
def test_imports_that_stand_together_are_one(
    language: Language, text: str, imports: list[tuple[int, int]]
) -> None:
    assert places(read_folds(text.encode(), language).imports) == imports


@pytest.mark.parametrize(
    ("language", "text", "comments"),
    [
        ("python", "# a\n# b\nx = 1  # c\n# d\n", [(2, 2)]),
        ("python", "#\n# a\n# b\n", [(3, 3)]),
        ("python", '"""\nSay.\n\nMore.\n"""\n', [(3, 4)]),
        ("python", '"""Say.\nMore."""\n', []),
        ("elixir", 'defmodule A do\n  @moduledoc """\n  Say.\n  More.\n  """\nend\n', [(4, 4)]),
        ("rust", "/// a\n/// b\nfn f() {}\n", [(2, 2)]),
        ("java", "/**\n * Say.\n * More.\n */\nclass A {}\n", [(3, 3)]),
        ("java", "class A {} /* a\n b\n c */\n", []),
    ],
)
def test_a_comment_keeps_its_first_words_and_what_closes_it(
    language: Language, text: str, comments: list[tuple[int, int]]
) -> None:
    assert places(read_folds(text.encode(), language).comments) == comments


def test_the_head_of_a_definition_may_take_several_lines() -> None:
    text = "@deco\ndef f(\n    a,\n) -> int:\n    return a\n\n\nclass A:\n    x = {\n    }\n"
    assert read_folds(text.encode(), "python").heads == ((1, 4), (8, 8), (9, 9))
