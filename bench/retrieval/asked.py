"""Makes sets of questions that are no messages of commits: names, words of names, errors, tests.

    python bench/retrieval/asked.py FOLDER --name OWNER/NAME --into QUESTIONS.jsonl [--most N]

FOLDER holds the files of a project. Each kind of question has an answer that a plain look at the
text can find, by rules that are said here and are not those of Aiex that are measured with it:

names    an identifier that is defined once in the project; the line that defines it
words    the same as a person says it: `parse_url` as "parse url"
errors   what a program printed: the text of an error that stands once in the sources, with what
         it formats filled in; the line that has it
tests    "tests of NAME"; the test files that have the name, at most five

A line of QUESTIONS has `id` (its kind is the beginning), `repo`, `query`, `truth_files` and
`truth_lines`, as the scorer takes it; lines of earlier runs stay.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SOURCES = re.compile(r"\.(?:c|cc|cpp|exs?|go|h|hpp|java|jsx?|kt|php|py|rb|rs|tsx?|vue)$")
_TESTS = re.compile(
    r"(^|/)(__tests__|spec|tests?|testdata)/|(^|/)test_|[._]test\.|_test\.|[._]spec\.|Tests?\.java$"
)
_BESIDE = re.compile(
    r"(^|/)(\.[^/]+|_examples|benchmarks?|dist|docs?|examples?|node_modules|scripts|static|vendor)/"
)
_DEFINES = re.compile(
    r"^[ \t]*(?:export |pub(?:\([a-z]+\))? |public |static |async |abstract |final |default )*"
    r"(?:class|def|defmacro|defp|enum|fn|func(?: \([^)]*\))?|function|interface|struct|trait)"
    r"[ *]+([A-Za-z_]\w{5,40})\b"
)
_FAILS = re.compile(
    r"(?i)\b(?:raise|throw|bail!|panic!?|errorf?|err\(|fatal\w*|fail\w*|exception|anyhow!)"
)
_TEXT = re.compile(r"\"([^\"\\\n]{24,160})\"|'([^'\\\n]{24,160})'|`([^`\\\n]{24,160})`")
_FILLED = re.compile(r"%[-+# 0-9.]*[a-zA-Z]|\$\{[^}]*\}|#\{[^}]*\}|\{[^{}]*\}")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_WORD = re.compile(r"\w+")
_MOST_TESTS = 5


class Source:
    """A file of the project.

    Args:
        path: Relative to the project.
        text: What is in it.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.lines = text.split("\n")
        self.words = frozenset(_WORD.findall(text))
        self.is_test = bool(_TESTS.search(path))


def sources_of(folder: Path) -> list[Source]:
    """Return the sources below *folder*, sorted by path."""
    found = []
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder).as_posix()
        if _SOURCES.search(path) and not _BESIDE.search(path) and file.is_file():
            found.append(Source(path, file.read_text("utf-8", "replace")))
    return found


def defined_once(sources: list[Source]) -> dict[str, tuple[str, int]]:
    """Return path and line of each name that is defined in one place, outside of tests."""
    places: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for source in sources:
        for number, line in enumerate(source.lines, 1):
            match = _DEFINES.match(line)
            if match and not match[1].lower().startswith("test"):
                where = "" if source.is_test else source.path
                places[match[1]].append((where, number))
    return {name: at[0] for name, at in places.items() if len(at) == 1 and at[0][0]}


def errors_once(sources: list[Source]) -> dict[str, tuple[str, int]]:
    """Return path and line of each text of an error that stands in one place."""
    places: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for source in sources:
        for number, line in enumerate(source.lines, 1):
            near = "".join(source.lines[max(0, number - 2) : number])
            if source.is_test or not _FAILS.search(near):
                continue
            for texts in _TEXT.findall(line):
                text = "".join(texts)
                if len(text.split()) >= 4 and "://" not in text:
                    places[text].append((source.path, number))
    return {text: at[0] for text, at in places.items() if len(at) == 1}


def said(name: str) -> str:
    """Return *name* in words."""
    return " ".join(_PARTS.findall(name)).lower()


def sample(texts: dict[str, tuple[str, int]], most: int) -> list[str]:
    """Return *most* of the texts, the same ones every time and no neighbours."""
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())[:most]


def questions(sources: list[Source], most: int) -> Iterator[tuple[str, str, dict[str, list[int]]]]:
    """Yield kind, question, and the lines that answer it by path."""
    names = defined_once(sources)
    for name in sample(names, most):
        path, line = names[name]
        yield "names", name, {path: [line]}
        if len(said(name).split()) >= 2:
            yield "words", said(name), {path: [line]}
    errors = errors_once(sources)
    for text in sample(errors, most):
        path, line = errors[text]
        yield "errors", _FILLED.sub("x1", text), {path: [line]}
    tested = {
        name: [source.path for source in sources if source.is_test and name in source.words]
        for name in names
    }
    found = {n: names[n] for n, paths in tested.items() if 0 < len(paths) <= _MOST_TESTS}
    for name in sample(found, most):
        yield "tests", f"tests of {name}", {path: [] for path in tested[name]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--name", required=True, metavar="OWNER/NAME")
    parser.add_argument("--into", type=Path, required=True, metavar="QUESTIONS.jsonl")
    parser.add_argument("--most", type=int, default=20, help="questions of each kind")
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for number, (kind, query, truth) in enumerate(questions(sources_of(asked.folder), asked.most)):
        ranges = [
            {"path": p, "ranges": [[n, n] for n in lines or [1]]} for p, lines in truth.items()
        ]
        rows.append(
            {
                "id": f"{kind}-{number}",
                "repo": asked.name,
                "query": query,
                "truth_files": list(truth),
                "truth_lines": ranges,
            }
        )
    with asked.into.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    print(f"{asked.name}: {len(rows)} questions")


if __name__ == "__main__":
    main()
