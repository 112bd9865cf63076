"""What was done on a machine: shown, searched, checked and written out by the program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli


@pytest.fixture
def used(cli: Cli) -> Cli:
    """A program that has read a file and refused another."""
    (cli.project / "cart.py").write_text("def total(): ...\n")
    assert cli("explain", "cart.py", "--facts-only").code == 0
    assert cli("explain", "../secret.py", "--facts-only").code != 0
    return cli


def log_of(cli: Cli) -> Path:
    return Path(cli.env["HOME"]) / ".local" / "state" / "aiex" / "audit"


def test_tail_shows_the_newest_records_and_names_what_was_refused(used: Cli) -> None:
    shown = used("audit", "tail", "-n", "1")
    assert shown.code == 0
    assert "secret.py" in shown.out
    assert "refused: outside_root" in shown.out
    assert used("audit").out.endswith(shown.out)


def test_search_finds_by_path_decision_and_time(used: Cli) -> None:
    read = used("audit", "search", "--path", "cart.py", "--op", "read", "--json").json
    assert read["data"]["records"]
    assert all(line["path"].endswith("cart.py") for line in read["data"]["records"])
    denied = used("audit", "search", "--decision", "deny", "--json").json["data"]["records"]
    assert {line["rule"] for line in denied} == {"outside_root"}
    assert used("audit", "search", "secret", "--json").json["data"]["records"] == denied
    nothing = used("audit", "search", "--until", "2020-01-01")
    assert (nothing.code, nothing.out) == (0, "")
    assert "no record matches" in nothing.err


def test_verify_says_intact_and_then_names_the_damage(used: Cli) -> None:
    intact = used("audit", "verify", "--json")
    assert intact.code == 0
    assert intact.json["data"]["verification"]["is_intact"] is True
    segment = min(log_of(used).glob("*.jsonl"))
    first, _, *rest = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([first, *rest]))
    damaged = used("audit", "verify", "--json")
    assert damaged.code == 1
    assert damaged.json["status"] == "findings"
    damage = damaged.json["data"]["verification"]["damage"]
    assert (damage["kind"], damage["seq"], damage["offset"]) == ("removed", 2, len(first))
    assert "damaged: removed at record 2" in used("audit", "verify").out


def test_verify_without_key_checkpoints_or_log_is_a_usage_error(used: Cli) -> None:
    missing = used("audit", "verify", "--anchor", "nowhere")
    assert missing.code == 2
    assert "nowhere" in missing.err
    (log_of(used) / "audit.key").unlink()
    keyless = used("audit", "verify")
    assert keyless.code == 2
    assert "audit.key" in keyless.err


def test_without_a_log_there_is_nothing_to_verify(cli: Cli) -> None:
    nothing = cli("audit", "verify")
    assert nothing.code == 2
    assert "no audit log" in nothing.err


def test_a_lost_key_stops_work_instead_of_beginning_anew(used: Cli) -> None:
    (log_of(used) / "audit.key").unlink()
    refused = used("explain", "cart.py", "--facts-only")
    assert refused.code == 4
    assert "lost its key" in refused.err


def test_export_writes_one_event_a_line(used: Cli) -> None:
    exported = used("audit", "export", "--op", "read")
    assert exported.code == 0
    events = [json.loads(line) for line in exported.out.splitlines()]
    assert {event["class_uid"] for event in events} == {1001}
    assert {event["action"] for event in events} == {"Allowed", "Denied"}
    raw = used("audit", "export", "--op", "read", "--form", "raw").out.splitlines()
    assert len(raw) == len(events)
    stored = min(log_of(used).glob("*.jsonl")).read_text().splitlines()
    assert set(raw) <= set(stored)
