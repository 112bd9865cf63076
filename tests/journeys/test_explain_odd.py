"""`aiex explain` of things that are not quite what it expects."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from aiex.testing.fake_openai import FakeOpenAI, Scripted

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

    Answering = Callable[..., FakeOpenAI]

_ODD = '''\
"""Odd."""
from typing import overload


@overload
def f(a: int) -> int: ...
@overload
def f(a: str) -> str: ...
def f(a):
    def inner(b):
        return g(b).strip()

    return inner(a)


def g(b):
    return str(b)


class A:
    class B:
        def m(self):
            f(1)
'''


def _facts(cli: Cli, *words: str, stdin: str | None = None) -> dict[str, object]:
    ended = cli("explain", *words, "--facts-only", "--json", stdin=stdin)
    assert ended.code == 0, ended.err
    facts: dict[str, object] = ended.json["data"]["facts"]
    return facts


@pytest.fixture
def odd(cli: Cli) -> Cli:
    (cli.project / "shop/odd.py").write_text(_ODD)
    return cli


@pytest.mark.parametrize(
    ("place", "title", "calls", "others"),
    [
        ("::f", "function f, lines 9 to 13", ["g", "f.inner"], ["g().strip"]),
        ("::inner", "function f.inner, lines 10 to 11", ["g"], ["g().strip"]),
        (":11", "function f.inner, lines 10 to 11", ["g"], ["g().strip"]),
        ("::A", "class A, lines 20 to 23", ["f"], []),
        ("::A.B.m", "method A.B.m, lines 22 to 23", ["f"], []),
        ("::g", "function g, lines 16 to 17", [], ["str"]),
    ],
)
def test_a_definition_is_told_with_all_that_it_calls(
    odd: Cli, place: str, title: str, calls: list[str], others: list[str]
) -> None:
    facts = _facts(odd, f"shop/odd.py{place}")

    assert facts["title"] == title
    assert [call["name"] for call in facts.get("calls", [])] == calls  # type: ignore[attr-defined]
    assert facts.get("other_calls", []) == others


def test_a_call_means_the_implementation_and_not_an_overload(odd: Cli) -> None:
    facts = _facts(odd, "shop/odd.py::A")

    assert facts["calls"][0]["line"] == 9  # type: ignore[index]


def test_a_line_in_no_definition_means_the_file(odd: Cli) -> None:
    assert str(_facts(odd, "shop/odd.py:3")["title"]).startswith("python file of 23 lines")


@pytest.mark.parametrize(
    ("target", "message", "hint"),
    [
        ("shop/odd.py::ff", "defines no 'ff'", "did you mean f"),
        ("shop/odd.py::xyzzy", "defines no 'xyzzy'", "it defines f, f.inner, g, A, A.B, A.B.m"),
        ("shop/odd.py:99", "has no line 99", "its last line is 23"),
        ("shop/od.py", "there is no shop/od.py", "did you mean shop/odd.py"),
        ("odd.py", "there is no odd.py", "did you mean shop/odd.py?"),
        ("shop", "shop is a folder", "aiex analyze shop"),
    ],
)
def test_what_is_not_there_is_exit_2_with_what_was_most_likely_meant(
    odd: Cli, target: str, message: str, hint: str
) -> None:
    ended = odd("explain", target, "--facts-only", "--json")

    assert ended.code == 2
    assert message in ended.json["error"]["message"]
    assert hint in ended.json["error"]["hint"]


@pytest.mark.parametrize(
    ("name", "content", "title"),
    [
        ("x.bin", bytes(range(256)), "binary file of 256 bytes"),
        ("x.py", b"a = 1\0", "binary file of 6 bytes"),
        ("e.py", b"", "python file of 0 lines: no definitions"),
    ],
)
def test_what_is_no_text_is_never_shown_to_a_model(
    cli: Cli, answering: Answering, name: str, content: bytes, title: str
) -> None:
    fake = answering(Scripted(text="never"))
    (cli.project / name).write_bytes(content)

    ended = cli("explain", name, "--json")

    assert ended.code == 0
    assert ended.json["data"]["facts"]["title"] == title
    assert ended.json["termination_reason"] == "nothing_to_show"
    assert fake.bodies == []


def test_a_text_of_no_known_language_is_shown_as_it_is(cli: Cli, answering: Answering) -> None:
    fake = answering(Scripted(text="A note."))
    (cli.project / "note.txt").write_text("Remember the milk.\nAnd bread.")

    ended = cli("explain", "note.txt", "--json")

    assert ended.json["data"]["facts"]["title"] == "text of 2 lines"
    assert "Remember the milk." in str(fake.bodies[0])
    assert ended.json["not_checked"][0]["what"] == "note.txt"


def test_a_file_that_is_not_utf_8_is_named_in_what_was_not_checked(cli: Cli) -> None:
    (cli.project / "latin.py").write_bytes("x = '\u00e9'\n".encode("latin-1"))

    missing = cli("explain", "latin.py", "--facts-only", "--json").json["not_checked"]

    assert {one["what"] for one in missing} == {"latin.py"}


_CHAINED = """\
Traceback (most recent call last):
  File "/usr/lib/python3.11/json/decoder.py", line 355, in raw_decode
    obj, end = self.scan_once(s, idx)
