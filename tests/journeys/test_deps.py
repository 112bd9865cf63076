"""`aiex analyze deps` as people use it, against services that are real servers on loopback."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiex.testing.fake_packages import FakePackages, osv_record
from aiex.testing.hostile_tree import snapshot_of

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli, Ended

PROJECT = """[project]
name = "shop"
version = "0.1"
dependencies = [
  "jinja2>=2",
  "six==1.15.0",
]
"""
LOCK = "".join(
    f'[[package]]\nname = "{name}"\nversion = "{version}"\n'
    'source = { registry = "https://example.org/simple" }\n'
    for name, version in {"jinja2": "2.4.1", "six": "1.15.0", "markupsafe": "0.9"}.items()
)
PACKAGE = '{\n "dependencies": {\n  "left-pad": "1.1.0"\n }\n}\n'
GO_MOD = "module example.org/m\n\ngo 1.22\n\nrequire github.com/BurntSushi/toml v1.3.2\n"
CARGO = '[package]\nname = "m"\nversion = "0.1.0"\n[dependencies]\nserde = "=1.0.0"\n'
MIX = """defmodule M.MixProject do
  use Mix.Project
  File.write!("ran", "it ran")
  def project, do: [app: :m, deps: deps()]
  defp deps do
    [{:plug, "1.0.0"}]
  end
