from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiex.code import LANGUAGES, Language, comment_mark, read_facts
from aiex.context import Form, Item, fit, forms_of
from aiex.context.compress.excerpts import lines_of

SOURCES: dict[Language, str] = {
    "python": '''\
# Copyright somebody,
# who owns it all
# and says so at length.
"""Prices of things.

They are read once.
Nothing is cached.
"""
import os
import sys
from decimal import (
    Decimal,
)


@final
class Cart:
    """What is bought.

    And for how much.
    Not more.
    """

    rates = {
        "a": 1,
        "b": 2,
    }

    def total(
        self, tax: int
    ) -> int:
        """Return the sum.

        Tax included.
        Always.
        """
        # First the sum,
        # then the tax.
        both = 1 + tax
        return _round(both)


def _round(value):
    whole = int(value)
    return whole + 1 - 1


def _log(value):
    first = str(value)
    print(first, first)
''',
    "elixir": '''\
defmodule Cart do
  @moduledoc """
  What is bought.

  And for how much.
  Not more.
  """
  alias Shop.Prices
  import Enum, only: [sum: 1]

  @doc """
  Returns the sum.

  Tax included.
  Always.
  """
  def total(items) do
    prices = Prices.of(items)
    sum(prices)
  end

  defp log(value) do
    first = inspect(value)
    IO.puts(first <> first)
  end
end
''',
    "javascript": """\
// Copyright somebody,
// who owns it all
// and says so at length.
import { sum } from "./sum.js";
import { of } from "./prices.js";
import { round } from "./round.js";

/**
 * What is bought.
 *
 * And for how much.
 */
export class Cart {
  total(tax) {
    const prices = of(this.items);
    return round(sum(prices) + tax);
  }

  #log(value) {
    const first = String(value);
    console.log(first, first);
  }
}
""",
    "typescript": """\
import { sum } from "./sum.js";
import type { Price } from "./prices.js";
import { round } from "./round.js";

/* What is bought.
   And for how much it was bought.
   Not more. */
export class Cart {
  total(tax: number): number {
    const prices: Price[] = [];
    return round(sum(prices) + tax);
  }
}

const _log = (value: string): void => {
  const first = value.trim();
  console.log(first, first);
};
""",
    "tsx": """\
import React from "react";
import { sum } from "./sum.js";

// A page shows what is bought
// and for how much it was bought.
export function Page(props: { tax: number }) {
  const title = `${props.tax}`;
  return <h1>{title}</h1>;
}
""",
    "go": """\
package cart

import (
	"fmt"
	"math"
	"example.org/shop/prices"
)

// Total returns the sum.
// Tax is included, always.
func Total(tax int) int {
	both := 1 + tax
	return int(math.Abs(float64(both)))
}

func log(value int) {
	first := fmt.Sprint(value)
	fmt.Println(first, first)
}
""",
    "rust": """\
//! What is bought,
//! and for how much,
//! and not more.
use std::fmt;
use std::ops::{Add, Sub};

/// Returns the sum.
/// Tax is included, always.
pub fn total(tax: i32) -> i32
where
    i32: Add,
{
    let both = 1 + tax;
    both
}

fn log(value: i32) {
    let first = value.to_string();
    println!("{first} {first}");
}
""",
    "java": """\
package shop;

import java.util.List;
import java.util.Map;

/** What is bought.
 * And for how much.
 * Not more.
 */
public class Cart {
    public int total(int tax) {
        int both = 1 + tax;
        return both;
    }

    private void log(int value) {
        String first = String.valueOf(value);
        System.out.println(first + first);
    }
}
""",
    "cpp": """\
#include <string>
#include "prices.h"

#define BOTH(a, b) \\
  do { use(a); use(b); } while (0)

/* What is bought.
   And for how much it was bought.
   Not more. */
struct Cart {
  int total(int tax)
  {
    int both = 1 + tax;
    return both;
  }
};

static void log(int value) {
  std::string first = std::to_string(value);
  std::puts(first.c_str());
}
""",
}


def said_lines(line: str) -> int | None:
    match = re.search(r" \.\.\. (?:\d+ imports?, )?(\d+) lines? \.\.\.$", line.rstrip("\n"))
    return None if match is None else int(match[1])


def holds(text: str, form: Form, language: Language) -> None:
    """Assert that every line of *form* is one of *text*, or says how many it stands for."""
    whole, shown = lines_of(text), lines_of(form.text)
    folds = {fold.first: fold for fold in form.folds}
    spans = form.spans()
    assert len(spans) == len(shown)
    after = 1
    for line, (first, last) in zip(shown, spans, strict=True):
        assert first == after  # no line of the text is missed, and none comes twice
        after = last + 1
        if first in folds:
            assert line.lstrip().startswith(f"{comment_mark(language)} ... ")
            assert said_lines(line) == folds[first].lines == last - first + 1
            assert len(line) < sum(map(len, whole[first - 1 : last]))
        else:
            assert line == whole[first - 1]
    assert after == len(whole) + 1


