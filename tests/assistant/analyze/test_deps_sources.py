"""Whoever knows about packages is asked as documented, and what goes wrong is named."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web as web_server

from aiex.assistant.analyze.deps.cvss import base_score
from aiex.assistant.analyze.deps.depsdev import DepsDev
from aiex.assistant.analyze.deps.indexes import (
    CargoIndex,
    GoProxy,
    HexApi,
    NpmRegistry,
    SimpleIndex,
)
from aiex.assistant.analyze.deps.osv import OsvDatabase
from aiex.assistant.analyze.deps.ports import PackageVersion, VersionSource
from aiex.assistant.analyze.deps.web import Web, WebLimits
from aiex.core import NotFoundError, UnavailableError
from aiex.testing.fake_packages import FakePackages, osv_record

pytestmark = pytest.mark.anyio

GO = "github.com/BurntSushi/toml"
NODE = "@types/node"


@pytest.fixture
async def fake() -> AsyncIterator[FakePackages]:
    fake = FakePackages(
        versions={
            "pypi": {"my-lib": ["1.0", "2.0", "2.1rc1"]},
            "npm": {NODE: ["1.0.0", "2.0.0"]},
            "go": {GO: ["v1.0.0", "v1.3.2"]},
            "cargo": {"serde": ["1.0.0", "1.0.9"], "abc": ["0.1.0", "0.2.0"]},
            "hex": {"ecto": ["3.0.0", "3.11.0"]},
        },
        withdrawn={
            "pypi": {"my-lib": ["1.0"]},
            "npm": {NODE: ["1.0.0"]},
            "cargo": {"serde": ["1.0.0"]},
            "hex": {"ecto": ["3.0.0"]},
        },
    )
    async with fake:
        yield fake


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with Web(entropy=lambda: 0.0) as web:
        yield web


async def known(source: VersionSource, package: str) -> list[str]:
    return sorted((await source.versions(package)).published)


async def test_deps_dev_is_asked_with_the_name_encoded_whole(fake: FakePackages, web: Web) -> None:
    found = await DepsDev(web, f"{fake.versions_url}/", "npm").versions(NODE)

    assert fake.paths() == ["/v3/systems/npm/packages/@types%2Fnode"]
    assert found.published == {"2.0.0": datetime(2026, 1, 2, 7, 39, 4, tzinfo=UTC)}
    assert await known(DepsDev(web, fake.versions_url, "go"), GO) == ["v1.0.0", "v1.3.2"]


async def test_each_index_gives_the_versions_that_were_not_taken_back(
    fake: FakePackages, web: Web
) -> None:
    python = await SimpleIndex(web, f"{fake.url}/simple").versions("My.Lib")

    assert sorted(python.published) == ["2.0", "2.1rc1"]
    assert python.published["2.0"] == datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
    assert await known(NpmRegistry(web, f"{fake.url}/npm/"), NODE) == ["2.0.0"]
    assert await known(GoProxy(web, f"{fake.url}/go"), GO) == ["v1.0.0", "v1.3.2"]
    assert await known(CargoIndex(web, f"{fake.url}/cargo/"), "serde") == ["1.0.9"]
    assert await known(CargoIndex(web, f"{fake.url}/cargo/"), "abc") == ["0.1.0", "0.2.0"]
    assert await known(HexApi(web, f"{fake.url}/hex"), "ecto") == ["3.11.0"]
    assert fake.paths() == [
        "/simple/my-lib/",
        "/npm/@types%2Fnode",
        "/go/github.com/!burnt!sushi/toml/@v/list",
        "/cargo/se/rd/serde",
        "/cargo/3/a/abc",
        "/hex/packages/ecto",
    ]


async def test_a_scope_of_npm_is_asked_where_it_is_set_up_to_be(
    fake: FakePackages, web: Web
) -> None:
    source = NpmRegistry(web, "http://127.0.0.1:9", {"@types": f"{fake.url}/npm"})

    assert await known(source, NODE) == ["2.0.0"]


async def test_an_index_of_python_may_be_folders_with_pages(tmp_path: Path, web: Web) -> None:
    page = tmp_path / "simple index/my-lib/index.html"
    page.parent.mkdir(parents=True)
    page.write_text(
        '<a href="../../f/my_lib-1.0-py3-none-any.whl#sha256=0">x</a>'
        '<a href="my_lib-1.1.tar.gz" data-yanked="">x</a><a href="other-2.0.tar.gz">x</a>'
        '<a>nothing</a><a href="my-lib-odd.zip">x</a>'
    )
    source = SimpleIndex(web, page.parent.parent.as_uri())

    assert await known(source, "my_lib") == ["1.0"]
    assert source.name == str(tmp_path / "simple index")
    with pytest.raises(NotFoundError):
        await source.versions("absent")


async def test_a_login_goes_to_its_own_host_and_into_no_message(fake: FakePackages) -> None:
    address = fake.url.replace("http://", "http://me:secret@")
    async with Web(logins={"127.0.0.1": ("me", "secret")}, entropy=lambda: 0.0) as web:
        assert await known(SimpleIndex(web, f"{address}/simple"), "my-lib") == ["2.0", "2.1rc1"]
        assert fake.logins == ["Basic bWU6c2VjcmV0"]
        fake.failures["/simple"] = [401]
        with pytest.raises(UnavailableError) as caught:
            await SimpleIndex(web, f"{address}/simple").versions("my-lib")

    assert "login" in caught.value.message
    assert "secret" not in caught.value.message


async def test_what_passes_is_tried_again_and_what_does_not_is_not(
    fake: FakePackages, web: Web
) -> None:
    source = DepsDev(web, fake.versions_url, "pypi")
    fake.failures["/v3"] = [503, 429]

    assert await known(source, "my-lib") == ["2.0", "2.1rc1"]
    assert len(fake.asked) == 3
    fake.failures["/v3"] = [400]
    with pytest.raises(UnavailableError, match="400"):
        await source.versions("my-lib")
    assert len(fake.asked) == 4


async def test_a_host_that_is_not_there_is_asked_once_and_given_up(web: Web) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    source = DepsDev(web, address, "npm")
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await source.versions("a")
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))) as late:
        late.settimeout(0)
        with pytest.raises(UnavailableError, match="cannot be reached"):
            await source.versions("b")
        with pytest.raises(BlockingIOError):
            late.accept()


async def test_a_host_that_fails_again_and_again_is_given_up(fake: FakePackages, web: Web) -> None:
    fake.failures["/v3"] = [500] * 100
    source = DepsDev(web, fake.versions_url, "npm")
    for package in "abcde":
        with pytest.raises(UnavailableError, match="500"):
            await source.versions(package)

    assert len(fake.asked) == 3 * 3


async def test_a_host_that_answers_in_between_is_not_given_up(fake: FakePackages, web: Web) -> None:
    source = DepsDev(web, fake.versions_url, "pypi")
    for _ in range(4):
        fake.failures["/v3"] = [500] * 3
        with pytest.raises(UnavailableError, match="500"):
            await source.versions("my-lib")
        assert await known(source, "my-lib") == ["2.0", "2.1rc1"]


@pytest.mark.parametrize("address", ["", "ftp://example.org", "no address", "http://"])
async def test_an_address_that_is_none_is_named(address: str, web: Web) -> None:
    with pytest.raises(UnavailableError, match="address"):
        await DepsDev(web, address, "npm").versions("a")


async def test_an_answer_that_is_too_large_is_named(fake: FakePackages) -> None:
    async with Web(limits=WebLimits(max_bytes=100), entropy=lambda: 0.0) as small:
        with pytest.raises(UnavailableError, match="larger than 100 bytes"):
            await SimpleIndex(small, f"{fake.url}/simple").versions("my-lib")


async def test_an_answer_of_another_shape_is_named(web: Web) -> None:
    class Odd(FakePackages):
        def _deps_dev(self, system: str, name: str) -> dict[str, Any]:
            return {"versions": [{"version": name}]}

    async with Odd(versions={"npm": {"a": ["1.0.0"]}}) as fake:
        with pytest.raises(UnavailableError, match="cannot be read"):
            await DepsDev(web, fake.versions_url, "npm").versions("a")


def version(ecosystem: str, name: str, number: str) -> PackageVersion:
    return PackageVersion(ecosystem, name, number)  # type: ignore[arg-type]


async def test_osv_is_asked_by_name_and_version_as_each_ecosystem_writes_them(web: Web) -> None:
    asked = [
        version("pypi", "jinja2", "2.4.1"),
        version("npm", NODE, "1.0.0"),
        version("go", GO, "v1.0.0"),
        version("cargo", "serde", "1.0.0"),
        version("hex", "ecto", "3.0.0"),
    ]
    async with FakePackages(affecting={"jinja2@2.4.1": ["GHSA-a"], "serde@1.0.0": ["R"]}) as fake:
        found = await OsvDatabase(web, fake.osv_url).affecting(asked)

    assert found.ids == {asked[0]: ("GHSA-a",), asked[3]: ("R",)}
    assert not found.unfinished
    ((method, path, body),) = fake.asked
    assert (method, path) == ("POST", "/v1/querybatch")
    assert json.loads(body) == {
        "queries": [
            {"package": {"name": "jinja2", "ecosystem": "PyPI"}, "version": "2.4.1"},
            {"package": {"name": NODE, "ecosystem": "npm"}, "version": "1.0.0"},
            {"package": {"name": GO, "ecosystem": "Go"}, "version": "1.0.0"},
            {"package": {"purl": "pkg:cargo/serde"}, "version": "1.0.0"},
            {"package": {"name": "ecto", "ecosystem": "Hex"}, "version": "3.0.0"},
        ]
    }


async def test_osv_is_asked_for_every_page_of_those_that_have_more(web: Web) -> None:
    many, few = version("pypi", "many", "1"), version("pypi", "few", "1")
    ids = {"many@1": [f"A-{n}" for n in range(5)], "few@1": ["B-0"]}
    async with FakePackages(affecting=ids, page=2) as fake:
        found = await OsvDatabase(web, fake.osv_url).affecting([many, few])

    assert found.ids == {many: tuple(ids["many@1"]), few: ("B-0",)}
    assert [len(json.loads(body)["queries"]) for _, _, body in fake.asked] == [2, 1, 1]


async def test_a_page_of_osv_that_fails_leaves_what_is_known_and_names_the_rest(web: Web) -> None:
    many, few = version("pypi", "many", "1"), version("pypi", "few", "1")

    class Failing(FakePackages):
        async def _answer(self, request: web_server.Request) -> web_server.Response:
            if len(self.asked) == 1:
                self.failures["/v1"] = [400]
            return await super()._answer(request)

    async with Failing(affecting={"many@1": ["A-0", "A-1"], "few@1": ["B"]}, page=1) as fake:
        found = await OsvDatabase(web, fake.osv_url).affecting([many, few])

    assert found.ids == {many: ("A-0",), few: ("B",)}
    assert list(found.unfinished) == [many]


async def test_an_answer_of_osv_to_other_questions_is_no_answer(web: Web) -> None:
    class Short(FakePackages):
        def _batch(self, asked: Mapping[str, Any]) -> dict[str, Any]:
            return {"results": super()._batch(asked)["results"][1:]}

    async with Short() as fake:
        with pytest.raises(UnavailableError, match="0 answers to 1 questions"):
            await OsvDatabase(web, fake.osv_url).affecting([version("pypi", "a", "1")])


V3 = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:L/I:N/A:N"


@pytest.mark.parametrize(
    ("more", "severity", "origin"),
    [
        ({"severity": "MODERATE", "vector": V3}, "medium", "database"),
        ({"severity": "CRITICAL"}, "critical", "database"),
        ({"vector": V3}, "medium", "cvss"),
        ({"vector": "CVSS:4.0/AV:N"}, None, "none"),
        ({}, None, "none"),
        ({"identifier": "MAL-2026-1"}, "critical", "database"),
        (
            {"affected": [{"database_specific": {"informational": "unmaintained"}}]},
            "info",
            "database",
        ),
        ({"affected": None, "aliases": None, "severity": None}, None, "none"),
    ],
)
async def test_the_severity_is_the_word_of_the_database_else_its_vector_else_unknown(
    more: dict[str, object], severity: str | None, origin: str, web: Web
) -> None:
    identifier = str(more.pop("identifier", "GHSA-a"))
    known: Any = {key: value for key, value in more.items() if key in {"severity", "vector"}}
    record = osv_record(identifier, package="a", **known)
    record.update({k: v for k, v in more.items() if k in {"affected", "aliases"}})
    async with FakePackages(records=[record]) as fake:
        found = await OsvDatabase(web, fake.osv_url).advisory(identifier)

    assert (found.severity, found.severity_from) == (severity, origin)


@pytest.mark.parametrize(
    ("vector", "score"),
    [  # examples of first.org, "CVSS v3.1 Examples"
        ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
        ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3.1),
        ("CVSS:3.1/AV:L/AC:L/PR:H/UI:N/S:U/C:L/I:L/A:L", 4.2),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0),
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0),
        ("CVSS:3.1/AV:N", None),
        ("AV:N/AC:L/Au:N/C:N/I:N/A:P", None),
    ],
)
def test_cvss_vectors_are_scored_as_the_specification_does(
    vector: str, score: float | None
) -> None:
    assert base_score(vector) == score
