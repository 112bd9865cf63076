from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.code.tracebacks import Frame, read_traceback

NODE = """\
/srv/app/cart.js:12
    throw new TypeError("no price");
    ^

TypeError: no price
    at total (/srv/app/cart.js:12:11)
    at Object.<anonymous> (/srv/app/main.js:3:1)
    at node:internal/main/run_main_module:28:49
"""
JAVA = """\
Exception in thread "main" java.lang.IllegalStateException: no price
\tat shop.Cart.total(Cart.java:31)
\tat shop.Main.main(Main.java:7)
Caused by: java.io.IOException: gone
\tat shop.Prices.load(Prices.java:9)
"""
ELIXIR = """\
** (KeyError) key :price not found in: %{}
    (shop 0.1.0) lib/shop/cart.ex:14: Shop.Cart.total/1
    test/cart_test.exs:8: (test)
    (elixir 1.14.0) lib/enum.ex:1658: Enum."-map/2-lists^map/1-0-"/2
"""
GO = """\
panic: runtime error: index out of range [3] with length 3

goroutine 1 [running]:
main.total(...)
\t/srv/shop/cart.go:21
main.main()
\t/srv/shop/main.go:9 +0x1d
exit status 2
"""
RUST = """\
thread 'main' panicked at src/cart.rs:9:5:
index out of bounds
stack backtrace:
   2: shop::cart::total
             at ./src/cart.rs:9:5
"""
GCC = "cart.cc: In function 'int total()':\ncart.cc:7:3: error: 'prise' was not declared\n"
PYTEST = """\
    def test_a():
>       assert f() == 2
E       assert 1 == 2

tests/test_a.py:4: AssertionError
"""


@pytest.mark.parametrize(
    ("text", "message", "places"),
    [
        (NODE, "TypeError: no price", {("/srv/app/cart.js", 12), ("/srv/app/main.js", 3)}),
        (
            JAVA,
            "java.io.IOException: gone",
            {("Cart.java", 31), ("Main.java", 7), ("Prices.java", 9)},
        ),
        (
            ELIXIR,
            "KeyError: key :price not found in: %{}",
            {("lib/shop/cart.ex", 14), ("lib/enum.ex", 1658)},
        ),
        (
            GO,
            "panic: runtime error: index out of range [3] with length 3",
            {("/srv/shop/cart.go", 21), ("/srv/shop/main.go", 9)},
        ),
        (RUST, "index out of bounds", {("src/cart.rs", 9)}),
        (GCC, "error: 'prise' was not declared", {("cart.cc", 7)}),
        (PYTEST, "AssertionError", {("tests/test_a.py", 4)}),
    ],
    ids=["node", "java", "elixir", "go", "rust", "gcc", "pytest"],
)
def test_places_and_message_are_found(
    text: str, message: str, places: set[tuple[str, int]]
) -> None:
    found = read_traceback(text)
    assert places <= {(frame.path, frame.line) for frame in found.frames}
    if message:
        assert found.message == message


def test_a_function_named_before_its_place_belongs_to_it() -> None:
    assert [(f.line, f.name) for f in read_traceback(GO).frames] == [
        (21, "main.total"),
        (9, "main.main"),
    ]
    assert [(f.line, f.name) for f in read_traceback(RUST).frames] == [(9, "shop::cart::total")]


def test_a_panic_of_an_older_rust_has_its_message_in_its_line() -> None:
    found = read_traceback("thread 'main' panicked at 'no price', src/cart.rs:9:5\nnote: run\n")

    assert found.message == "no price"
    assert found.frames == (Frame(path="src/cart.rs", line=9),)


def test_a_real_python_traceback_gives_its_frames_in_order(tmp_path: Path) -> None:
    script = tmp_path / "cart.py"
    script.write_text("def total():\n    raise LookupError('no price')\n\ntotal()\n")
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    found = read_traceback(run.stderr)
    assert found.frames == (
        Frame(path=str(script), line=4, name="<module>"),
        Frame(path=str(script), line=2, name="total"),
    )
    assert found.message == "LookupError: no price"


def test_the_last_of_chained_exceptions_is_the_message(tmp_path: Path) -> None:
    script = tmp_path / "cart.py"
    script.write_text(
        "try:\n    {}['x']\nexcept KeyError as e:\n    raise OSError('gone') from e\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    found = read_traceback(run.stderr)
    assert found.message == "OSError: gone"
    assert [frame.line for frame in found.frames] == [2, 4]


@given(st.text(max_size=300))
def test_any_text_is_read_without_a_fault(text: str) -> None:
    for frame in read_traceback(text).frames:
        assert frame.path