StopIteration: 0

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "shop/till.py", line 8, in bill
    return f"{total(prices)} EUR"
  File "../../outside.py", line 1, in f
  File ".env", line 1, in g
ValueError: no price
"""


def test_a_chain_of_errors_shows_the_code_of_this_project_alone(
    cli: Cli, answering: Answering
) -> None:
    fake = answering(Scripted(text="A price is missing."))
    (cli.project / ".env").write_text("KEY=hunter2\n")
    (cli.project.parent.parent / "outside.py").write_text("hunter3 = 1\n")

    ended = cli("explain", "error", "--json", stdin=_CHAINED)

    facts = ended.json["data"]["facts"]
    assert facts["message"] == "ValueError: no price"
    assert [(f["path"], f.get("in_project", False)) for f in facts["frames"]] == [
        ("/usr/lib/python3.11/json/decoder.py", False),
        ("shop/till.py", True),
        ("../../outside.py", False),
        (".env", False),
    ]
    prompt = str(fake.bodies[0])
    assert "def bill" in prompt
    assert "hunter" not in prompt


def test_text_without_a_traceback_is_exit_2(cli: Cli) -> None:
    ended = cli("explain", "error", stdin="all is well\n")

    assert ended.code == 2
    assert "no traceback" in ended.err


def _git(cli: Cli, *words: str) -> None:
    who = {f"GIT_{w}_{k}": "a@b" for w in ("AUTHOR", "COMMITTER") for k in ("NAME", "EMAIL")}
    subprocess.run(
        ["git", *words], cwd=cli.project, env={**cli.env, **who}, check=True, capture_output=True
    )


@pytest.fixture
def history(cli: Cli) -> Cli:
    (cli.project / "old.py").write_text("".join(f"X{n} = {n}\n" for n in range(20)))
    (cli.project / "gone.py").write_text("def gone():\n    pass\n")
    (cli.project / "x.bin").write_bytes(bytes(range(256)))
    _git(cli, "init", "-q")
    _git(cli, "add", "-A")
    _git(cli, "commit", "-qm", "a")
    return cli


def test_a_diff_tells_what_was_renamed_and_what_is_binary(
    history: Cli, answering: Answering
) -> None:
    fake = answering(Scripted(text="It renames."))
    folder = history.project
    (folder / "old.py").rename(folder / "new.py")
    with (folder / "new.py").open("a") as file:
        file.write("def more():\n    pass\n")
    (folder / "gone.py").unlink()
    (folder / "x.bin").write_bytes(bytes(255))
    (folder / "added.py").write_text("Y = 1\n")

    ended = history("explain", "diff", "--json")

    changed = {c["path"]: c for c in ended.json["data"]["facts"]["changed"]}
    assert {(p, c["status"]) for p, c in changed.items()} == {
        ("added.py", "added"),
        ("gone.py", "deleted"),
        ("new.py", "renamed"),
        ("x.bin", "modified"),
    }
    assert changed["new.py"]["renamed_from"] == "old.py"
    assert (changed["new.py"]["added_lines"], changed["new.py"]["symbols"]) == (2, ["+more"])
    assert changed["x.bin"]["is_binary"]
    prompt = fake.bodies[0]["messages"][-1]["content"]
    assert "new.py renamed from old.py +2 -0" in prompt
    assert "x.bin modified (binary)" in prompt
    assert "\\x00" not in prompt
    assert "X7 = 7" not in prompt


def test_no_change_needs_no_model(history: Cli, answering: Answering) -> None:
    fake = answering(Scripted(text="never"))

    ended = history("explain", "diff", "--json")

    assert ended.code == 0
    assert ended.json["data"]["facts"]["title"].startswith("no change since")
    assert fake.bodies == []


def test_a_change_too_large_for_the_window_is_cut_where_it_says_so(
    history: Cli, answering: Answering
) -> None:
    fake = answering(Scripted(text="Many lines."))
    (history.project / "huge.txt").write_text("a line of it\n" * 100_000)

    ended = history("explain", "diff", "--json")

    assert ended.code == 0, ended.err
    shown = {c["path"]: c["form"] for c in ended.json["data"]["context"]}
    assert shown == {"huge.txt": "cut"}
    assert "more lines left out" in fake.bodies[0]["messages"][-1]["content"]


@pytest.mark.parametrize("base", ["nosuch", "--upload-pack=x", "HEAD~9"])
def test_a_base_that_is_none_is_exit_2(history: Cli, base: str) -> None:
    ended = history("explain", "diff", "--facts-only", "--", base)

    assert ended.code == 2
    assert "revision" in ended.err
