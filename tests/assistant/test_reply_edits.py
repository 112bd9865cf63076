"""Every form of edits that models write, applied to the file they mean or refused."""

from __future__ import annotations

import ast
import contextlib
import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.assistant.replies import attempt, whole_file
from aiex.assistant.reply_edits import Hunk, apply_hunks, read_edits
from aiex.core import Finish, ModelReply, TextPart, UnusableReplyError, unified_diff

BEFORE = "def total(prices):\n    return sum(prices)\n\n\ndef bill(prices):\n    return 1\n"
AFTER = BEFORE.replace("return 1", "return total(prices)")
SEARCH = "<<<<<<< SEARCH\n    return 1\n=======\n    return total(prices)\n>>>>>>> REPLACE\n"
NEW = "def f():\n    return 1\n"
ADDED = "".join(f"+{line}\n" for line in NEW.splitlines())


def _check(text: str) -> str | None:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError) as error:
        return str(error)
    return None if "def" in text else "it defines nothing"


def _reply(text: str) -> ModelReply:
    return ModelReply(parts=(TextPart(text=text),), finish=Finish(reason="stop"))


def _file(text: str, *, before: str = "", path: str = "shop/cart.py") -> str:
    return whole_file(_reply(text), language="python", check=_check, path=path, before=before).text


@pytest.mark.parametrize(
    "text",
    [
        SEARCH,
        f"Change it:\n\nshop/cart.py\n```python\n{SEARCH}```\nDone.",
        f"```\n{SEARCH}```",
        SEARCH.replace("\n", "\r\n"),
        SEARCH.replace("<<<<<<< SEARCH", "<<<<<<<SEARCH"),
        "```diff\n" + unified_diff("shop/cart.py", BEFORE.encode(), AFTER.encode()) + "```",
        (
            "--- shop/cart.py\n+++ shop/cart.py\n@@ ... @@\n def bill(prices):\n-    return 1\n"
            "+    return total(prices)\n"
        ),
        (
            "--- a/cart.py\n+++ b/cart.py\n@@ -99,2 +12,2 @@\n\n def bill(prices):\n-    return 1\n"
            "+    return total(prices)\n"
        ),
        (
            "*** Begin Patch\n*** Update File: shop/cart.py\n@@ def bill(prices):\n-    return 1\n"
            "+    return total(prices)\n*** End Patch\n"
        ),
        SEARCH.replace("    return 1\n", "    return 1   \n", 1),
        SEARCH.replace("    return", "return"),
        f"```python\ntotal([1])\n```\n{SEARCH}",
        f"tests/test_cart.py\n{SEARCH}\nshop/cart.py\n{SEARCH}",
    ],
    ids=[
        "search",
        "named and fenced",
        "fenced",
        "crlf",
        "no blank",
        "git diff",
        "diff without numbers",
        "diff with wrong numbers and a bare blank line",
        "apply_patch",
        "trailing blanks",
        "other indentation",
        "an example before it",
        "another file as well",
    ],
)
def test_edits_are_made_of_the_file_as_it_is(text: str) -> None:
    assert _file(text, before=BEFORE) == AFTER


@pytest.mark.parametrize(
    "text",
    [
        f"<<<<<<< SEARCH\n=======\n{NEW}>>>>>>> REPLACE\n",
        f"--- /dev/null\n+++ b/shop/cart.py\n@@ -0,0 +1,2 @@\n{ADDED}",
        f"*** Begin Patch\n*** Add File: shop/cart.py\n{ADDED}*** End Patch\n",
        f"*** Begin Patch\n*** Add File: ../../etc/cart.py\n{ADDED}*** End Patch\n",
    ],
)
def test_a_new_file_may_come_in_any_form_of_edits(text: str) -> None:
    assert _file(text) == NEW


