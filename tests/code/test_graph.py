from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiex.code import cycles, import_graph, language_of, read_facts


def edges(files: dict[str, str], *, eager: bool = False) -> dict[str, set[str]]:
    facts = {}
    for path, text in files.items():
        language = language_of(path, b"")
        assert language is not None
        facts[path] = read_facts(text.encode(), language)
    graph = import_graph(facts)
    found = graph.eager if eager else graph.edges
    return {path: set(targets) for path, targets in found.items() if targets}


def test_python_packages_are_found_in_src_layouts_and_by_relative_imports() -> None:
    assert edges(
        {
            "src/shop/__init__.py": "from shop import cart\nfrom .prices import rate\n",
            "src/shop/cart.py": "import shop.prices\nimport os\n",
            "src/shop/prices.py": "from .. import nothing\n",
            "src/shop/web/__init__.py": "",
            "src/shop/web/views.py": "from ..cart import total\nfrom . import forms\n",
            "src/shop/web/forms.py": "",
            "tests/test_cart.py": "from shop.cart import total\n",
        }
    ) == {
        "src/shop/__init__.py": {"src/shop/cart.py", "src/shop/prices.py"},
        "src/shop/cart.py": {"src/shop/prices.py"},
        "src/shop/web/views.py": {"src/shop/cart.py", "src/shop/web/forms.py"},
        "tests/test_cart.py": {"src/shop/cart.py"},
    }


def test_a_part_of_a_project_finds_its_imports_without_the_packages_around_it() -> None:
    assert edges(
        {
            "src/shop/web/__init__.py": "",
            "src/shop/web/views.py": "from shop.web.forms import form\n",
            "src/shop/web/forms.py": "",
        }
    ) == {"src/shop/web/views.py": {"src/shop/web/forms.py"}}


def test_only_imports_that_run_at_load_count_as_eager() -> None:
    files = {
        "a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b\n",
        "b.py": "def f():\n    import a\n",
        "c.py": "import a\n",
    }
    assert edges(files) == {"a.py": {"b.py"}, "b.py": {"a.py"}, "c.py": {"a.py"}}
    assert edges(files, eager=True) == {"c.py": {"a.py"}}


def test_javascript_and_typescript_resolve_relative_paths() -> None:
    assert edges(
        {
            "src/main.ts": 'import { a } from "./a.js";\nimport b from "./b";\nimport "react";\n',
            "src/a.ts": 'const c = require("../lib");\n',
            "src/b/index.tsx": "export const b = 1;\n",
            "lib/index.js": "module.exports = {};\n",
        }
    ) == {"src/main.ts": {"src/a.ts", "src/b/index.tsx"}, "src/a.ts": {"lib/index.js"}}


def test_the_other_languages_resolve_in_their_own_ways() -> None:
    found = edges(
        {
            "cmd/main.go": 'package main\nimport "example.com/shop/cart"\n',
            "cart/cart.go": "package cart\n",
            "cart/cart_test.go": "package cart\n",
            "src/main.rs": "mod cart;\nuse crate::cart::total;\n",
            "src/cart.rs": "use std::fmt;\n",
            "app/src/shop/Main.java": "package shop;\nimport shop.cart.Cart;\n",
            "app/src/shop/cart/Cart.java": "package shop.cart;\nclass Cart {}\n",
            "lib/shop.ex": "defmodule Shop do\n  alias Shop.Cart\nend\n",
            "lib/shop/cart.ex": "defmodule Shop.Cart do\nend\n",
            "x/main.cc": '#include "cart.h"\n#include <vector>\n',
            "x/cart.h": "int total();\n",
        }
    )
    assert found == {
        "cmd/main.go": {"cart/cart.go"},
        "src/main.rs": {"src/cart.rs"},
        "app/src/shop/Main.java": {"app/src/shop/cart/Cart.java"},
        "lib/shop.ex": {"lib/shop/cart.ex"},
        "x/main.cc": {"x/cart.h"},
    }


def reaches(graph: dict[int, set[int]], start: int) -> set[int]:
    seen: set[int] = set()
    todo = list(graph.get(start, ()))
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += graph.get(node, ())
    return seen


@given(st.dictionaries(st.integers(0, 7), st.sets(st.integers(0, 7), max_size=4), max_size=8))
def test_a_cycle_is_every_group_whose_members_reach_each_other(graph: dict[int, set[int]]) -> None:
    named = {str(n): {str(t) for t in targets} for n, targets in graph.items()}
    found = {frozenset(group) for group in cycles(named)}
    expected = {
        frozenset(
            str(b) for b in graph if b == a or (b in reaches(graph, a) and a in reaches(graph, b))
        )
        for a in graph
    }
    assert found == {group for group in expected if len(group) > 1}


def test_a_chain_of_ten_thousand_files_is_no_problem() -> None:
    chain = {str(n): {str(n + 1)} for n in range(10_000)}
    chain["10000"] = {"0"}
    (group,) = cycles(chain)
    assert len(group) == 10_001
