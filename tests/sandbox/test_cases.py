"""Every adversarial case, with both drivers; and that a check of real paths loses them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from tests.sandbox.cases import CASES, POLICY, VERBS, AnyFiles, Case, Yard, problem_of
from tests.sandbox.naive import NaiveFiles

from aiex.core import Actor
from aiex.sandbox import AuditLog, Files

ACTOR = Actor(user="tester", interface="cli")
MEMORY = Path("/dev/shm")


@contextmanager
def yard_in_memory() -> Iterator[Yard]:
    """A yard where a sync costs nothing, so that thousands of cases take seconds."""
    folder = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=folder) as base:
        yield Yard(Path(base))


class Yards:
    """One yard after another: a new one when a case has changed the last."""

    def __init__(self, open_files: Callable[[Yard], AbstractContextManager[AnyFiles]]) -> None:
        self._open_files = open_files
        self._stack = ExitStack()
        self._now: tuple[Yard, AnyFiles, dict[str, object]] | None = None

    def __enter__(self) -> Yards:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def problem_of(self, case: Case) -> str | None:
        if self._now is None:
            self._stack.close()
            yard = self._stack.enter_context(yard_in_memory())
            files = self._stack.enter_context(self._open_files(yard))
            self._now = yard, files, {**yard.inside(), **yard.untouchable()}
        yard, files, before = self._now
        yard.link(case.links)
        self._now = None
        try:
            return problem_of(case, files, yard)
        finally:
            with suppress(FileNotFoundError):
                yard.unlink(case.links)
            if {**yard.inside(), **yard.untouchable()} == before:
                self._now = yard, files, before


def of_verb(verb: str) -> list[Case]:
    return [case for case in CASES if case.verb == verb]


WAYS = {way: [c for c in CASES if c.way == way] for way in dict.fromkeys(c.way for c in CASES)}


@pytest.mark.parametrize("way", WAYS)
def test_every_verb_asked_this_way(way: str, portable: bool) -> None:
    @contextmanager
    def ours(yard: Yard) -> Iterator[AnyFiles]:
        with (
            AuditLog(yard.state / "audit") as audit,
            Files(
                yard.root,
                state=yard.state,
                policy=POLICY,
                audit=audit,
                actor=ACTOR,
                op_id="op",
                portable=portable,
            ) as files,
        ):
            files.exists("file")  # the log opens its segment with the first record
            yield files

    with Yards(ours) as yards:
        problems = {case.name: yards.problem_of(case) for case in WAYS[way]}

    assert {name: problem for name, problem in problems.items() if problem is not None} == {}


def test_every_case_has_its_own_name_and_every_verb_has_its_cases() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 200
    assert all(len(of_verb(verb)) >= 50 for verb in VERBS)
    assert sum(map(len, WAYS.values())) == len(CASES)


def test_a_check_of_real_paths_loses_the_cases_that_it_must_lose() -> None:
    """Which shows that the cases above can fail; where it does not lose, a case proves little."""

    @contextmanager
    def naive(yard: Yard) -> Iterator[AnyFiles]:
        yield NaiveFiles(yard.root)

    lost: list[str] = []
    won: list[str] = []
    with Yards(naive) as yards:
        for case in CASES:
            if case.hangs_naively:
                continue
            try:
                problem = yards.problem_of(case)
            except (OSError, ValueError) as error:
                problem = f"a fault: {error}"
            (won if problem is None else lost).append(case.name)

    must_lose = {case.name for case in CASES if case.is_lost_naively}
    assert must_lose & set(won) == set()
    assert len(lost) > 200
    assert len(won) > 200, "it must be a fair opponent"
    assert {name.split(":")[0] for name in lost} >= {
        "traversal",
        "link",
        "protected",
        "never written",
        "hard link",
        "limit",
    }