end
"""


@pytest.fixture
def fake() -> Iterator[FakePackages]:
    fake = FakePackages(
        versions={
            "pypi": {"jinja2": ["2.4.1", "3.1.6"], "six": ["1.15.0"]},
            "npm": {"left-pad": ["1.1.0", "1.3.0"]},
            "go": {"github.com/BurntSushi/toml": ["v1.3.2", "v1.4.0"]},
            "cargo": {"serde": ["1.0.0"]},
            "hex": {"plug": ["1.0.0", "1.1.0"]},
        },
        affecting={
            "jinja2@2.4.1": ["GHSA-462w-v97r-4m45", "PYSEC-2019-217"],
            "markupsafe@0.9": ["OLD-1"],
        },
        records=[
            osv_record(
                "GHSA-462w-v97r-4m45",
                package="jinja2",
                fixed=["2.10.1"],
                severity="HIGH",
                aliases=["CVE-2019-10906", "PYSEC-2019-217"],
                summary="Sandbox escape via string formatting",
            ),
            osv_record("PYSEC-2019-217", package="jinja2", aliases=["GHSA-462w-v97r-4m45"]),
            osv_record("OLD-1", package="markupsafe", withdrawn="2026-02-01T00:00:00Z"),
        ],
    )
    with fake:
        yield fake


@pytest.fixture
def shop(cli: Cli, fake: FakePackages) -> Cli:
    """A Python project whose services are the fake ones."""
    (cli.project / "pyproject.toml").write_text(PROJECT)
    (cli.project / "uv.lock").write_text(LOCK)
    cli.env["AIEX_ANALYSIS_VERSIONS_URL"] = fake.versions_url
    cli.env["AIEX_ANALYSIS_OSV_URL"] = fake.osv_url
    cli.env["PIP_CONFIG_FILE"] = os.devnull
    return cli


def deps(cli: Cli, *words: str) -> Ended:
    ended = cli("analyze", "deps", *words)
    assert "\x1b" not in ended.out + ended.err
    return ended


def not_checked(ended: Ended) -> dict[str, str]:
    return {note["what"]: note["reason"] for note in ended.json["not_checked"]}


def test_deps_tells_what_is_needed_and_that_nothing_more_was_asked(
    shop: Cli, fake: FakePackages
) -> None:
    ended = deps(shop)

    assert ended.code == 0, ended.err
    assert "2 in manifests, 1 more in lock files" in ended.out
    assert "jinja2 >=2  2.4.1" in ended.out
    assert "outdated not checked: --outdated asks for newer versions" in ended.out
    assert "security not checked: --security asks for known vulnerabilities" in ended.out
    assert "not checked: vulnerabilities: --security asks for them" in ended.err
    assert not fake.asked


def test_deps_names_what_is_behind_and_what_is_known_against_it(shop: Cli) -> None:
    ended = deps(shop, "--outdated", "--security")

    assert ended.code == 0, ended.err
    assert "outdated 1 behind; 2 of 2 packages compared" in ended.out
    assert "security 1 package with known vulnerabilities; 3 of 3 packages looked up" in ended.out
    assert (
        "high     pyproject.toml:5  osv:GHSA-462w-v97r-4m45  jinja2 2.4.1: GHSA-462w-v97r-4m45 "
        "(CVE-2019-10906) Sandbox escape via string formatting"
    ) in ended.out
    assert "jinja2 2.4.1 is behind 3.1.6" in ended.out
    assert "jinja2 >=2  2.4.1 → 3.1.6  1 known against it" in ended.out
    assert "not checked" not in ended.out + ended.err


def test_the_document_has_every_dependency_and_how_much_was_checked(shop: Cli) -> None:
    document = deps(shop, "--outdated", "--security", "--json").json

    assert document["command"] == "analyze deps"
    data = document["data"]
    assert data["kind"] == "deps"
    assert data["security"] == {"is_asked": True, "checked": 3, "packages": 3, "found": 1}
    assert data["outdated"] == {"is_asked": True, "checked": 2, "packages": 2, "found": 1}
    named = [(d["name"], d["version"], d["group"]) for d in data["dependencies"]]
    assert named == [
        ("jinja2", "2.4.1", "main"),
        ("six", "1.15.0", "main"),
        ("markupsafe", "0.9", "indirect"),
    ]
    (hole,) = data["vulnerabilities"]
    assert hole["aliases"] == ["CVE-2019-10906", "PYSEC-2019-217"]
    assert hole["fixed"] == "2.10.1"
    assert [f["severity"] for f in data["findings"]] == ["high", "low"]
    assert data["findings"][0]["fix"] == "go to 2.10.1 or newer"
    assert {c["name"] for c in document["checked"]} >= {"vulnerabilities from OSV"}
    assert document["not_checked"] == []


def test_markdown_and_sarif_have_the_findings(shop: Cli) -> None:
    page = deps(shop, "--outdated", "--security", "--format", "md").out
    log = json.loads(deps(shop, "--outdated", "--security", "--sarif").out)

    assert page.startswith("# Dependencies\n")
    assert "| jinja2 | &gt;=2 | 2.4.1 | 3.1.6 | main | pyproject.toml:5 |" in page
    assert "1 package with known vulnerabilities" in page
    (run,) = log["runs"]
    assert [r["ruleId"] for r in run["results"]] == [
        "osv:GHSA-462w-v97r-4m45",
        "aiex:outdated-dependency",
    ]
    assert [r["level"] for r in run["results"]] == ["error", "note"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "pyproject.toml"
    assert place["region"]["startLine"] == 5
    assert run["tool"]["driver"]["rules"][0]["helpUri"].endswith("GHSA-462w-v97r-4m45")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--security", "--fail-on", "high"), 1),
        (("--security", "--fail-on", "critical"), 0),
        (("--outdated", "--fail-on", "low"), 1),
        (("--fail-on", "info"), 0),
    ],
)
def test_the_exit_status_follows_what_was_found(
    shop: Cli, words: tuple[str, ...], code: int
) -> None:
    ended = deps(shop, *words, "--json")

    assert ended.code == code
    assert ended.json["status"] == ("findings" if code else "ok")


def test_no_known_vulnerabilities_is_said_only_when_everything_was_looked_up(shop: Cli) -> None:
    (shop.project / "uv.lock").write_text(LOCK.replace("2.4.1", "3.1.6"))
    whole = deps(shop, "--security")
    (shop.project / "uv.lock").unlink()
    partly = deps(shop, "--security")
    (shop.project / "pyproject.toml").write_text('[project]\nname = "x"\n')
    nothing = deps(shop, "--security")

    assert "no known vulnerabilities; 3 of 3 packages looked up" in whole.out
    assert "nothing found so far, but only 1 of 2 packages looked up" in partly.out
    assert "jinja2 (OSV): its version is not known" in partly.err
    assert "security not checked" in nothing.out
    assert "not checked: dependencies: no manifest that can be read names one" not in nothing.err
    assert "no manifest that can be read names a dependency" in nothing.err
    for ended in (partly, nothing):
        assert "no known vulnerabilities" not in ended.out + ended.err


def test_services_that_do_not_answer_are_named_and_nothing_is_claimed(shop: Cli) -> None:
    shop.env["AIEX_ANALYSIS_VERSIONS_URL"] = "http://127.0.0.1:9/v3"
    shop.env["AIEX_ANALYSIS_OSV_URL"] = "http://127.0.0.1:9/v1"
    ended = deps(shop, "--outdated", "--security", "--fail-on", "info")

    assert ended.code == 0
    assert "outdated not checked: of 2 packages none could be compared" in ended.out
    assert "security not checked: of 3 packages none could be looked up" in ended.out
    assert "127.0.0.1:9 cannot be reached" in ended.err
    assert "no known vulnerabilities" not in ended.out + ended.err


def test_a_service_may_be_switched_off(shop: Cli) -> None:
    shop.env["AIEX_ANALYSIS_OSV_URL"] = ""
    shop.env["AIEX_ANALYSIS_VERSIONS_URL"] = ""
    said = not_checked(deps(shop, "--outdated", "--security", "--json"))

    assert "analysis.osv_url" in said["vulnerabilities"]
    assert "analysis.versions_url" in said["newer versions of jinja2, six"]


@pytest.mark.parametrize("word", ["--offline", "--dry-run"])
def test_offline_and_dry_run_ask_nobody_and_name_both(
    shop: Cli, fake: FakePackages, word: str
) -> None:
    ended = deps(shop, "--outdated", "--security", word, "--json")

    assert not fake.asked
    said = not_checked(ended)
    assert word in said["newer versions"]
    assert word in said["vulnerabilities"]
    assert ended.json["data"]["security"]["checked"] == 0


def test_a_project_cannot_say_who_is_asked(shop: Cli) -> None:
    (shop.project / "aiex.toml").write_text('[analysis]\nosv_url = "https://example.org"\n')

    ended = deps(shop, "--security")

    assert ended.code == 2
    assert "analysis.osv_url" in ended.err


def test_every_ecosystem_is_read_and_asked_where_its_tool_is_set_up(
    shop: Cli, fake: FakePackages
) -> None:
    for path, text in {
        "web/package.json": PACKAGE,
        "go/go.mod": GO_MOD,
        "rs/Cargo.toml": CARGO,
        "ex/mix.exs": MIX,
        ".npmrc": "registry=http://127.0.0.1:9/\n",  # a project's own, which does not count
    }.items():
        (shop.project / path).parent.mkdir(exist_ok=True)
        (shop.project / path).write_text(text)
    home = Path(shop.env["HOME"])
    (home / ".npmrc").write_text(f"registry={fake.url}/npm/\n")
    (home / ".cargo").mkdir()
    (home / ".cargo/config.toml").write_text(
        '[source.crates-io]\nreplace-with = "mine"\n'
        f'[source.mine]\nregistry = "sparse+{fake.url}/cargo/"\n'
    )
    shop.env |= {
        "GOPROXY": f"{fake.url}/go,direct",
        "HEX_API_URL": f"{fake.url}/hex",
        "PIP_INDEX_URL": f"{fake.url}/simple",
    }

    ended = deps(shop, "--outdated", "--json")

    data = ended.json["data"]
    newest = {d["name"]: (d["newest"], d["is_outdated"]) for d in data["dependencies"]}
    assert newest == {
        "jinja2": ("3.1.6", True),
        "six": ("1.15.0", False),
        "markupsafe": (None, None),
        "left-pad": ("1.3.0", True),
        "github.com/BurntSushi/toml": ("v1.4.0", True),
        "serde": ("1.0.0", False),
        "plug": ("1.1.0", True),
    }
    assert data["outdated"]["checked"] == 6
    assert not any(path.startswith("/v3") for path in fake.paths())
    assert not (shop.project / "ex/ran").exists()


def test_a_further_index_of_python_is_asked_beside_the_service(
    shop: Cli, fake: FakePackages
) -> None:
    shop.env["PIP_EXTRA_INDEX_URL"] = f"{fake.url}/simple"

    deps(shop, "--outdated")

    assert {"/simple/six/", "/v3/systems/pypi/packages/six"} <= set(fake.paths())


def test_deps_changes_nothing_in_a_project_and_runs_nothing_of_it(shop: Cli) -> None:
    for name in ("setup.py", "conftest.py", "sitecustomize.py", "packaging.py", "aiohttp.py"):
        (shop.project / name).write_text('open("ran", "w").close()\n')
    (shop.project / "mix.exs").write_text(MIX)
    before = snapshot_of(shop.project)

    ended = deps(shop, "--outdated", "--security", "--json")

    assert ended.code == 0, ended.err
    assert snapshot_of(shop.project) == before
    assert "run" in not_checked(ended)["setup.py"]


def test_names_that_act_on_a_terminal_or_on_markdown_are_shown_as_they_are(
    shop: Cli, fake: FakePackages
) -> None:
    evil = "a\x1b[2J|<script>`x`\u202e"
    (shop.project / "package.json").write_text(json.dumps({"dependencies": {evil: "1.0.0"}}))

    text = deps(shop, "--outdated", "--security")
    page = deps(shop, "--security", "--format", "md").out

    assert r"a\x1b[2J|<script>`x`\u202e" in text.out
    assert "no name" in text.err
    assert "<script>" not in page
    assert not any("script" in path for path in fake.paths())
    assert not any(b"script" in body for _, _, body in fake.asked)


def test_ten_thousand_dependencies_are_asked_about_in_ten_questions(
    shop: Cli, fake: FakePackages
) -> None:
    pins = "".join(f"package-{n}==1.0\n" for n in range(10_000))
    (shop.project / "requirements.txt").write_text(pins)
    (shop.project / "uv.lock").unlink()
    (shop.project / "pyproject.toml").unlink()

    ended = deps(shop, "--security", "--json")

    assert ended.json["data"]["security"] == {
        "is_asked": True,
        "checked": 10_000,
        "packages": 10_000,
        "found": 0,
    }
    assert len(fake.asked) == 10


def test_progress_is_shown_on_a_terminal_alone(shop: Cli) -> None:
    leader, follower = pty.openpty()
    ran = subprocess.run(
        [sys.executable, "-m", "aiex", "analyze", "deps", "--outdated"],
        cwd=shop.project,
        env=shop.env,
        stdout=subprocess.PIPE,
        stderr=follower,
        check=True,
        timeout=60,
    )
    os.close(follower)
    shown = os.read(leader, 1 << 16).decode()
    os.close(leader)

    assert b"asking" not in ran.stdout
    assert "asking for versions" in shown
    assert "2 packages of 2 packages" in shown


def test_analyze_code_imports_nothing_of_the_analysis_of_dependencies(shop: Cli) -> None:
    shop.env["PYTHONPROFILEIMPORTTIME"] = "1"

    imported, with_deps = (
        {line.rpartition("|")[2].strip() for line in shop(*words).err.split("\n")}
        for words in (("analyze",), ("analyze", "deps"))
    )

    ours = {"aiex.assistant.analyze.deps", "aiex.code.manifests", "packaging.version"}
    assert "aiex.assistant.analyze.code" in imported
    assert not imported & {*ours, "aiohttp"}
    assert ours <= with_deps
