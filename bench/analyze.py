"""What `aiex analyze` takes on real projects, beside `ruff check` and `python -c pass`.

    python bench/analyze.py [FOLDER...] [--runs N]

Without a FOLDER the source distributions of aider-chat (15 kLOC in its package) and Django
(135 kLOC of code) are fetched by pip's or uv's own settings. Each folder is copied and given a git
history from a fixed seed. Runs are interleaved, so that a noisy machine is noisy to all of them;
figures are medians of wall time, and the largest resident set of one process. Bars, at 15 kLOC:
warm 1 s, cold 4 s, 150 MB, and after one file has changed 0.15 s of work beyond imports (the run
less one that only imports the same modules); Django cold 30 s.

`cold` knows nothing; `warm` repeats it; `changed` is `analyze` after one file was edited; `diff`
is `analyze diff` then.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ruff import find_ruff_bin

PROJECTS = ("aider-chat", "django")
COMMITS = 60
SETTLED = 2.1
AIEX = [sys.executable, "-P", "-m", "aiex"]
NOTING = (
    "import json, runpy, sys\n"
    "into, sys.argv = sys.argv[1], ['aiex', *sys.argv[2:]]\n"
    "try:\n"
    "    runpy.run_module('aiex', run_name='__main__')\n"
    "finally:\n"
    "    names = [n for n in sys.modules if '__main__' not in n]\n"
    "    json.dump(names, open(into, 'w'))\n"
)
IMPORTING = (
    "import contextlib, importlib, json, sys\n"
    "for name in json.load(open(sys.argv[1])):\n"
    "    with contextlib.suppress(ImportError):\n"
    "        importlib.import_module(name)\n"
)


def fetch(name: str, into: Path) -> Path:
    """Return the unpacked source distribution of *name*."""
    pip = [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("pip") is None:
        pip = ["uv", "tool", "run", "pip"]
    words = ["download", "-q", "--no-deps", "--no-binary", name, "--dest", str(into), name]
    subprocess.run([*pip, *words], check=True)
    archive = next(into.glob(f"{name.replace('-', '_')}*.tar.gz"))
    with tarfile.open(archive) as packed:
        packed.extractall(into / name, filter="data")
    return next((into / name).iterdir())


def seed_history(project: Path) -> None:
    """Make *project* a repository whose files changed now and then, the same every time."""
    chance = random.Random(15)
    files = sorted(project.rglob("*.py"))
    began = datetime.now(UTC) - timedelta(days=200)

    def git(*words: str, day: int = 0, author: str = "ada") -> None:
        date = (began + timedelta(days=day)).isoformat()
        who = {"NAME": author, "EMAIL": f"{author}@example.org", "DATE": date}
        env = {f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in who.items()}
        subprocess.run(
            ["git", "-C", str(project), *words],
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env},
            check=True,
        )

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    for day in range(1, COMMITS + 1):
        # Few files change often and most never do, as in life.
        for place in {int(len(files) * chance.random() ** 3) for _ in range(5)}:
            with files[place].open("a") as file:
                file.write(f"# {day}\n")
        author = chance.choice(["ada", "grace", "edsger"])
        git("commit", "--quiet", "--all", "--message", f"day {day}", day=day * 3, author=author)


class Took:
    """Wall seconds and largest resident set (bytes) of the runs of one command."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.resident = 0

    def run(self, argv: list[str], home: Path, cwd: Path) -> None:
        """Run once more."""
        env = {"PATH": os.environ["PATH"], "HOME": str(home)}
        started = time.perf_counter()
        process = subprocess.Popen(argv, env=env, cwd=cwd, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        self.seconds.append(time.perf_counter() - started)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.resident = max(self.resident, usage.ru_maxrss << 10)
        if process.returncode:
            raise SystemExit(f"{' '.join(argv)} ended with {process.returncode}")

    @property
    def median(self) -> float:
        """Median seconds of the runs."""
        return statistics.median(self.seconds)


def imports_of(words: list[str], home: Path, project: Path) -> list[str]:
    """Return a command that only imports what `aiex` with *words* does."""
    names = home / f"{words[-2]}.modules"
    argv = [sys.executable, "-P", "-c", NOTING, str(names), *words]
    env = {"PATH": os.environ["PATH"], "HOME": str(home)}
    subprocess.run(argv, env=env, cwd=project, stdout=subprocess.DEVNULL, check=True)
    return [sys.executable, "-P", "-c", IMPORTING, str(names)]


def measure(source: Path, scratch: Path, runs: int) -> None:
    project, home = scratch / "project", scratch / "home"
    shutil.copytree(source, project, ignore=shutil.ignore_patterns(".git"))
    home.mkdir()
    seed_history(project)
    edited = max(project.rglob("*.py"), key=lambda path: path.stat().st_size)
    time.sleep(SETTLED)
    code, diff = ["analyze", "code", "--json"], ["analyze", "diff", "--json"]
    ruff = [find_ruff_bin(), "check", "--isolated", "--no-cache", "--quiet", "--exit-zero", "."]
    commands: dict[str, tuple[list[str], Callable[[], object]]] = {
        "python -c pass": ([sys.executable, "-c", "pass"], lambda: None),
        "ruff check": (ruff, lambda: None),
        "cold": ([*AIEX, *code], lambda: shutil.rmtree(home / ".local", ignore_errors=True)),
        "warm": ([*AIEX, *code], lambda: None),
        "its imports": (imports_of(code, home, project), lambda: None),
        "changed": ([*AIEX, *code], lambda: edit(edited)),
        "diff": ([*AIEX, *diff], lambda: edit(edited)),
        "its imports ": (imports_of(diff, home, project), lambda: None),
    }
    took = {name: Took() for name in commands}
    for _ in range(runs):
        for name, (argv, prepare) in commands.items():
            prepare()
            if name == "diff":
                Took().run(argv, home, project)  # learns git's names of all contents, once
                edit(edited)
            took[name].run(argv, home, project)
    size = json.loads(
        subprocess.check_output(
            [*AIEX, *code], cwd=project, env={"HOME": str(home), "PATH": os.environ["PATH"]}
        )
    )
    python = next(one for one in size["data"]["languages"] if one["language"] == "python")
    print(f"{source.name}: {python['files']} Python files, {python['code']} lines of code")
    print(f"{'':16}  median     x ruff  resident  ({runs} runs)")
    for name, one in took.items():
        ratio = one.median / took["ruff check"].median
        print(f"{name:16}  {one.median:6.3f} s  {ratio:6.1f}  {one.resident / 1e6:5.0f} MB")
    for name, imports in (("changed", "its imports"), ("diff", "its imports ")):
        beyond = took[name].median - took[imports].median
        print(f"{name} beyond imports: {beyond:.3f} s")


def edit(path: Path) -> None:
    with path.open("a") as file:
        file.write("# edited\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--runs", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        fetched = Path(name, "fetched")
        fetched.mkdir()
        folders = asked.folders or [fetch(project, fetched) for project in PROJECTS]
        for number, folder in enumerate(folders):
            scratch = Path(name, str(number))
            scratch.mkdir()
            measure(folder.resolve(), scratch, asked.runs)


if __name__ == "__main__":
    main()
