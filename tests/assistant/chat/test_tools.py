from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from aiex.assistant.chat.search import LineSearch
from aiex.assistant.chat.tools import TOOLS, ReadTools, ToolUse
from aiex.core import ToolCallPart
from aiex.sandbox import Files

pytestmark = pytest.mark.anyio


@pytest.fixture
def use(files: Files, root: Path, told: Callable[..., Any]) -> Callable[..., Any]:
    tools = ReadTools(lambda _: files, LineSearch(lambda _: files))
    request = told(root).request

    async def ask(name: str, arguments: str | None = None, **given: Any) -> ToolUse:
        text = json.dumps(given) if arguments is None else arguments
        return await tools.use(ToolCallPart(id="c", name=name, arguments=text), request)

    return ask


async def test_lines_are_read_with_their_numbers(use: Callable[..., Any], root: Path) -> None:
    _write(root / "a.py", "one\ntwo\nthree\n")

    whole = await use("read_file", path="a.py")
    part = await use("read_file", path="a.py", start=2, end=2)

    assert whole.result.text == "a.py, lines 1 to 3 of 3\n    1  one\n    2  two\n    3  three"
    assert whole.shown.form == "whole"
    assert part.result.text == "a.py, lines 2 to 2 of 3\n    2  two"
    assert (part.shown.form, part.shown.start_line) == ("cut", 2)
    assert part.said == "read_file a.py:2-2"


async def test_a_long_file_comes_in_parts_that_say_where_the_next_begins(
    use: Callable[..., Any], root: Path
) -> None:
    _write(root / "a.py", "".join(f"line {n}\n" for n in range(1, 1001)))
    _write(root / "b.py", ("x" * 5000 + "\n") * 20)

    many = await use("read_file", path="a.py")
    wide = await use("read_file", path="b.py")
    last = await use("read_file", path="a.py", start=801, end=5000)

    assert many.result.text.endswith("(more from line 401 on)")
    assert "lines 1 to 400 of 1000" in many.result.text
    assert len(wide.result.text) < 40_000
    assert "(more from line 7 on)" in wide.result.text
    assert " 1000  line 1000" in last.result.text
    assert "more from" not in last.result.text


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("read_file", '{"path": "../outside"}', "outside the root"),
        ("read_file", '{"path": "nowhere.py"}', "nowhere.py"),
        ("read_file", '{"path": ".git/config"}', ""),
        ("read_file", '{"path": "a.py", "start": 3, "end": 1}', "no range"),
        ("read_file", "{", "do not fit"),
        ("read_file", "{}", "do not fit"),
        ("list_files", '{"folder": "/etc"}', "outside the root"),
        ("delete_file", '{"path": "a.py"}', "there are: read_file, list_files, search"),
    ],
)
async def test_what_is_refused_is_told_to_the_model(
    use: Callable[..., Any], root: Path, name: str, arguments: str, says: str
) -> None:
    _write(root / "a.py", "one\n")

    used = await use(name, arguments)

    assert used.result.is_error
    assert used.result.text.startswith("Error: ")
    assert says in used.result.text
    assert used.shown is None


async def test_a_number_that_is_written_as_text_is_understood(
    use: Callable[..., Any], root: Path
) -> None:
    _write(root / "a.py", "one\ntwo\n")

    assert "    2  two" in (await use("read_file", path="a.py", start="2")).result.text


async def test_a_folder_is_listed_without_what_is_ignored(
    use: Callable[..., Any], root: Path
) -> None:
    _write(root / "a.py", "one\n")
    _write(root / ".gitignore", "out.log\n")
    _write(root / "out.log", "x")
    (root / "pkg").mkdir()

    listed = await use("list_files", folder=".")

    assert "pkg/" in listed.result.text
    assert "a.py  4 bytes" in listed.result.text
    assert "out.log" not in listed.result.text


async def test_what_is_not_listed_is_told_of(use: Callable[..., Any], root: Path) -> None:
    (root / "empty").mkdir()
    path = os.fsencode(root) + b"/\xff.py"
    await anyio.to_thread.run_sync(lambda: os.close(os.open(path, os.O_CREAT)))

    listed = await use("list_files", folder=".")

    assert "(not listed: " in listed.result.text
    listed.result.text.encode()
    assert (await use("list_files", folder="empty")).result.text == "empty is empty"


async def test_what_is_no_text_is_not_shown(use: Callable[..., Any], root: Path) -> None:
    await anyio.to_thread.run_sync((root / "a.bin").write_bytes, b"\x00\x01")

    assert (await use("read_file", path="a.bin")).result.text == "a.bin is no text"


async def test_a_search_finds_the_phrase_first_and_then_most_of_its_words(
    use: Callable[..., Any], root: Path
) -> None:
    _write(root / "a.py", "total = 1\nprices = 2\n")
    _write(root / "b.py", "the Total  of prices\nprices total\n")

    found = await use("search", query="total of prices")

    lines = found.result.text.split("\n")
    assert lines[0] == "b.py:1: the Total  of prices"
    assert lines[1] == "b.py:2: prices total"
    assert {lines[2], lines[3]} == {"a.py:1: total = 1", "a.py:2: prices = 2"}
    assert lines[-1] == "(Searched line by line.)"


async def test_a_search_takes_patterns_for_words(use: Callable[..., Any], root: Path) -> None:
    _write(root / "a.py", "a" * 40 + "!\n(a+)+$\n")

    found = await use("search", query="(a+)+$")

    assert found.result.text.startswith("a.py:2: (a+)+$")


async def test_a_search_without_an_answer_says_how_was_searched(
    use: Callable[..., Any], root: Path
) -> None:
    _write(root / "a.py", "one\n")

    for query in ("nothing like it", " "):
        assert "Nothing was found. Searched line" in (await use("search", query=query)).result.text


def test_every_tool_has_a_schema_that_is_one() -> None:
    for tool in TOOLS:
        schema = json.loads(bytes(tool.parameters))
        assert schema["type"] == "object"
        assert set(schema["required"]) <= set(schema["properties"])


def _write(path: Path, text: str) -> None:
    path.write_text(text)
