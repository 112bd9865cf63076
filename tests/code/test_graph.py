from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.code import FileFacts, cycles, import_graph, language_of, read_facts


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


def work_of(act: Callable[[], object]) -> int:
    """Return how many calls *act* makes, of Python functions and of built-in ones."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        ("/same.h", '#include "same.h"\n#include "{other}/same.h"\n#include "none.h"\n'),
        ("/same.py", "import same\nimport {other}.same\n"),
        ("/Same.java", "import Same;\nimport {other}.*;\nimport java.util.*;\n"),
        ("/same.ex", "defmodule Same do\n  alias Same\nend\n"),
    ],
    ids=["C++", "Python", "Java", "Elixir"],
)
def test_many_files_of_one_name_are_found_with_work_that_grows_as_they_do(
    ending: str, text: str
) -> None:
    def tree(size: int) -> dict[str, FileFacts]:
        files = {}
        for at in range(size):
            language = language_of(ending, b"")
            assert language is not None
            source = text.replace("{other}", f"d{(at + 1) % size}").encode()
            files[f"d{at}/deep{ending}"] = read_facts(source, language)
        return files

    small, large = tree(100), tree(400)

    assert work_of(lambda: import_graph(large)) < 5 * work_of(lambda: import_graph(small))
    assert sum(map(len, import_graph(large).edges.values())) <= 3 * len(large)


def test_of_several_files_of_one_name_the_nearest_is_meant() -> None:
    found = edges(
        {
            "one/lib/util.h": "",
            "two/lib/util.h": "",
            "two/src/deep/main.cc": '#include "lib/util.h"\n',
            "other/main.cc": '#include "lib/util.h"\n',
            "one/util.py": "",
            "two/util.py": "",
            "two/app/run.py": "import util\n",
            "one/src/shop/Cart.java": "package shop;\n",
            "two/src/shop/Cart.java": "package shop;\n",
            "two/src/web/Main.java": "package web;\nimport shop.Cart;\n",
        }
    )
    assert found == {
        "two/src/deep/main.cc": {"two/lib/util.h"},
        "other/main.cc": {"one/lib/util.h"},
        "two/app/run.py": {"two/util.py"},
        "two/src/web/Main.java": {"two/src/shop/Cart.java"},
    }


def test_a_wildcard_means_the_types_of_that_package_alone() -> None:
    assert edges(
        {
            "src/shop/Main.java": "package shop;\nimport shop.cart.*;\n",
            "src/shop/cart/Cart.java": "package shop.cart;\n",
            "src/shop/cart/deep/Box.java": "package shop.cart.deep;\n",
        }
    ) == {"src/shop/Main.java": {"src/shop/cart/Cart.java"}}


def test_packages_of_very_many_files_do_not_make_edges_by_the_square() -> None:
    go = read_facts(b'package p\nimport "example.com/shop/p"\n', "go")
    files = {f"p/{at:04}.go": go for at in range(1500)}

    graph = import_graph(files)

    assert sum(map(len, graph.edges.values())) < 600_000
    assert graph.edges["p/1400.go"] == {"p/0000.go"}
