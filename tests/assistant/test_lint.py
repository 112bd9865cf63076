"""ruff as it is run on files that nobody vouches for."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import pytest

from aiex.assistant.lint import LintReport, Ruff, Source
from aiex.assistant.ruff_run import ruff_program
from aiex.assistant.ruff_settings import RuffSettings, settings_among
from aiex.code import read_facts
from aiex.context import AnalysisCache
from aiex.core import digest_of
from aiex.sandbox import CommandPolicy, FileContent, Isolation

pytestmark = pytest.mark.anyio

UNUSED = b"import os\n"
REAL = ruff_program()


def content(path: str, source: bytes = UNUSED) -> FileContent:
    return FileContent(path=path, content=source, sha256=digest_of(source), mode=0o644, mtime_ns=0)


async def check(
    ruff: Ruff,
    contents: Sequence[FileContent],
    settings: dict[str, bytes] | None = None,
    *,
    use_cache: bool = True,
) -> LintReport:
    facts = {one.path: read_facts(one.content, "python") for one in contents}
    found = settings_among(settings or {}, facts)
    return await ruff.check(contents, facts, found, use_cache=use_cache)


def found(report: LintReport) -> list[tuple[str, str]]:
    return [(finding.path, finding.rule) for finding in report.findings]


def reasons(report: LintReport) -> dict[str, str]:
    return {note.what: note.reason for note in report.not_checked}


@pytest.fixture
async def unkept() -> AsyncIterator[None]:
    """Let programs of these tests write down that they ran, which the sandbox refuses."""
    async with Isolation(CommandPolicy(require="none")) as isolation:
        isolation._level = "none"
        yield


class Script:
    """A program that acts as ruff but for what it is told to do first.

    Attributes:
        log: One line a run.
    """

    def __init__(self, folder: Path, first: str) -> None:
        self.path = folder / "ruff-like"
        self.log = folder / "runs"
        self.log.touch()
        self.path.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && exec {REAL} --version\n'
            f'echo "$*" >> {self.log}\n{textwrap.dedent(first)}\nexec {REAL} "$@"\n'
        )
        self.path.chmod(0o755)

    def runs(self) -> int:
        return len(self.log.read_text().splitlines())

    def __call__(self) -> str:
        return str(self.path)


async def test_findings_have_their_place_symbol_and_an_id_of_their_own(
    cache: AnalysisCache,
) -> None:
    source = (
        b"class A:\n    def f(self):\n        def g(x):\n            eval(x)\n        eval(1)\n"
    )

    report = await check(Ruff(cache), [content("b.py", source), content("a.py", source)])

    assert [(f.path, f.line, f.symbol) for f in report.findings] == [
        ("a.py", 4, "A.f.g"),
        ("a.py", 5, "A.f"),
        ("b.py", 4, "A.f.g"),
        ("b.py", 5, "A.f"),
    ]
    assert len({f.id for f in report.findings}) == 4
    assert report.findings[0].tool.startswith("ruff ")
    assert report.not_checked == ()


@pytest.mark.usefixtures("unkept")
async def test_a_file_that_ruff_dies_of_is_named_and_the_others_are_checked(
    cache: AnalysisCache, tmp_path: Path
) -> None:
    script = Script(tmp_path, "[ -e culprit.py ] && kill -ABRT $$")
    paths = [f"m{number}.py" for number in range(20)]
    contents = [content(path) for path in (*paths, "culprit.py")]

    report = await check(Ruff(cache, find=script), contents)

    assert found(report) == [(path, "ruff:F401") for path in sorted(paths)]
    assert list(reasons(report)) == ["culprit.py"]
    assert "ended with" in reasons(report)["culprit.py"]
    assert 5 <= script.runs() <= 12
    runs = script.runs()
    assert reasons(await check(Ruff(cache, find=script), contents)) == reasons(report)
    assert script.runs() == runs


@pytest.mark.usefixtures("unkept")
async def test_a_file_that_takes_too_long_is_named_and_tried_again_another_day(
    cache: AnalysisCache, tmp_path: Path
) -> None:
    script = Script(tmp_path, "[ -e slow.py ] && sleep 60")
    contents = [content("a.py"), content("slow.py", UNUSED * 9), content("z.py")]

    ruff = Ruff(cache, find=script, timeout=1.0)
    report = await check(ruff, contents)

    assert found(report) == [("a.py", "ruff:F401"), ("z.py", "ruff:F401")]
    assert reasons(report) == {"slow.py": "ruff took too long on it"}
    before = script.runs()
    await check(ruff, contents)
    assert script.runs() == before + 1


@pytest.mark.usefixtures("unkept")
async def test_a_program_that_dies_of_everything_is_not_asked_without_end(
    cache: AnalysisCache, tmp_path: Path
) -> None:
    script = Script(tmp_path, "kill -ABRT $$")
    contents = [content(f"m{number}.py") for number in range(200)]

    report = await check(Ruff(cache, find=script), contents)

    assert report.checked == ()
    assert set(reasons(report)) == {one.path for one in contents}
    assert script.runs() < 60
    script = Script(tmp_path, "")
    assert len(found(await check(Ruff(cache, find=script), contents))) == 200 - 16


async def test_a_report_without_end_names_its_file(cache: AnalysisCache) -> None:
    contents = [content("a.py"), content("names.py", b"f\n" * 100_000)]

    report = await check(Ruff(cache), contents)

    assert found(report) == [("a.py", "ruff:F401")]
    assert list(reasons(report)) == ["names.py"]


async def test_what_would_end_ruff_is_never_given_to_it(
    cache: AnalysisCache, tmp_path: Path
) -> None:
    script = Script(tmp_path, "")
    contents = [
        content("deep.py", b"x = " + b"-" * 20_000 + b"1\n"),
        content("latin.py", b"x = '\xe9'\n"),
        content("not utf-8 \udcff.py"),
        content("/".join(["long" * 50] * 20) + ".py"),
    ]

    report = await check(Ruff(cache, find=script), contents)

    assert script.runs() == 0
    assert set(reasons(report)) == {one.path for one in contents}
    assert report.checked == ()


@pytest.mark.usefixtures("unkept")
async def test_it_is_not_asked_twice_about_the_same_file(
    cache: AnalysisCache, tmp_path: Path
) -> None:
    script = Script(tmp_path, "")
    ruff = Ruff(cache, find=script)
    first = await check(ruff, [content("a.py"), content("b.py", b"import re\n")])

    assert found(await check(ruff, [content("a.py")])) == [("a.py", "ruff:F401")]
    assert script.runs() == 1
    again = await check(ruff, [content("a.py"), content("b.py", b"import re\n")])
    assert again.findings == first.findings
    assert (first.checked[0].exit, again.checked[0].exit) == (0, None)
    assert script.runs() == 1
    await check(ruff, [content("a.py")], use_cache=False)
    await check(ruff, [content("renamed.py")])
    await check(ruff, [content("a.py")], {"ruff.toml": b"line-length = 70\n"})
    assert script.runs() == 5  # the last time also whether it takes the settings


async def test_only_files_that_are_not_known_are_read(cache: AnalysisCache) -> None:
    ruff = Ruff(cache)
    await check(ruff, [content("a.py")])
    sources = [Source(path=p, sha256=digest_of(UNUSED), size=10) for p in ("a.py", "b.py")]
    asked: list[str] = []

    def read(paths: Sequence[str]) -> list[FileContent]:
        asked.extend(paths)
        return []  # as if it were gone meanwhile

    report = await ruff.check_many(sources, read, {}, settings_among({}, ["a.py", "b.py"]))

    assert asked == ["b.py"]
    assert found(report) == [("a.py", "ruff:F401")]


async def test_without_ruff_what_is_missing_is_named(cache: AnalysisCache) -> None:
    ruff = Ruff(cache, find=lambda: None)

    report = await check(ruff, [content("a.py")])

    assert await ruff.version() is None
    assert report.findings == ()
    assert report.checked == ()
    assert [(n.tool, n.reason) for n in report.not_checked] == [("ruff", "ruff is not installed")]


async def test_selection_exclusions_and_patterns_of_the_project_are_followed(
    cache: AnalysisCache,
) -> None:
    settings = {
        "pyproject.toml": b"""