@pytest.mark.parametrize(
    ("text", "before", "message"),
    [
        (SEARCH, "a = 1\nb = 2\nc = 3\nd = 4\n", r"fits nowhere.*'return 1'.*nearest there: '"),
        (SEARCH, BEFORE + "\n\ndef g():\n    return 1\n", "fits 2 places"),
        (f"<<<<<<< SEARCH\n=======\n{NEW}>>>>>>> REPLACE\n", BEFORE, "does not say where"),
        (f"other.py\n{SEARCH}", BEFORE, r"other files only: other\.py"),
        (SEARCH.replace("total(prices)", "total("), BEFORE, "make no valid python"),
        ("<<<<<<< SEARCH\nx\n=======\ny\n", BEFORE, "no valid python"),
        (SEARCH.replace("return total(prices)", "# ... rest of the code unchanged\n    x"), BEFORE,
         "leaves code out"),
    ],
)  # fmt: skip
def test_edits_that_cannot_be_made_are_refused(text: str, before: str, message: str) -> None:
    with pytest.raises(UnusableReplyError, match=message):
        _file(text, before=before)


def test_an_edit_of_nearly_the_same_text_is_made_and_said() -> None:
    hunk = Hunk(
        old=("def total(price):", "    return sum(prices)"), new=("def total(prices): ...",)
    )

    done = apply_hunks(BEFORE, [hunk])

    assert done.text.startswith("def total(prices): ...\n\n\ndef bill")
    assert done.notes == ("an edit was placed at line 1, where most of it stands",)


def test_of_two_places_nearly_the_same_none_is_taken() -> None:
    before = "value_of_the_first_price = 1\nvalue_of_the_first_prize = 1\n"
    with pytest.raises(UnusableReplyError, match="fits nowhere"):
        apply_hunks(before, [Hunk(old=("value_of_the_first_prise = 1",), new=("x",))])


def test_moved_indentation_moves_the_new_lines_too() -> None:
    before = "class A:\n    def f(self):\n        return 1\n"
    hunk = Hunk(old=("def f(self):", "    return 1"), new=("def f(self):", "", "    return 2"))

    done = apply_hunks(before, [hunk])

    assert done.text == "class A:\n    def f(self):\n\n        return 2\n"
    assert done.notes == ("an edit was placed at line 2 but for its indentation",)


def test_a_whole_file_about_edits_is_no_edit() -> None:
    source = f'def f():\n    """\n{SEARCH}    """\n'

    assert _file(f"```python\n{source}```") == source


def test_of_two_files_the_one_that_was_asked_for_is_taken() -> None:
    tests = "def test_f():\n    assert f() == 1\n    assert f() != 2\n    assert f() is not None\n"
    for first, second in (
        ("shop/cart.py", "tests/test_cart.py"),
        ("**`cart.py`**", "### test_cart.py"),
    ):
        text = f"{first}\n```python\n{NEW}```\n\n{second}\n```python\n{tests}```\n"
        assert _file(text) == NEW
        assert _file(text, path="tests/test_cart.py") == tests
    assert _file(f"```python:shop/cart.py\n{NEW}```\n```python:test_cart.py\n{tests}```") == NEW
    assert _file(f"```python\n# shop/cart.py\n{NEW}```\n```python\n# test_cart.py\n{tests}```") == (
        f"# shop/cart.py\n{NEW}"
    )


def test_what_a_reply_meant_is_what_the_next_one_edits() -> None:
    broken = _reply("Here:\n```python\ndef f(:\n    return 1\n```\n")

    assert attempt(broken, language="python") == "def f(:\n    return 1\n"
    assert attempt(_reply(SEARCH), language="python") is None
    assert attempt(_reply("no code"), language="python") is None


_LINES = st.lists(st.sampled_from(["a", "b", "  c", "", "-d", "+e", "@@ f", "--- g", "é\u2028"]))


@given(_LINES, _LINES)
def test_a_diff_of_everything_makes_the_new_text_of_the_old(old: list[str], new: list[str]) -> None:
    before = "".join(f"{line}\n" for line in [*old, "the last"])
    after = "".join(f"{line}\n" for line in [*new, "the last"])
    diff = list(difflib.unified_diff(before.split("\n"), after.split("\n"), "x", "x", n=99))
    text = "\n".join(line.rstrip("\n") for line in diff)

    hunks = [hunk for one in read_edits(text) for hunk in one.hunks]

    assert apply_hunks(before, hunks).text == after


@given(st.text(alphabet="<=>+-@* \nSEARCHREPLAxy/.`", max_size=120), st.text(max_size=40))
def test_any_text_is_edits_or_none_and_never_a_fault(text: str, before: str) -> None:
    for one in read_edits(text):
        with contextlib.suppress(UnusableReplyError):
            apply_hunks(before, one.hunks)
