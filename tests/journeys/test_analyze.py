"""`aiex analyze` as people use it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aiex.testing.hostile_tree import snapshot_of

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

KINDS = ("code", "hotspots", "graph", "diff")
BRANCHES = "\n".join(f"    if x == {n}:\n        return {n}" for n in range(12))
RISKY = "import subprocess\n\n\ndef run(x):\n    return subprocess.call(x, shell=True)\n"


def git(cli: Cli, *words: str) -> str:
    ran = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words],
        cwd=cli.project,
        env={**cli.env, "GIT_CONFIG_NOSYSTEM": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    return ran.stdout


def write(cli: Cli, path: str, text: str) -> None:
    file = cli.project / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def commit(cli: Cli, message: str = "change") -> None:
    if not (cli.project / ".git").exists():
        git(cli, "init", "--quiet", "--initial-branch=main")
    git(cli, "add", "--all")
    git(cli, "commit", "--quiet", f"--message={message}")


def data(cli: Cli, *words: str) -> Any:
    ended = cli("analyze", *words, "--json")
    assert ended.code == 0, ended.err
    return ended.json["data"]


def rules(cli: Cli, *words: str) -> list[tuple[str, str]]:
    return [(f["path"], f["rule"]) for f in data(cli, *words)["findings"]]


@pytest.fixture
def changed(cli: Cli) -> Cli:
    """A repository with a risky file, a cycle, and a change that adds to both."""
    write(cli, "shop/stock.py", "from shop import order\n")
    write(cli, "shop/order.py", "from shop import stock\n")
    write(cli, "shop/old.py", RISKY)
    commit(cli)
    write(cli, "shop/new.py", f"{RISKY}\n\ndef choose(x):\n{BRANCHES}\n")
    return cli


def test_analyze_tells_size_findings_and_imports(changed: Cli) -> None:
    ended = changed("analyze")

    assert ended.code == 0, ended.err
    assert "python: " in ended.out
    assert "shop/old.py:5  ruff:S602" in ended.out
    assert "cycle: shop/order.py, shop/stock.py" in ended.out
    assert "13  choose  shop/new.py:8" in ended.out
    assert "shop/old.py  1 commit, 5 lines changed, complexity 1" in ended.out
    assert "\x1b" not in ended.out + ended.err


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["text", "json", "md"])
def test_every_kind_is_told_in_every_common_form(changed: Cli, kind: str, form: str) -> None:
    ended = changed("analyze", kind, "--format", form)

    assert ended.code == 0, ended.err
    assert "\x1b" not in ended.out + ended.err
    if form == "json":
        document = ended.json
        assert document["schema"] == 1
        assert document["command"] == ("analyze" if kind == "code" else f"analyze {kind}")
        assert (document["status"], document["exit_code"]) == ("ok", 0)
        assert document["data"]["kind"] == kind
    elif form == "md":
        assert ended.out.startswith("# ")
    assert "shop/" in ended.out


@pytest.mark.parametrize("kind", ["code", "diff"])
def test_sarif_has_what_the_standard_requires(changed: Cli, kind: str) -> None:
    write(changed, "shop/spaced name.py", RISKY)
    write(changed, "shop/broken.py", "-" * 100_000)

    log = json.loads(changed("analyze", kind, "--sarif").out)

    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "aiex"
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids)
    assert run["columnKind"] in {"utf16CodeUnits", "unicodeCodePoints"}
    (invocation,) = run["invocations"]
    assert isinstance(invocation["executionSuccessful"], bool)
    notes = [n["message"]["text"] for n in invocation["toolExecutionNotifications"]]
    assert any("shop/broken.py" in note for note in notes)
    assert run["results"]
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in {"none", "note", "warning", "error"}
        assert result["message"]["text"]
        assert re.fullmatch(r"[0-9a-f]+", result["partialFingerprints"]["aiexFindingId/v1"])
        assert result.get("baselineState") == ("new" if kind == "diff" else None)
        (location,) = result["locations"]
        place = location["physicalLocation"]
        uri = place["artifactLocation"]["uri"]
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", uri)
        region = place.get("region", {"startLine": 1})
        assert region["startLine"] >= 1
        assert region.get("endLine", region["startLine"]) >= region["startLine"]
        assert region.get("startColumn", 1) >= 1
    assert any("spaced%20name.py" in str(result["locations"]) for result in run["results"])


def test_a_form_that_a_kind_does_not_have_is_refused_before_anything_is_done(cli: Cli) -> None:
    ended = cli("analyze", "hotspots", "--format", "sarif")

    assert ended.code == 2
    assert "text | json | md" in ended.err


def test_the_graph_in_dot_is_read_by_a_parser_of_dot(changed: Cli) -> None:
    write(changed, 'shop/"quoted\\".py', "import shop.cart\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydot's own, on import
        import pydot
        from pydot import dot_parser

    text = changed("analyze", "graph", "--format", "dot").out
    graphs = dot_parser.parse_dot_data(text)

    assert graphs is not None, text
    (graph,) = graphs
    assert isinstance(graph, pydot.Dot)
    nodes = {n.get_name(): n for n in graph.get_nodes() if n.get_name() != "node"}
    labels = {name: node.get("label") for name, node in nodes.items()}
    ends = [(str(e.get_source()), str(e.get_destination())) for e in graph.get_edges()]
    edges = {(labels[source], labels[target]) for source, target in ends}
    assert len(nodes) == 8
    assert '"shop/\\"quoted\\\\\\".py"' in labels.values()
    assert ('"shop/till.py"', '"shop/cart.py"') in edges
    red = {labels[name] for name, node in nodes.items() if node.get("color") == "red"}
    assert red == {'"shop/order.py"', '"shop/stock.py"'}


def test_the_graph_in_mermaid_names_each_node_once_and_joins_what_it_named(changed: Cli) -> None:
    write(changed, 'shop/a"]; click n0 "b.py', "def f():\n    import shop.cart\n")

    head, *lines = changed("analyze", "graph", "--format", "mermaid").out.rstrip("\n").split("\n")

    assert head == "flowchart LR"
    node = re.compile(r'  (n\d+)\["((?:[A-Za-z0-9 /._-]|#\d+;)*)"\]')
    nodes = {m[1]: m[2] for m in map(node.fullmatch, lines) if m}
    edges = [m for m in (re.fullmatch(r"  (n\d+) (-->|-\.->) (n\d+)", x) for x in lines) if m]
    assert len(nodes) == 8
    assert len(nodes) + len(edges) + 2 == len(lines)
    assert {edge[1] for edge in edges} | {edge[3] for edge in edges} <= nodes.keys()
    dotted = [nodes[edge[1]] for edge in edges if edge[2] == "-.->"]
    assert dotted == ["shop/a#34;#93;#59; click n0 #34;b.py"]
    assert lines[-2:][0].startswith("  classDef cycle ")
    assert re.fullmatch(r"  class n\d+,n\d+ cycle", lines[-1])


@pytest.mark.parametrize("kind", ["code", "diff"])
@pytest.mark.parametrize(
    ("level", "code"), [("info", 1), ("low", 1), ("medium", 1), ("high", 1), ("critical", 0)]
)
def test_findings_at_or_over_the_level_end_with_1(
    changed: Cli, kind: str, level: str, code: int
) -> None:
    ended = changed("analyze", kind, "--fail-on", level, "--json")

    assert ended.code == code
    assert ended.json["exit_code"] == code
    assert ended.json["status"] == ("findings" if code else "ok")


def test_findings_below_the_level_end_with_0(cli: Cli) -> None:
    write(cli, "shop/unused.py", "import os\n")

    assert cli("analyze", "--fail-on", "low").code == 1
    assert cli("analyze", "--fail-on", "medium").code == 0
    assert cli("analyze", "--fail-on", "terrible").code == 2


def test_what_git_ignores_is_not_looked_at(cli: Cli) -> None:
    write(cli, ".gitignore", "/build/\n*.gen.py\n!kept.gen.py\n")
    for path in ("build/a.py", "shop/a.gen.py", "shop/kept.gen.py", "shop/.gitignore"):
        write(cli, path, "secret.py\n" if path.endswith("ignore") else RISKY)
    write(cli, "shop/secret.py", RISKY)

    seen = {path for path, _ in rules(cli)}

    assert seen == {"shop/kept.gen.py"}


def test_a_project_without_git_is_measured_and_its_hotspots_are_named_as_missing(cli: Cli) -> None:
    document = cli("analyze", "--json").json

    assert document["data"]["hotspots"] == []
    assert document["data"]["languages"][0]["files"] == 3
    assert [(n["what"], n["tool"]) for n in document["not_checked"]] == [("hotspots", "git")]


@pytest.mark.parametrize("kind", ["code", "hotspots", "graph"])
def test_an_empty_folder_is_no_error(cli: Cli, kind: str) -> None:
    shutil.rmtree(cli.project)
    cli.project.mkdir()

    ended = cli("analyze", kind, "--json")

    assert ended.code == 0, ended.err
    assert ended.json["checked"] == []
    assert cli("analyze", kind).code == 0
    assert cli("analyze", kind, "--format", "md").code == 0


def test_a_file_a_folder_or_several_of_them_may_be_named(cli: Cli) -> None:
    write(cli, "tools/run.py", RISKY)
    write(cli, "shop/run.py", RISKY)

    assert {path for path, _ in rules(cli, "shop/run.py")} == {"shop/run.py"}
    assert {path for path, _ in rules(cli, "tools")} == {"tools/run.py"}
    both = data(cli, "tools", "shop/cart.py", "tools/run.py")
    assert both["languages"][0]["files"] == 2
    inside = cli("-C", "shop", "analyze", "run.py", "--json").json
    assert {f["path"] for f in inside["data"]["findings"]} == {"shop/run.py"}


def test_a_path_that_is_not_there_is_exit_2_and_one_that_is_protected_exit_4(cli: Cli) -> None:
    write(cli, "shop/.env", "SECRET=1\n")

    missing, protected = cli("analyze", "shop/kart.py", "--json"), cli("analyze", "shop/.env")

    assert (missing.code, missing.json["error"]["code"]) == (2, "not_found")
    assert protected.code == 4


def test_a_path_outside_the_project_means_the_project_around_it(cli: Cli, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "pyproject.toml").write_text("")
    (other / "a.py").write_text(RISKY)

    assert {path for path, _ in rules(cli, "../other")} == {"a.py"}
    mixed = cli("analyze", "shop", "../other", "--json")
    assert (mixed.code, mixed.json["status"]) == (4, "refused")
    (cli.project / "way_out").symlink_to(other)
    assert cli("analyze", "way_out").code == 4


def test_depth_bounds_each_ranking(changed: Cli) -> None:
    write(changed, "shop/more.py", f"def a(x):\n{BRANCHES}\n\n\ndef b(x):\n{BRANCHES}\n")

    found = data(changed, "--depth", "2")

    assert [f["complexity"] for f in found["functions"]] == [13, 13]
    assert len(found["hotspots"]) == 2
    assert len(found["imports"]["most_imported"]) == 2
    assert len(data(changed, "hotspots", "--depth", "1")["hotspots"]) == 1
    assert changed("analyze", "--depth", "0").code == 2


def test_since_bounds_the_history(cli: Cli) -> None:
    for number in (1, 2, 3):
        write(cli, "shop/cart.py", f"def total(x):\n    return x + {number}\n")
        cli.env["GIT_COMMITTER_DATE"] = f"201{number}-01-01T00:00:00Z"
        commit(cli)

    since = data(cli, "hotspots", "--since", "2011-06-01")
    everything = data(cli, "hotspots", "--since", "2000-01-01")
    default = cli("analyze", "hotspots", "--json").json

    assert [h["commits"] for h in since["hotspots"] if h["path"] == "shop/cart.py"] == [2]
    assert [h["commits"] for h in everything["hotspots"] if h["path"] == "shop/cart.py"] == [3]
    assert default["data"]["hotspots"] == []
    assert "--since" in default["not_checked"][0]["reason"]


def reads(cli: Cli) -> list[str]:
    segments = sorted((Path(cli.env["HOME"]) / ".local/state/aiex/audit").glob("*.jsonl"))
    lines = [line for segment in segments for line in segment.read_text().splitlines()]
    records = [json.loads(line) for line in lines]
    return [record["path"] for record in records if record["op"] == "read"]


def wait_until_settled(folder: Path) -> None:
    """Wait until no file is so new that it could change within the same tick unseen."""
    newest = max(file.stat().st_ctime_ns for file in folder.rglob("*"))
    while time.time_ns() < newest + 2_100_000_000:
        time.sleep(0.05)


@pytest.mark.parametrize("words", [(), (".",)])
def test_a_second_run_reads_no_source_again_unless_it_is_told_to(
    cli: Cli, words: tuple[str, ...]
) -> None:
    write(cli, "shop/run.py", RISKY)
    wait_until_settled(cli.project)
    first = cli("analyze", *words, "--json").json
    before = len(reads(cli))
    second = cli("analyze", *words, "--json").json
    again = reads(cli)[before:]
    third = cli("analyze", *words, "--json", "--no-cache").json
    anew = reads(cli)[before + len(again) :]

    assert [path for path in again if path.endswith(".py")] == []
    assert first["checked"][0]["exit"] == 0
    assert second["checked"][0]["exit"] is None
    assert third["checked"][0]["exit"] == 0
    assert first["data"] == second["data"] == third["data"]
    assert "shop/run.py" in anew


def test_a_file_that_changes_is_looked_at_again(cli: Cli) -> None:
    write(cli, "shop/run.py", "def run():\n    return 1\n")
    wait_until_settled(cli.project)
    assert rules(cli) == []
    before = len(reads(cli))

    write(cli, "shop/run.py", RISKY)

    assert ("shop/run.py", "ruff:S602") in rules(cli)
    again = [path for path in reads(cli)[before:] if path.endswith(".py")]
    assert set(again) == {"shop/run.py"}


def ids(cli: Cli, *words: str) -> dict[str, int]:
    return {f["id"]: f["line"] for f in data(cli, *words)["findings"]}


def test_a_finding_keeps_its_id_when_its_line_moves(cli: Cli) -> None:
    write(cli, "shop/run.py", RISKY)
    before = ids(cli)
    write(cli, "shop/run.py", f'"""Runs."""\n\n# Whatever it is given.\n{RISKY}')

    after = ids(cli)

    assert before.keys() == after.keys()
    assert [after[name] - line for name, line in before.items() if line] == [3] * len(before)
    assert ids(cli, "--no-cache") == after


def added(cli: Cli, *words: str) -> set[tuple[str, str]]:
    found = data(cli, "diff", *words)
    return {(f["path"], f["rule"]) for f in found["findings"]}


def test_diff_tells_only_what_a_change_adds(changed: Cli) -> None:
    write(changed, "shop/old.py", f"# Runs\n\n{RISKY}")

    found = data(changed, "diff")

    assert {f["path"] for f in found["findings"]} == {"shop/new.py"}
    assert {f["rule"] for f in found["findings"]} >= {"ruff:S602", "ruff:C901"}
    assert [(f["path"], f["status"], f["added_lines"]) for f in found["files"]] == [
        ("shop/new.py", "added", 32),
        ("shop/old.py", "modified", 2),
    ]
    assert {s["name"] for s in found["symbols"]} == {"run", "choose"}
    assert [(c["name"], c["before"], c["after"]) for c in found["complexity"]] == [
        ("choose", 0, 13)
    ]
    assert found["cycles"] == []


def test_diff_counts_what_a_change_repairs(cli: Cli) -> None:
    write(cli, "shop/old.py", RISKY)
    commit(cli)
    write(cli, "shop/old.py", "X = 1\n")

    found = data(cli, "diff")

    assert found["findings"] == []
    assert found["repaired"] == 1


def test_a_function_that_grows_is_told_with_what_it_was(cli: Cli) -> None:
    write(cli, "shop/old.py", f"def choose(x):\n{BRANCHES}\n")
    commit(cli)
    write(cli, "shop/old.py", f"def choose(x):\n{BRANCHES}\n    if x:\n        return 9\n")

    found = data(cli, "diff")

    assert [(c["before"], c["after"]) for c in found["complexity"]] == [(13, 14)]


@pytest.mark.parametrize("edited", [False, True])
def test_a_file_that_was_renamed_adds_nothing(cli: Cli, edited: bool) -> None:
    lines = "\n".join(f"N{number} = {number}" for number in range(20))
    write(cli, "shop/run.py", f"{RISKY}\n\n{lines}\n")
    commit(cli)
    text = (cli.project / "shop/run.py").read_text()
    (cli.project / "shop/run.py").unlink()
    write(cli, "tools/launch.py", text.replace("N7 = 7", "N7 = 70") if edited else text)

    found = data(cli, "diff")

    assert found["findings"] == []
    assert found["symbols"] == []
    assert {f["status"] for f in found["files"]} == {"added", "deleted"}


def test_a_new_cycle_is_told_and_an_old_one_is_not(changed: Cli) -> None:
    write(changed, "shop/cart.py", "import shop.till\n")

    found = data(changed, "diff")

    assert found["cycles"] == [["shop/cart.py", "shop/till.py"]]
    assert ("shop/cart.py", "aiex:import-cycle") in added(changed)


def test_what_is_staged_unstaged_and_untracked_counts_and_what_is_ignored_does_not(
    cli: Cli,
) -> None:
    write(cli, ".gitignore", "ignored.py\n")
    write(cli, "shop/unstaged.py", "X = 1\n")
    commit(cli)
    write(cli, "shop/staged.py", RISKY)
    git(cli, "add", "shop/staged.py")
    write(cli, "shop/unstaged.py", RISKY)
    write(cli, "shop/untracked.py", RISKY)
    write(cli, "shop/ignored.py", RISKY)

    assert {path for path, _ in added(cli)} == {
        "shop/staged.py",
        "shop/unstaged.py",
        "shop/untracked.py",
    }


def test_on_a_branch_the_base_is_where_it_left_the_main_one(cli: Cli) -> None:
    commit(cli, "first")
    git(cli, "checkout", "--quiet", "-b", "work")
    write(cli, "shop/a.py", RISKY)
    commit(cli, "second")
    write(cli, "shop/b.py", RISKY)

    assert {path for path, _ in added(cli)} == {"shop/a.py", "shop/b.py"}
    assert {path for path, _ in added(cli, "HEAD")} == {"shop/b.py"}
    first = git(cli, "rev-parse", "main").strip()
    assert data(cli, "diff")["base"] == data(cli, "diff", "main")["base"] == first


def test_a_change_of_nothing_says_so(cli: Cli) -> None:
    commit(cli)

    ended = cli("analyze", "diff", "--fail-on", "info")

    assert ended.code == 0
    assert "0 files changed" in ended.out


def test_a_diff_without_a_history_or_of_an_unknown_base_is_exit_2(cli: Cli) -> None:
    none = cli("analyze", "diff", "--json")
    assert (none.code, none.json["error"]["message"]) == (2, "this is no git repository")
    git(cli, "init", "--quiet")
    assert "no commit yet" in cli("analyze", "diff").err
    commit(cli)
    unknown = cli("analyze", "diff", "nowhere")
    assert (unknown.code, "nowhere" in unknown.err) == (2, True)
    assert cli("analyze", "diff", "--", "--upload-pack=touch x").code == 2


def path_with(tmp_path: Path, *programs: str) -> str:
    """Return a PATH of those *programs* alone."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for program in programs:
        found = shutil.which(program)
        assert found is not None
        (folder / program).symlink_to(found)
    return str(folder)


