"""How well and how fast definitions are found, against a real parser of each language.

    python bench/symbols.py LANGUAGE=DIRECTORY [...] [--show N] [--json] [--limit FILES]

Each language's oracle (bench/oracles) reads the same files with the language's own parser and
lists what is defined by the rules of docs/analysis.md: kind, qualified name, first and last line.
A definition counts as found if all four agree. Files that the oracle cannot read are left out.
Without arguments: Python's standard library. What an oracle needs:

    python      nothing: ast
    elixir      elixir on PATH
    javascript, typescript, tsx
                node on PATH, and NODE_PATH with the npm package typescript
    go          go on PATH
    rust        AIEX_RUST_ORACLE: the program that cargo builds of bench/oracles/rust
    java        java (17 or newer) on PATH
    cpp         libclang (a development dependency); CPP_INCLUDE: directories of headers, by `:`;
                CPP_FLAGS: what else the compiler is given, such as -std=c++17 and the -isystem of
                clang's own headers

Speed is the time of `read_facts` in MB/s, and its ratio to what tree-sitter alone takes for the
same files in the same run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tree_sitter

from aiex.code import FileFacts, Language, is_binary, language_of, read_facts
from aiex.code.read import MAX_PARSE_BYTES, grammar_of

ORACLES = Path(__file__).resolve().parent / "oracles"
Key = tuple[str, str, int, int]


def command(language: Language) -> list[str]:
    """Return the command that runs the oracle of *language*."""
    match language:
        case "python":
            return [sys.executable, str(ORACLES / "python.py")]
        case "elixir":
            return ["elixir", str(ORACLES / "elixir.exs")]
        case "javascript" | "typescript" | "tsx":
            return ["node", str(ORACLES / "ecmascript.js")]
        case "go":
            return ["go", "run", str(ORACLES / "golang.go")]
        case "rust":
            return [os.environ.get("AIEX_RUST_ORACLE", "aiex-rust-oracle")]
        case "java":
            return ["java", "-Xss64m", str(ORACLES / "Symbols.java")]
        case "cpp":
            return [sys.executable, str(ORACLES / "cpp.py")]


def ask(language: Language, paths: Sequence[Path]) -> dict[str, Any]:
    """Return what the oracle finds, by path.

    Raises:
        SystemExit: It cannot be run.
    """
    argv = command(language)
    if shutil.which(argv[0]) is None:
        raise SystemExit(f"{argv[0]} is not here")
    lines = "".join(f"{path}\n" for path in paths)
    done = subprocess.run(argv, input=lines, stdout=subprocess.PIPE, text=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not found and paths:
        raise SystemExit(f"the oracle ended with {done.returncode}")
    return {one["path"]: one for one in found}


def files_of(language: Language, root: Path) -> Iterator[Path]:
    """Yield the files below *root* that are read as *language*, in order."""
    for path in sorted([root] if root.is_file() else root.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_PARSE_BYTES:
            continue
        if "\n" in str(path) or language_of(str(path), b"") != language:
            continue
        if not is_binary(path.read_bytes()[:8000]):
            yield path


def keys_of(facts: FileFacts) -> list[Key]:
    """Return what of each definition is compared."""
    return [(s.kind, s.qualified_name, s.start_line, s.end_line) for s in facts.symbols]


def compare(ours: Sequence[Key], theirs: Sequence[Sequence[Any]]) -> tuple[int, list[str]]:
    """Return how many definitions agree, and what differs, as `+` (only ours) and `-` lines.

    A last line of 0 says that the oracle does not know it.
    """
    known = Counter((k, n, a, b) for k, n, a, b in theirs if b)
    unknown = Counter((k, n, a) for k, n, a, b in theirs if not b)
    more = []
    agreed = 0
    for key in ours:
        if known[key]:
            known[key] -= 1
        elif unknown[key[:3]]:
            unknown[key[:3]] -= 1
        else:
            more.append(key)
            continue
        agreed += 1
    less = [*known.elements(), *((*key, 0) for key in unknown.elements())]
    named = [("+", key) for key in more] + [("-", key) for key in less]
    named.sort(key=lambda one: (one[1][2], one[1][1]))
    return agreed, [f"{sign} {k} {n} {a}-{b}" for sign, (k, n, a, b) in named]


def complexities(paths: Sequence[Path]) -> dict[tuple[str, int, str], int]:
    """Return what ruff's C901 counts, by path, line and name."""
    argv = [
        *(sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--quiet"),
        *("--select", "C901", "--config", "lint.mccabe.max-complexity=0"),
        *("--ignore-noqa", "--output-format", "json"),
    ]
    counts = {}
    for at in range(0, len(paths), 500):
        some = [str(path) for path in paths[at : at + 500]]
        done = subprocess.run([*argv, *some], stdout=subprocess.PIPE, check=False)
        for one in json.loads(done.stdout or b"[]"):
            if one["code"] == "C901":
                name = one["message"].split("`")[1]
                count = int(one["message"].rpartition("(")[2].partition(" ")[0])
                counts[one["filename"], one["location"]["row"], name] = count
    return counts


class Tally:
    """Agreement on one thing: what is found here, there, and the same in both."""

    def __init__(self) -> None:
        self.ours = self.theirs = self.agreed = 0

    def add(self, ours: Counter[Any], theirs: Counter[Any]) -> list[str]:
        both = ours & theirs
        self.ours += ours.total()
        self.theirs += theirs.total()
        self.agreed += both.total()
        plus = [f"+ {one}" for one in (ours - both).elements()]
        return plus + [f"- {one}" for one in (theirs - both).elements()]

    def report(self) -> dict[str, float | int]:
        return {
            "precision": round(self.agreed / self.ours, 5) if self.ours else 1.0,
            "recall": round(self.agreed / self.theirs, 5) if self.theirs else 1.0,
            "ours": self.ours,
            "theirs": self.theirs,
        }


def python_more(
    path: Path, facts: FileFacts, oracle: dict[str, Any], tallies: dict[str, Tally]
) -> list[str]:
    """Compare documentation, parameters, imports and calls of a Python file."""
    unplaced = set(oracle["unplaced"])
    pairs: dict[str, tuple[Counter[Any], Counter[Any]]] = {
        "imports": (
            Counter((i.target, i.names, i.level, i.line, i.when) for i in facts.imports),
            Counter((t, tuple(n), lv, ln, w) for t, n, lv, ln, w in oracle["imports"]),
        ),
        "calls": (
            Counter((c.callee, c.line, c.caller) for c in facts.calls if c.line not in unplaced),
            Counter(
                (callee, line, caller)
                for callee, line, caller in oracle["calls"]
                if line not in unplaced
            ),
        ),
        "documentation": (
            Counter(
                (s.qualified_name, s.start_line, s.docstring or None)
                for s in facts.symbols
                if s.complexity is not None or s.kind == "class"
            ),
            Counter(
                (*_key(key), detail["docstring"] or None)
                for key, detail in oracle["details"].items()
            ),
        ),
        "parameters": (
            Counter(
                (s.qualified_name, s.start_line, s.parameters)
                for s in facts.symbols
                if s.parameters is not None
            ),
            Counter(
                (*_key(key), detail["parameters"])
                for key, detail in oracle["details"].items()
                if "parameters" in detail
            ),
        ),
    }
    pairs["documentation"][0][("", 0, facts.docstring or None)] += 1
    pairs["documentation"][1][("", 0, oracle["docstring"] or None)] += 1
    return [
        f"{path}: {what} {difference}"
        for what, (ours, theirs) in pairs.items()
        for difference in tallies.setdefault(what, Tally()).add(ours, theirs)
    ]


def _key(written: str) -> tuple[str, int]:
    name, _, line = written.rpartition(":")
    return name, int(line)


def measure(language: Language, roots: Sequence[Path], limit: int) -> dict[str, Any]:
    """Return precision, recall, speed and what differs for one language."""
    paths = [path for root in roots for path in files_of(language, root)]
    if limit and len(paths) > limit:
        paths = sorted(random.Random(7).sample(paths, limit))
    theirs = ask(language, paths)
    parser = tree_sitter.Parser(grammar_of(language))
    read_facts(b"", language)
    symbols = Tally()
    more: dict[str, Tally] = {}
    differences: list[str] = []
    counted = complexities(paths) if language == "python" else {}
    left_out = broken = size = 0
    parse_time = our_time = 0.0
    for path in paths:
        oracle = theirs.get(str(path), {"error": "no answer"})
        source = path.read_bytes()
        began = time.perf_counter()
        parser.parse(source)
        parsed = time.perf_counter()
        facts = read_facts(source, language)
        our_time += time.perf_counter() - parsed
        parse_time += parsed - began
        size += len(source)
        if "error" in oracle:
            left_out += 1
            continue
        broken += bool(facts.error_lines)
        dead = [range(a, b + 1) for a, b in oracle.get("dead", [])]
        ours = [k for k in keys_of(facts) if not any(k[2] in lines for lines in dead)]
        ignored = set(map(tuple, oracle.get("ignored", [])))
        ours = [k for k in ours if (k[1].rpartition(".")[2], k[2]) not in ignored]
        agreed, differing = compare(ours, oracle["symbols"])
        symbols.ours += len(ours)
        symbols.theirs += len(oracle["symbols"])
        symbols.agreed += agreed
        differences += [f"{path}: {one}" for one in differing]
        if language == "python":
            differences += python_more(path, facts, oracle, more)
            tally = more.setdefault("complexity", Tally())
            heads = [
                (s.name, s.start_line, s.end_line, s.complexity)
                for s in facts.symbols
                if s.complexity is not None
            ]
            known = {(n, r): c for (f, r, n), c in counted.items() if f == str(path)}
            placed = Counter[Any]()
            for name, start, end, count in heads:
                row = next((r for r in range(start, end + 1) if (name, r) in known), start)
                placed[name, row, count] += 1
            wanted = Counter((n, r, c) for (n, r), c in known.items())
            differences += [f"{path}: complexity {one}" for one in tally.add(placed, wanted)]
    return {
        "language": language,
        **symbols.report(),
        "files": len(paths) - left_out,
        "left_out": left_out,
        "with_syntax_errors": broken,
        "megabytes": round(size / 1e6, 2),
        "mb_per_s": round(size / 1e6 / our_time, 2) if our_time else 0.0,
        "times_parse": round(our_time / parse_time, 2) if parse_time else 0.0,
        "more": {what: tally.report() for what, tally in more.items()},
        "differences": differences,
    }


def corpora(arguments: Sequence[str]) -> dict[Language, list[Path]]:
    """Return the directories of each language."""
    found: dict[Any, list[Path]] = {}
    for argument in arguments or [f"python={sysconfig.get_path('stdlib')}"]:
        language, _, directory = argument.partition("=")
        found.setdefault(language, []).append(Path(directory).resolve())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpora", nargs="*", metavar="LANGUAGE=DIRECTORY")
    parser.add_argument("--show", type=int, default=20, help="differences that are listed")
    parser.add_argument("--limit", type=int, default=0, help="files a language, chosen at random")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    importlib.import_module("aiex.code")
    results = [
        measure(language, roots, arguments.limit)
        for language, roots in corpora(arguments.corpora).items()
    ]
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    print("language    precision  recall   files  definitions  MB/s  x parse")
    for one in results:
        print(
            f"{one['language']:<11} {one['precision']:<10.4f} {one['recall']:<8.4f} "
            f"{one['files']:<6} {one['theirs']:<12} {one['mb_per_s']:<5} {one['times_parse']}"
        )
        for what, numbers in one["more"].items():
            print(
                f"  {what:<14}{numbers['precision']:<9.4f}{numbers['recall']:<9.4f}"
                f"of {numbers['theirs']}"
            )
        print(f"  left out: {one['left_out']}, with syntax errors: {one['with_syntax_errors']}")
        for line in one["differences"][: arguments.show]:
            print(f"  {line}")


if __name__ == "__main__":
    main()
