"""What is said of newer versions and of vulnerabilities is never more than was answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.assistant.analyze.deps.judge import findings_of
from aiex.assistant.analyze.deps.outdated import Newer, with_newest
from aiex.assistant.analyze.deps.ports import (
    Advisory,
    Affecting,
    PackageVersion,
    Repair,
    Versions,
)
from aiex.assistant.analyze.deps.security import Known, to_check, with_vulnerabilities
from aiex.core import Coverage, Dependency, NotFoundError, UnavailableError

pytestmark = pytest.mark.anyio


async def tell(done: int, total: int) -> None:
    assert 0 < done <= total


def needs(name: str, requirement: str = "", version: str | None = None, **more: str) -> Dependency:
    return Dependency(
        ecosystem=more.pop("ecosystem", "pypi"),
        name=name,
        requirement=requirement,
        version=version,
        path=more.pop("path", "pyproject.toml"),
        line=1,
        **more,  # type: ignore[arg-type]
    )


class Index:
    """Knows some packages; one that it cannot tell of is `None`."""

    def __init__(self, known: Mapping[str, Sequence[str] | None], name: str = "index") -> None:
        self.name = name
        self._known = known

    async def versions(self, package: str) -> Versions:
        if package == "silent":
            await anyio.sleep_forever()
        if package not in self._known:
            raise NotFoundError("it knows nothing of it")
        found = self._known[package]
        if found is None:
            raise UnavailableError(f"{self.name} is tired")
        return Versions(published=dict.fromkeys(found))


async def newer(dependencies: Sequence[Dependency], *sources: Index, seconds: float = 60) -> Newer:
    return await with_newest(dependencies, {"pypi": sources}, tell=tell, seconds=seconds)


async def test_a_version_is_behind_a_newer_one_and_not_behind_a_pre_release() -> None:
    found = await newer(
        [needs("old", version="1.0"), needs("new", version="2.0")],
        Index({"old": ["1.0", "2.0"], "new": ["2.0", "3.0b1"]}),
    )

    assert [(d.newest, d.is_outdated) for d in found.dependencies] == [
        ("2.0", True),
        ("2.0", False),
    ]
    assert found.asked == ("index",)
    assert not found.not_checked


async def test_without_a_version_what_counts_is_whether_the_requirement_allows_the_newest() -> None:
    found = await newer(
        [needs("open", ">=1"), needs("capped", "<2"), needs("free")],
        Index({name: ["1.0", "2.0"] for name in ("open", "capped", "free")}),
    )

    assert [d.is_outdated for d in found.dependencies] == [False, True, False]


async def test_an_index_that_did_not_answer_leaves_only_being_behind_sound() -> None:
    first = Index({"old": ["2.0"], "same": ["1.0"]}, "first")
    second = Index({"old": None, "same": None}, "second")
    found = await newer([needs("old", version="1.0"), needs("same", version="1.0")], first, second)

    assert [d.is_outdated for d in found.dependencies] == [True, None]
    ((what, reason),) = [(n.what, n.reason) for n in found.not_checked]
    assert (what, reason) == ("newer versions of same", "second is tired")


async def test_what_nobody_knows_or_answers_is_not_checked_with_the_reason() -> None:
    found = await with_newest(
        [
            needs("absent", version="1.0"),
            needs("../evil", version="1.0"),
            needs("mine", source="path"),
            needs("ecto", version="3.0.0", ecosystem="hex"),
            needs("odd", version="no version"),
        ],
        {"pypi": [Index({"odd": ["1.0"]})]},
        tell=tell,
        seconds=60,
    )

    assert all(d.is_outdated is None for d in found.dependencies)
    said = {note.what.rpartition(" of ")[2]: note.reason for note in found.not_checked}
    assert said["absent"] == "index has no such package"
    assert "no name" in said["../evil"]
    assert "HEX_API_URL" in said["ecto"]
    assert "cannot be compared" in said["odd"]
    assert "mine" not in said


async def test_what_is_not_answered_in_time_is_named_and_the_rest_stays() -> None:
    found = await newer(
        [needs("old", version="1.0"), needs("silent", version="1.0")],
        Index({"old": ["2.0"]}),
        seconds=0.2,
    )

    assert [d.is_outdated for d in found.dependencies] == [True, None]
    assert "0.2 s in all" in found.not_checked[0].reason


class Database:
    """Knows advisories, by `name@version`; a number of questions at once."""

    name = "OSV"

    def __init__(
        self,
        affecting: Mapping[str, Sequence[str]],
        advisories: Sequence[Advisory] = (),
        *,
        most_at_once: int = 1000,
        refuses: str = "",
    ) -> None:
        self._affecting = affecting
        self._advisories = {one.id: one for one in advisories}
        self.most_at_once = most_at_once
        self._refuses = refuses
        self.asked: list[Sequence[PackageVersion]] = []

    async def affecting(self, versions: Sequence[PackageVersion]) -> Affecting:
        self.asked.append(versions)
        if self._refuses in {one.name for one in versions}:
            raise UnavailableError("OSV is tired")
        ids = {one: self._affecting.get(f"{one.name}@{one.version}", ()) for one in versions}
        return Affecting(ids={k: tuple(v) for k, v in ids.items() if v}, unfinished={})

    async def advisory(self, identifier: str) -> Advisory:
        if identifier not in self._advisories:
            raise UnavailableError("OSV lost it")
        return self._advisories[identifier]


def repair(package: str, version: str) -> Repair:
    return Repair(ecosystem="pypi", package=package, version=version)


async def known(dependencies: Sequence[Dependency], database: Database) -> Known:
    return await with_vulnerabilities(dependencies, database, tell=tell, seconds=60)


async def test_one_hole_that_two_databases_tell_of_is_one_with_the_worse_severity() -> None:
    found = await known(
        [needs("six", version="1.0")],
        Database(
            {"six@1.0": ["PYSEC-1", "GHSA-1", "GHSA-2"]},
            [
                Advisory(
                    id="PYSEC-1", aliases=("CVE-1", "GHSA-1"), repairs=(repair("Six", "1.1"),)
                ),
                Advisory(
                    id="GHSA-1",
                    aliases=("CVE-1",),
                    severity="high",
                    severity_from="database",
                    summary="Bad.",
                    repairs=(repair("six", "0.9"), repair("six", "1.2"), repair("other", "1.1")),
                ),
                Advisory(id="GHSA-2", severity="low", severity_from="cvss"),
            ],
        ),
    )

    assert [(v.id, v.aliases, v.severity, v.fixed) for v in found.vulnerabilities] == [
        ("GHSA-1", ("CVE-1", "PYSEC-1"), "high", "1.2"),
        ("GHSA-2", (), "low", None),
    ]
    assert found.dependencies[0].vulnerabilities == ("GHSA-1", "GHSA-2")
    assert not found.not_checked


async def test_what_was_withdrawn_does_not_count() -> None:
    found = await known(
        [needs("six", version="1.0")],
        Database({"six@1.0": ["A"]}, [Advisory(id="A", is_withdrawn=True)]),
    )

    assert not found.vulnerabilities
    assert found.dependencies[0].vulnerabilities == ()


async def test_details_that_cannot_be_read_do_not_make_a_hole_harmless() -> None:
    found = await known([needs("six", version="1.0")], Database({"six@1.0": ["A"]}))

    (hole,) = found.vulnerabilities
    assert (hole.severity, hole.severity_from) == ("high", "none")
    assert [(n.what, n.reason) for n in found.not_checked] == [("details of A", "OSV lost it")]
    (finding,) = findings_of(found.dependencies, found.vulnerabilities)
    assert "severity is not known" in finding.message


async def test_versions_are_asked_about_in_batches_and_one_that_fails_names_its_own() -> None:
    database = Database({"a@1": ["X"]}, [Advisory(id="X")], most_at_once=2, refuses="c")
    wanted = [needs(name, version="1") for name in "abcde"]
    found = await known(wanted, database)

    assert [len(asked) for asked in database.asked] == [2, 2, 1]
    checked = [d.name for d in found.dependencies if d.vulnerabilities is not None]
    assert checked == ["a", "b", "e"]
    assert [(n.what, n.reason) for n in found.not_checked] == [
        ("vulnerabilities of c, d", "OSV is tired")
    ]


async def test_what_has_no_known_version_or_no_index_is_never_asked_about() -> None:
    database = Database({})
    wanted = [needs("open", ">=1"), needs("hub", source="git"), needs("mine", source="path")]
    found = await known(wanted, database)

    assert database.asked == []
    assert all(d.vulnerabilities is None for d in found.dependencies)
    assert to_check(wanted) == 2
    assert sorted(n.what for n in found.not_checked) == [
        "vulnerabilities of hub",
        "vulnerabilities of open",
    ]


async def test_what_is_known_in_part_is_told_and_named_as_unfinished() -> None:
    class Unfinished(Database):
        async def affecting(self, versions: Sequence[PackageVersion]) -> Affecting:
            found = await super().affecting(versions)
            return Affecting(ids=found.ids, unfinished=dict.fromkeys(versions, "OSV stopped"))

    found = await known(
        [needs("six", version="1.0"), needs("attrs", version="1")],
        Unfinished({"six@1.0": ["A"]}, [Advisory(id="A")]),
    )

    assert [d.vulnerabilities for d in found.dependencies] == [("A",), None]
    assert [(n.what, n.reason) for n in found.not_checked] == [
        ("vulnerabilities of attrs, six", "OSV stopped")
    ]


def test_a_question_about_nothing_is_never_answered_whole() -> None:
    assert not Coverage(is_asked=True, checked=0, packages=0, found=0).is_complete
    assert not Coverage(is_asked=True, checked=1, packages=2, found=0).is_complete
    assert Coverage(is_asked=True, checked=2, packages=2, found=0).is_complete


async def test_a_finding_keeps_its_identifier_when_lines_and_versions_move() -> None:
    database = Database({"six@1.0": ["A"], "six@1.1": ["A"]}, [Advisory(id="A")])
    one = await known([needs("six", version="1.0")], database)
    moved = await known([needs("other"), needs("six", version="1.1")], database)

    (before,) = findings_of(one.dependencies, one.vulnerabilities)
    (after,) = findings_of(moved.dependencies, moved.vulnerabilities)
    assert before.id == after.id
    assert before.message != after.message


NAMES = st.sampled_from("abcdefgh")


@given(
    wanted=st.lists(st.tuples(NAMES, st.none() | st.sampled_from(["1", "2"])), max_size=12),
    affected=st.dictionaries(st.tuples(NAMES, st.sampled_from("12")), st.just(["X"])),
    refuses=NAMES,
    most=st.integers(1, 4),
)
def test_every_package_is_checked_or_named_and_none_is_both(
    wanted: list[tuple[str, str | None]],
    affected: dict[tuple[str, str], list[str]],
    refuses: str,
    most: int,
) -> None:
    database = Database(
        {f"{name}@{version}": ids for (name, version), ids in affected.items()},
        [Advisory(id="X")],
        most_at_once=most,
        refuses=refuses,
    )
    dependencies = [needs(name, version=version) for name, version in wanted]

    async def run() -> Known:
        return await known(dependencies, database)

    found = anyio.run(run)
    named = {n for note in found.not_checked for n in note.what.split(" of ")[1].split(", ")}
    for one in found.dependencies:
        if one.vulnerabilities is None:
            assert one.name in named or any("more" in n for n in named)
        else:
            expected = ("X",) if (one.name, one.version) in affected else ()
            assert one.vulnerabilities == expected
