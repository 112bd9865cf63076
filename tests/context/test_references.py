"""Who calls what, over the facts of a whole project."""

from __future__ import annotations

from aiex.code import Call, FileFacts, import_graph, read_facts
from aiex.context import SymbolIndex, names_called

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


def _python(**texts: str) -> tuple[SymbolIndex, dict[str, FileFacts]]:
    files = {
        f"{path.replace('__', '/', 1)}.py": read_facts(text.encode(), "python")
        for path, text in texts.items()
    }
    return SymbolIndex(files, import_graph(files).edges), files


HANDED_ON = {
    "shop__cart": "def total():\n    pass\n\n\nclass Cart:\n    def add(self):\n        pass\n",
    "shop____init__": "from shop.cart import Cart, total\n",
}


def test_callers_that_import_a_name_from_its_package_are_found() -> None:
    index, files = _python(**HANDED_ON, till="from shop import total\n\n\ntotal()\n")

    found = index.callers("shop/cart.py", files["shop/cart.py"].symbols)

    assert [(c.path, c.line) for c in found] == [("till.py", 4)]


def test_a_package_that_is_imported_whole_hands_its_names_on() -> None:
    index, files = _python(**HANDED_ON, till="import shop\n\nshop.total()\nshop.Cart().add()\n")

    found = index.callers("shop/cart.py", files["shop/cart.py"].symbols)

    assert [(c.path, c.line, c.callee) for c in found] == [
        ("till.py", 3, "shop.total"),
        ("till.py", 4, "shop.Cart"),
        ("till.py", 4, "shop.Cart().add"),
    ]


def test_a_name_that_was_not_taken_from_the_package_is_another_one() -> None:
    index, files = _python(
        **HANDED_ON, till="from shop import Cart\n\n\ndef f(total):\n    total()\n    Cart()\n"
    )

    found = index.callers("shop/cart.py", files["shop/cart.py"].symbols)

    assert [(c.line, c.callee) for c in found] == [(6, "Cart")]


def test_a_package_hands_on_only_what_it_imports() -> None:
    index, files = _python(
        shop__cart=HANDED_ON["shop__cart"],
        shop____init__="from shop.cart import Cart\n",
        till="from shop import Cart, total\n\ntotal()\n",
    )

    assert index.callers("shop/cart.py", files["shop/cart.py"].symbols[:1]) == []


def test_packages_that_import_each_other_in_a_circle_come_to_an_end() -> None:
    index, files = _python(
        shop__cart=HANDED_ON["shop__cart"],
        shop____init__="from shop.desk import total\n",
        shop__desk="from shop.bar import total\n",
        shop__bar="from shop.desk import total\n",
        till="from shop import total\n\ntotal()\n",
    )

    assert index.callers("shop/cart.py", files["shop/cart.py"].symbols[:1]) == []


def test_names_go_through_packages_that_hand_them_to_each_other() -> None:
    index, files = _python(
        **HANDED_ON,
        shop__desk="from shop import total\nfrom shop import desk\n",
        till="from shop.desk import total\n\ntotal()\n",
    )

    found = index.callers("shop/cart.py", files["shop/cart.py"].symbols[:1])

    assert [(c.path, c.line) for c in found] == [("till.py", 3)]


def test_an_index_of_typescript_hands_names_on() -> None:
    texts = {
        "shop/cart.ts": "export function total() {}\n",
        "shop/index.ts": "export { total } from './cart';\n",
        "till.ts": "import { total } from './shop';\n\ntotal();\n",
    }
    files = {path: read_facts(text.encode(), "typescript") for path, text in texts.items()}
    index = SymbolIndex(files, import_graph(files).edges)

    found = index.callers("shop/cart.ts", files["shop/cart.ts"].symbols)

    assert [(c.path, c.line) for c in found] == [("till.ts", 3)]


def test_two_calls_on_one_line_are_one_place() -> None:
    index, files = _python(a="def f():\n    pass\n\n\nf() or f()\n")

    assert [c.line for c in index.callers("a.py", files["a.py"].symbols)] == [5]


def test_calls_out_of_the_project_are_told_as_written() -> None:
    index, files = _python(
        a="import hashlib\n\n\ndef own():\n    pass\n\n\n"
        "def f(x):\n    own()\n    return hashlib.sha256(x.encode('a')).hexdigest()[len(x)]\n"
    )
    f = files["a.py"].symbols[-1]

    assert index.other_calls("a.py", f) == [
        "hashlib.sha256().hexdigest",
        "hashlib.sha256",
        "x.encode",
        "len",
    ]
    assert [p.symbol.name for p in index.callees("a.py", f)] == ["own"]


def test_a_callee_that_was_cut_inside_its_arguments_has_no_name() -> None:
    calls = [Call(callee="run(a,b", line=1), Call(callee="rows[x.y].z", line=2)]

    assert names_called(calls) == ["rows[].z"]