def test_what_git_would_have_told_is_named_where_there_is_no_git(
    changed: Cli, tmp_path: Path
) -> None:
    changed.env["PATH"] = path_with(tmp_path)

    document = changed("analyze", "--json").json
    diff = changed("analyze", "diff", "--json")

    (note,) = document["not_checked"]
    assert (note["what"], note["tool"]) == ("hotspots", "git")
    assert "not installed" in note["reason"]
    assert document["data"]["findings"]
    assert diff.code == 2
    assert "git is not installed" in diff.json["error"]["message"]


def test_what_ruff_would_have_told_is_named_where_there_is_no_ruff(
    cli: Cli, tmp_path: Path
) -> None:
    # The package that brings ruff stays: it looks for the program beside Python and on its path.
    write(cli, "shop/run.py", RISKY)
    hidden = tmp_path / "without"
    hidden.mkdir()
    (hidden / "ruff.py").write_text("def find_ruff_bin():\n    raise FileNotFoundError('ruff')\n")
    cli.env |= {"PYTHONPATH": str(hidden), "PATH": path_with(tmp_path, "git")}

    document = cli("analyze", "--json").json

    assert document["checked"] == []
    assert {n["tool"]: n["what"] for n in document["not_checked"]}["ruff"] == (
        "lint and security of Python"
    )
    assert document["data"]["findings"] == []
    assert "lint and security of Python (ruff): ruff is not installed" in cli("analyze").err


