from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from aiex.interfaces.cli.page import Page

PLAIN = re.compile(r"\x1b\[[0-9;]*m")


def plain(text: str) -> str:
    return PLAIN.sub("", text)


def test_a_paragraph_is_shown_once_it_is_whole() -> None:
    page = Page()

    assert page.add("It **adds**") == ""
    assert page.waiting == 11
    shown = page.add(" up.\n\nThen")
    assert plain(shown) == "It adds up.\n\n"
    assert shown != plain(shown)
    assert page.waiting == 4
    assert plain(page.end()) == "Then\n\n"
    assert page.waiting == 0
    assert page.end() == ""


def test_code_is_shown_whole_with_its_empty_lines() -> None:
    page = Page()

    assert page.add("```py\na = 1\n\nb = 2\n") == ""
    shown = plain(page.add("```\n\n"))

    assert "a = 1" in shown
    assert "b = 2" in shown
    assert "```" not in shown


def test_what_could_act_on_a_terminal_is_escaped() -> None:
    page = Page()
    page.add("evil \x1b]0;title\x07 [link](http://example.org)")

    shown = page.end()

    assert "\x1b]" not in shown
    assert "\x07" not in shown
    assert "\\x1b" in shown


@given(
    st.lists(st.sampled_from(["word ", "\n", "\n\n", "```\n", "~~~\n", "- item\n"]), max_size=20)
)
def test_every_word_is_shown_once_however_it_comes(pieces: list[str]) -> None:
    page = Page()

    shown = "".join(page.add(piece) for piece in pieces) + page.end()

    assert plain(shown).count("word") == "".join(pieces).count("word")
