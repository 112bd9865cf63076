"""Who calls what, over the facts of a whole project."""

from __future__ import annotations

from aiex.code import FileFacts, import_graph, read_facts
from aiex.context import SymbolIndex

FILES = {
    "shop/cart.py": "def total(prices):\n    return add(prices)\n\n\ndef add(x):\n    return x\n",
    "shop/till.py": (
        "from shop.cart import total\n\n\ndef bill(prices):\n    return total(prices)\n"
    ),
    "shop/other.py": "def use(thing):\n    return thing.total()\n",
    "shop/__init__.py": "",
}


def _index() -> tuple[SymbolIndex, dict[str, FileFacts]]:
    files = {path: read_facts(text.encode(), "python") for path, text in FILES.items()}
    return SymbolIndex(files, import_graph(files).edges), files


def test_callers_are_those_who_import_the_file() -> None:
    index, files = _index()
    total = files["shop/cart.py"].symbols[0]

    found = [(c.path, c.line, c.caller) for c in index.callers("shop/cart.py", [total])]

    assert found == [("shop/till.py", 5, "bill")]


def test_a_call_of_itself_is_no_caller() -> None:
    text = "def f(x):\n    return f(x - 1)\n\n\nf(3)\n"
    files = {"a.py": read_facts(text.encode(), "python")}
    index = SymbolIndex(files, {})

    found = index.callers("a.py", [files["a.py"].symbols[0]])

    assert [(c.path, c.line, c.caller) for c in found] == [("a.py", 5, "")]


def test_what_a_definition_calls_is_found_in_its_file_and_in_what_it_imports() -> None:
    index, files = _index()
    total = files["shop/cart.py"].symbols[0]
    bill = files["shop/till.py"].symbols[0]

    assert [(d.path, d.symbol.name) for d in index.callees("shop/cart.py", total)] == [
        ("shop/cart.py", "add")
    ]
    assert [(d.path, d.symbol.name) for d in index.callees("shop/till.py", bill)] == [
        ("shop/cart.py", "total")
    ]
