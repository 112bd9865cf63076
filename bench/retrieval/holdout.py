"""Makes a set of questions out of the history of a git clone: what would this commit change?

    python bench/retrieval/holdout.py CLONE --name OWNER/NAME --into FOLDER [--back N] [--most N]

The snapshot is the commit N back. A commit after it is a question if it changes one to five source
files that stood in the snapshot as they did before the commit: its message asks, the lines that it
changed are the answer. Tests, docs and examples are no answer. FOLDER/OWNER+NAME gets the files of
the snapshot, FOLDER/questions.jsonl one line a question (after those of earlier runs), with `id`,
`repo`, `snapshot`, `commit`, `query`, `truth_files` and `truth_lines`. CLONE is only read.

What counts as a source file is said here, and not by the rules of Aiex that are measured with it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SOURCES = re.compile(r"\.(?:c|cc|cpp|exs?|go|h|hpp|java|jsx?|kt|php|py|rb|rs|tsx?|vue)$")
_BESIDE = re.compile(
    r"(^|/)(__tests__|benchmarks?|dist|docs?|examples?|node_modules|scripts|spec|static|tests?"
    r"|vendor)/|(^|/)test_|[._]test\.|[._]spec\.|Tests?\.java$|_spec\."
)
_NO_QUESTION = re.compile(
    r"(?i)^(bump|changelog|chore\(deps|merge|prepare|release|revert|update dep)"
)
_NOISE = re.compile(
    r"(?im)^(?:[\w-]+-by|change-id|closes|fixes|refs?|see):? .*$|\(?(?:gh-|#)\d+\)?"
)
_HUNK = re.compile(r"(?m)^@@ -(\d+)(?:,(\d+))? ")
_MOST_FILES, _MOST_LINES, _LEAST_WORDS, _LONGEST = 5, 400, 4, 1200


class Clone:
    """A clone that is asked by git's plumbing, none of the user's settings in the way.

    Args:
        folder: The clone, with or without a work tree.
    """

    def __init__(self, folder: Path) -> None:
        git = folder / ".git"
        self._git = ["git", "--git-dir", str(git if git.exists() else folder)]

    def __call__(self, *words: str, **env: str) -> str:
        """Return what git prints; nothing where it fails, as for what is not in the clone."""
        done = subprocess.run(
            [*self._git, *words],
            capture_output=True,
            env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, **env},
            check=False,
        )
        return done.stdout.decode("utf-8", "replace")

    def write(self, commit: str, folder: Path) -> None:
        """Write the files of *commit* to *folder*."""
        folder.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as scratch:
            index = str(Path(scratch, "index"))
            self("read-tree", commit, GIT_INDEX_FILE=index)
            where = ("--work-tree", str(folder))
            self(*where, "checkout-index", "--all", "--quiet", GIT_INDEX_FILE=index)


def changed_lines(diff: str) -> list[list[int]]:
    """Return the ranges of lines that *diff* takes out of a file, or that it writes below."""
    found: list[list[int]] = []
    for match in _HUNK.finditer(diff):
        first, count = max(int(match[1]), 1), int(match[2] or 1)
        found.append([first, first + max(count, 1) - 1])
    return found


def question_of(message: str) -> str:
    """Return the words of a commit's message, without trailers and numbers of issues."""
    message = _NOISE.sub("", message.replace("\r", ""))
    return re.sub(r"\n{2,}", "\n", message).strip()[:_LONGEST]


def questions(git: Clone, name: str, back: int) -> Iterator[dict[str, Any]]:
    """Yield what can be asked of the snapshot *back* commits ago, oldest first."""
    commits = git("log", "--no-merges", "--format=%H", f"--max-count={back}").split()
    snapshot = commits[-1]
    for commit in reversed(commits[:-1]):
        changes = git("diff-tree", "-r", "--no-commit-id", "--name-status", f"{commit}^", commit)
        files = [line[2:] for line in changes.splitlines() if line.startswith("M\t")]
        files = [f for f in files if _SOURCES.search(f) and not _BESIDE.search(f)]
        query = question_of(git("log", "--max-count=1", "--format=%B", commit))
        if not 0 < len(files) <= _MOST_FILES or len(query.split()) < _LEAST_WORDS:
            continue
        if _NO_QUESTION.match(query) or not all(
            git("rev-parse", f"{snapshot}:{f}") == git("rev-parse", f"{commit}^:{f}") for f in files
        ):
            continue
        truth: dict[str, list[list[int]]] = {}
        for path in files:
            diff = git("diff-tree", "-p", "-U0", "--no-commit-id", f"{commit}^", commit, "--", path)
            if ranges := changed_lines(diff):
                truth[path] = ranges
        lines = sum(last - first + 1 for ranges in truth.values() for first, last in ranges)
        if 0 < lines <= _MOST_LINES:
            yield {
                "id": f"{name.rpartition('/')[2]}-{commit[:8]}",
                "repo": name,
                "snapshot": snapshot,
                "commit": commit,
                "query": query,
                "truth_files": list(truth),
                "truth_lines": [{"path": p, "ranges": r} for p, r in truth.items()],
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clone", type=Path, metavar="CLONE")
    parser.add_argument("--name", required=True, metavar="OWNER/NAME")
    parser.add_argument("--into", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--back", type=int, default=300)
    parser.add_argument("--most", type=int, default=40)
    asked = parser.parse_args()
    git = Clone(asked.clone.resolve())
    found = list(questions(git, asked.name, asked.back))
    if not found:
        raise SystemExit(f"the last {asked.back} commits of {asked.clone} hold no question")
    found = found[:: -(-len(found) // asked.most)]
    git.write(found[0]["snapshot"], asked.into / asked.name.replace("/", "+"))
    with asked.into.joinpath("questions.jsonl").open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in found)
    print(f"{asked.name}: {len(found)} questions over {found[0]['snapshot'][:12]}")


if __name__ == "__main__":
    main()