[tool.ruff]
line-length = 30
extend-exclude = ["generated"]
[tool.ruff.lint]
select = ["E501", "F"]
ignore = ["F841"]
per-file-ignores = { "tests/*" = ["F401"] }
flake8-bugbear.extend-immutable-calls = ["fastapi.Depends"]
"""
    }
    source = b"import os\n\n\ndef f():\n    a = 'a line of forty columns or so'\n"
    paths = ["src/a.py", "tests/a.py", "generated/a.py"]

    report = await check(Ruff(cache), [content(path, source) for path in paths], settings)

    assert found(report) == [
        ("src/a.py", "ruff:F401"),
        ("src/a.py", "ruff:E501"),
        ("tests/a.py", "ruff:E501"),
    ]
    assert report.not_checked == ()


async def test_patterns_are_relative_to_the_folder_of_their_settings(cache: AnalysisCache) -> None:
    settings = {
        "ruff.toml": b"lint.per-file-ignores = { 'app/a.py' = ['F401'] }\n",
        "sub/ruff.toml": b"lint.per-file-ignores = { 'app/b.py' = ['F401'] }\n",
    }
    paths = ["app/a.py", "app/b.py", "sub/app/a.py", "sub/app/b.py"]

    report = await check(Ruff(cache), [content(path) for path in paths], settings)

    assert found(report) == [("app/b.py", "ruff:F401"), ("sub/app/a.py", "ruff:F401")]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (b"[lint]\nnonsense = 3\n", "unknown field `nonsense`"),
        (b"[lint]\nselect = ['NOPE1']\n", "Unknown rule selector `NOPE1`"),
        (b"target-version = 'py27'\n", "py27"),
    ],
)
async def test_settings_that_ruff_refuses_are_named_and_ours_are_used(
    cache: AnalysisCache, settings: bytes, reason: str
) -> None:
    for _ in range(2):
        report = await check(Ruff(cache), [content("a.py")], {"ruff.toml": settings})

        assert found(report) == [("a.py", "ruff:F401")]
        assert reason in reasons(report)["settings of ruff in ruff.toml"]


@pytest.mark.usefixtures("unkept")
async def test_the_copies_are_gone_when_it_has_ended(cache: AnalysisCache, tmp_path: Path) -> None:
    place = tmp_path / "place"
    script = Script(tmp_path, f"pwd > {place}")

    report = await check(Ruff(cache, find=script), [content("a.py")])

    assert not await anyio.Path(place.read_text().strip()).exists()
    assert report.checked[0].argv[4:] == RuffSettings().arguments()


def test_ruff_is_found_by_threads_that_look_at_once() -> None:
    """Python 3.11 fills what sysconfig knows in full view of other threads."""
    program = (
        "import sys, sysconfig\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from aiex.assistant.ruff_run import ruff_program\n"
        "sys.setswitchinterval(1e-6)\n"
        "ruff_program()\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    for _ in range(30):\n"
        "        sysconfig._CONFIG_VARS = None\n"
        "        sysconfig._CONFIG_VARS_INITIALIZED = False\n"
        "        calls = [pool.submit(ruff_program) for _ in range(8)]\n"
        "        assert all(call.result() for call in calls)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )

    assert ran.returncode == 0, ran.stderr