def forms(text: str, language: Language) -> tuple[Form, ...]:
    return forms_of(text, read_facts(text.encode("utf-8", "replace"), language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_gets_shorter_by_comments_imports_bodies_and_all_but_heads(
    language: Language,
) -> None:
    text = SOURCES[language]
    found = forms(text, language)

    kinds = {fold.kind for form in found for fold in form.folds}
    assert kinds == {"comments", "imports", "bodies", "definitions"}
    sizes = [len(text), *(len(form.text) for form in found)]
    assert sizes == sorted(set(sizes), reverse=True)
    for form in found:
        holds(text, form, language)
    for head in ("total", "Page"):
        if head in text:
            assert any(head in line for line in found[-1].text.splitlines())
    assert len(found[-1].text) < 0.6 * len(text)


FRAGMENTS = {
    language: [
        *re.findall(r"(?:.*\n){1,3}", source),
        *source.splitlines(keepends=True),
        *(f"{comment_mark(language)} ... 7 lines ...\n", "\n", "é\u2028x\r\n", "```\n"),
    ]
    for language, source in SOURCES.items()
}


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(LANGUAGES), st.booleans())
def test_any_text_keeps_its_lines_and_accounts_for_those_it_leaves_out(
    data: st.DataObject, language: Language, ends: bool
) -> None:
    pieces = data.draw(st.lists(st.sampled_from(FRAGMENTS[language]), max_size=20))
    text = "".join(pieces) if ends else "".join(pieces).rstrip("\n")
    found = forms(text, language)

    sizes = [len(text), *(len(form.text) for form in found)]
    assert sizes == sorted(set(sizes), reverse=True)
    for form in found:
        holds(text, form, language)


def test_bodies_go_by_their_worth() -> None:
    text = SOURCES["python"]
    facts = read_facts(text.encode(), "python")
    [total] = [s for s in facts.symbols if s.name == "total"]

    found = forms_of(text, facts, keep=[(total.start_line, total.end_line)])

    def first_without(line: str) -> int:
        return next(n for n, form in enumerate(found) if line not in form.text)

    # What nobody needs, what the kept one calls, then everything else; the kept one stays.
    assert first_without("print(first, first)") < first_without("whole = int(value)")
    assert first_without("whole = int(value)") <= len(found) - 1
    kept = "".join(lines_of(text)[total.start_line - 1 : total.end_line])
    assert all(kept in form.text for form in found)


def test_a_definition_alone_keeps_its_own_body_and_loses_those_inside() -> None:
    text = (
        "import os\n\n\n"
        "def outer(a):\n"
        "    def inner(b):\n        first = b + 1\n        return first * 2\n\n"
        "    return inner(a)\n"
    )
    facts = read_facts(text.encode(), "python")

    [form] = forms_of(text, facts, lines=(4, 9))

    assert form.text == (
        "def outer(a):\n    def inner(b):\n        # ... 2 lines ...\n\n    return inner(a)\n"
    )
    assert form.spans() == [(1, 1), (2, 2), (3, 4), (5, 5), (6, 6)]


def test_a_doc_string_stays_closed_and_says_its_first_line() -> None:
    text = SOURCES["python"]
    first = forms(text, "python")[0]

    assert '    """What is bought.\n    # ... 3 lines ...\n    """\n' in first.text
    assert "# Copyright somebody,\n# ... 2 lines ...\n" in first.text
    compile(first.text, "x.py", "exec")


def test_an_import_that_shares_its_line_stays() -> None:
    for line in (
        'const a = one(require("./some/long/path")), b = 2, c = three("and more of it");\n',
        'const a = require("./some/long/path"), b = 2, c = three("and more of it");\n',
    ):
        assert forms(line * 3, "javascript") == ()


def test_a_language_that_is_not_read_has_no_forms_and_is_cut_after_a_line() -> None:
    text = "".join(f"some words of line {n}\n" for n in range(1, 41))
    assert forms_of(text, None) == ()

    subject = Item(path="a.txt", start_line=1, text=text, reason="x")
    also = Item(path="b.txt", start_line=1, text=text, reason="x", may_be_cut=True)
    never = Item(path="c.txt", start_line=1, text=text, reason="x")
    fitted = fit([subject], 200, len)
    assert fitted.shown[0].text.endswith("[... 33 more lines left out ...]\n")
    small = Item(path="", start_line=1, text="a\n", reason="x")
    assert [s.form for s in fit([small, also, never], 200, len).shown] == ["whole", "cut"]


def test_what_cannot_be_parsed_has_no_forms() -> None:
    text = "def f():\n    a = 1\n    return a\n" + "\0" * 10
    assert forms(text, "python") == ()
