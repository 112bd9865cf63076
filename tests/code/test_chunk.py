"""Chunks tile a file and end where a thought ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aiex
from aiex.code import LANGUAGES, Chunk, Language, chunk_code, chunk_text

MOST = 700
SOURCES = Path(aiex.__file__).parent

PYTHON = '''"""A shop."""

import os


class Cart:
    """What is bought."""

    def __init__(self) -> None:
        self.lines = []

    # How much all of it costs,
    # without what is given away.
    @property
    def total(self) -> int:
        return sum(self.lines)
'''


def visible(source: bytes, chunk: Chunk) -> int:
    return len(b"".join(source[chunk.span.start : chunk.span.end].split()))


def assert_tiled(source: bytes, chunks: tuple[Chunk, ...]) -> None:
    pieces = [source[chunk.span.start : chunk.span.end] for chunk in chunks]
    assert b"".join(pieces) == source
    line = 1
    for chunk, piece in zip(chunks, pieces, strict=True):
        assert chunk.start_line == line
        line += piece.count(b"\n")
        ends_inside = not piece.endswith(b"\n")
        assert chunk.end_line == (line if ends_inside else line - 1)


def long_of(source: str, times: int) -> bytes:
    return "\n\n".join(source.replace("Cart", f"Cart{n}") for n in range(times)).encode()


@given(st.sampled_from(LANGUAGES), st.binary(max_size=3000))
def test_the_chunks_of_any_bytes_tile_them(language: Language, source: bytes) -> None:
    _, chunks = chunk_code(source, language)

    assert_tiled(source, chunks)
    assert_tiled(source, chunk_text(source))


@given(st.lists(st.sampled_from(["x = 1", "", "def f():", "    y = 2", "# a", "é" * 900, "\r"])))
def test_the_chunks_of_any_lines_tile_them(lines: list[str]) -> None:
    source = "\n".join(lines).encode()

    assert_tiled(source, chunk_code(source, "python")[1])
    assert_tiled(source, chunk_text(source))


@pytest.mark.parametrize("path", sorted(SOURCES.glob("*/*.py"))[::9], ids=lambda p: p.name)
def test_the_chunks_of_real_files_tile_them_and_are_small(path: Path) -> None:
    source = path.read_bytes()

    _, chunks = chunk_code(source, "python")

    assert_tiled(source, chunks)
    assert all(visible(source, c) <= MOST or c.start_line == c.end_line for c in chunks)
    assert len(chunks) <= 2 + len(b"".join(source.split())) // 250


def test_a_long_line_is_cut_between_characters() -> None:
    source = ("é" * 9001).encode()

    chunks = chunk_text(source)

    assert_tiled(source, chunks)
    assert len(chunks) > 2
    assert all(source[chunk.span.start : chunk.span.end].decode() for chunk in chunks)


@pytest.mark.parametrize("source", [b"", b"\n", b"x", b"x\n", b"\n\n\n", b"\xff\xfe\n", b"\0\n"])
def test_small_and_odd_files_are_one_chunk(source: bytes) -> None:
    assert len(chunk_text(source)) == 1
    assert_tiled(source, chunk_text(source))


def test_a_definition_is_whole_where_it_fits() -> None:
    source = long_of(PYTHON, 6)

    _, chunks = chunk_code(source, "python")

    for number in range(6):
        holding = [c for c in chunks if f"Cart{number}.total" in c.symbols]
        assert len(holding) == 1
        text = source[holding[0].span.start : holding[0].span.end]
        assert b"return sum(self.lines)" in text


ABOVE: dict[Language, tuple[str, str, str]] = {
    "python": ("", "# Says {n}.\n@cache\ndef f{n}():\n    return {n}", ""),
    "rust": ("", "/// Says {n}.\n#[inline]\nfn f{n}() -> u8 {{\n    {n}\n}}", ""),
    "java": (
        "class A {\n",
        "  // Says {n}.\n  @Override\n  int f{n}() {{\n    return {n};\n  }}",
        "\n}\n",
    ),
    "go": ("package a\n\n", "// F{n} says {n}.\nfunc F{n}() int {{\n\treturn {n}\n}}", ""),
}


@pytest.mark.parametrize("language", ABOVE)
def test_comments_and_attributes_stay_with_what_they_stand_above(
    language: Language,
) -> None:
    before, each, after = ABOVE[language]
    functions = "\n\n".join(each.format(n=number) for number in range(90))
    raw = f"{before}{functions}{after}".encode()

    _, chunks = chunk_code(raw, language)

    assert len(chunks) > 3
    for chunk in chunks[1:]:
        first = raw[chunk.span.start : chunk.span.end].decode().strip().split("\n")[0].strip()
        assert first.startswith(("#", "//", "///", "@")), first


def test_a_chunk_says_what_is_around_it_and_in_it() -> None:
    body = "\n".join(f"        a{n} = {n} * self.lines[{n}]  # the line of {n}" for n in range(60))
    source = f"{PYTHON}\n    def long(self) -> None:\n{body}\n".encode()

    _, chunks = chunk_code(source, "python")

    assert chunks[0].scope == ""
    assert "Cart" in chunks[0].symbols
    assert chunks[0].heads[chunks[0].symbols.index("Cart")] == "class Cart"
    last = chunks[-1]
    assert (last.scope, last.signature) == ("Cart.long", "def long(self) -> None")


def test_elixir_says_what_is_around_it_and_in_it() -> None:
    functions = "\n\n".join(
        f'  @doc "Number {n}."\n  def total{n}(lines) do\n    Enum.sum(lines) + {n}\n  end'
        for n in range(40)
    )
    source = f"defmodule Shop.Cart do\n{functions}\nend\n".encode()

    _, chunks = chunk_code(source, "elixir")

    assert len(chunks) > 2
    assert all(chunk.scope == "Shop.Cart" for chunk in chunks[1:])
    assert any("Shop.Cart.total39" in chunk.symbols for chunk in chunks)


def test_prose_begins_its_chunks_at_headings() -> None:
    sections = [
        f"## Part {n}\n\n" + "\n".join(f"Words of {n}, {m}." for m in range(30)) for n in range(6)
    ]
    source = "\n\n".join(sections).encode()

    chunks = chunk_text(source)

    starts = [source[c.span.start : c.span.end].split(b"\n")[0] for c in chunks]
    assert sum(start.startswith(b"## ") for start in starts) >= 5
