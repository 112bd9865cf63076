"""Documentation is what stands in comments right before a definition."""

from __future__ import annotations

import pytest

from aiex.code import Language, read_facts


@pytest.mark.parametrize(
    ("source", "language", "wanted"),
    [
        ("/** Adds.\n *\n *   a\n * b */\nfunction f() {}\n", "javascript", "Adds.\n\n  a\nb"),
        ("/** Adds. */\n@mark\nclass C {}\n", "typescript", "Adds."),
        ("/** Adds. */\n\nfunction f() {}\n", "javascript", None),
        ("/* Not said. */\nfunction f() {}\n", "javascript", None),
        ("/**/\nfunction f() {}\n", "javascript", None),
        ("/** Adds. */\nint f() { return 1; }\n", "cpp", "Adds."),
        ("/*! Adds. */\nint f() { return 1; }\n", "cpp", "Adds."),
        ("/// Adds.\n///  Twice.\nint f() { return 1; }\n", "cpp", "Adds.\n Twice."),
        ("/// Adds.\n#[inline]\nfn f() {}\n", "rust", "Adds."),
        ("/// Other.\n\n/// Adds.\nfn f() {}\n", "rust", "Adds."),
        ("// Not said.\nfn f() {}\n", "rust", None),
        ("/// Not said.\n\nfn f() {}\n", "rust", None),
    ],
)
def test_the_comment_right_before_a_definition_documents_it(
    source: str, language: Language, wanted: str | None
) -> None:
    (symbol,) = read_facts(source.encode(), language).symbols

    assert symbol.docstring == wanted
