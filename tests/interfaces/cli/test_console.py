"""Writing to what is a terminal, and to what is none."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.interfaces.cli.console import Console, safe


@given(st.text(st.characters(codec=None)))
def test_nothing_that_acts_on_a_terminal_passes(text: str) -> None:
    shown = safe(text)

    assert all(c in "\t\n" or c.isprintable() or c.isspace() or ord(c) > 0x9F for c in shown)
    assert not set(shown) & {"\x1b", "\x9b", "\r", "\x08", "\u202e", "\u2066", "\u200b"}
    shown.encode()  # and it can be written


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_what_is_plain_stays_as_it_is(text: str) -> None:
    assert safe(text) == text


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("env", "color", "coloured"),
    [
        ({"TERM": "xterm"}, "auto", True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "auto", False),
        ({"TERM": "xterm", "NO_COLOR": ""}, "auto", True),  # no-color.org: when not empty
        ({"TERM": "dumb"}, "auto", False),
        ({"TERM": "xterm"}, "never", False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "always", True),
    ],
)
def test_a_terminal_is_coloured_unless_that_is_declined(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], color: str, coloured: bool
) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    console = Console(color=color, env=env)  # type: ignore[arg-type]

    console.line("found", "bold")

    assert ("\x1b[1m" in terminal.getvalue()) is coloured


@pytest.mark.parametrize(("color", "coloured"), [("auto", False), ("always", True)])
def test_what_is_no_terminal_is_coloured_only_when_that_is_asked(
    capsys: pytest.CaptureFixture[str], color: str, coloured: bool
) -> None:
    console = Console(color=color, env={"TERM": "xterm"})  # type: ignore[arg-type]

    console.line("found", "bold")
    console.note("by the way", "dim")
    console.progress("reading", 1, 2, "files")

    out, err = capsys.readouterr()
    assert ("\x1b[" in out) is coloured
    assert ("\x1b[" in err) is coloured
    assert "reading" not in err


def test_progress_rewrites_its_own_line_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console(env={"TERM": "xterm"})

    console.progress("fetch", 49_000_000, 98_000_000, "bytes")
    console.error("done")

    assert terminal.getvalue() == (
        "\r\x1b[2Kfetch ████████████░░░░░░░░░░░░ 49.0 MB of 98.0 MB\r\x1b[2Kdone\n"
    )


def test_quiet_leaves_notices_out_and_keeps_errors(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True, env={})

    console.note("by the way")
    console.error("error: no")

    assert capsys.readouterr().err == "error: no\n"


def test_data_for_programs_is_utf8_whatever_the_terminal_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    console = Console(env={})

    console.write("a\n")
    console.write_data("→\n".encode())

    assert raw.getvalue() == "a\n→\n".encode()