def test_what_was_checked_names_tool_version_and_command(cli: Cli) -> None:
    (run,) = cli("analyze", "--json").json["checked"]

    assert run["name"] == "ruff check"
    assert re.fullmatch(r"\d+\.\d+\.\d+", run["version"])
    assert {"ruff", "check", "--isolated", "--no-cache"} <= set(run["argv"])
    assert run["exit"] == 0


def test_the_projects_own_settings_of_ruff_are_followed(cli: Cli) -> None:
    write(cli, "shop/run.py", RISKY + "\n\nimport os\n")
    write(cli, "tests/test_run.py", "import os\n\nassert 1\n")
    write(
        cli,
        "ruff.toml",
        "[lint]\nselect = ['F', 'E402']\nignore = ['S602']\n"
        "[lint.per-file-ignores]\n'tests/*' = ['S101', 'F401']\n",
    )

    assert set(rules(cli)) == {("shop/run.py", "ruff:E402"), ("shop/run.py", "ruff:F401")}
    (run,) = cli("analyze", "--json").json["checked"]
    assert "--select=F,E402,S,C901" in run["argv"]


def in_terminal(cli: Cli, *words: str, **more: str) -> tuple[bytes, bytes]:
    """Run with a terminal as the error stream only; return both outputs."""
    leader, follower = pty.openpty()
    try:
        with subprocess.Popen(
            cli.argv(*words),
            cwd=cli.project,
            env={**cli.env, "TERM": "xterm", **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=follower,
        ) as process:
            os.close(follower)
            shown = bytearray()
            # Reading from a terminal that nobody writes to any more is an error.
            with contextlib.suppress(OSError):
                while piece := os.read(leader, 65536):
                    shown += piece
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, shown
        return out, bytes(shown)
    finally:
        os.close(leader)


def test_progress_is_shown_on_a_terminal_and_nowhere_else(cli: Cli) -> None:
    for number in range(300):
        write(cli, f"many/m{number}.py", f"x = {number}\n")

    out, shown = in_terminal(cli, "analyze", "--json")
    quiet_out, quiet = in_terminal(cli, "analyze", "--json", "--no-cache", "-q")
    piped = cli("analyze", "--json", "--no-cache")

    assert "reading" in shown.decode()
    assert "256 files of 303 files" in shown.decode()
    assert json.loads(out)["status"] == "ok"
    assert b"\r" not in quiet
    assert b"\x1b" not in out + quiet_out
    assert "\x1b" not in piped.err


def test_nothing_in_the_project_changes(changed: Cli) -> None:
    before = snapshot_of(changed.project)

    for kind in KINDS:
        assert changed("analyze", kind).code == 0

    assert snapshot_of(changed.project) == before


def test_fields_and_events_can_be_chosen(changed: Cli) -> None:
    chosen = changed("--json=languages,severities", "analyze").json
    events = [json.loads(line) for line in changed("analyze", "--jsonl").out.splitlines()]

    assert list(chosen["data"]) == ["languages", "severities"]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["body"]["type"] == "finished"


def test_a_folder_named_by_minus_c_is_the_project(cli: Cli, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "aiex", "-C", str(cli.project), "analyze", "--json"],
        cwd=tmp_path,
        env=cli.env,
        capture_output=True,
        check=True,
        timeout=60,
    )

    assert json.loads(ended.stdout)["data"]["languages"][0]["files"] == 3
