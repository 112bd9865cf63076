"""Every command is written down before it runs and after it has ended."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import pytest

from aiex.core import Actor, AuditLine, NotFoundError, RefusedError
from aiex.sandbox import (
    Account,
    AuditLog,
    Command,
    CommandPolicy,
    Isolation,
    Level,
    last_records,
    on_account,
    verify_log,
)

ACTOR = Actor(user="mo", interface="cli")


def run(directory: Path, *commands: Command, level: Level | None = None) -> None:
    """Run *commands* at once, at a level that may be too weak, on the account of one request."""

    async def all_of_them() -> None:
        policy = CommandPolicy(require="none" if level is None else "landlock")
        async with Isolation(policy) as isolation, anyio.create_task_group() as tasks:
            for command in commands:
                tasks.start_soon(partial(isolation.run, command, level=level))

    with AuditLog(directory) as log, on_account(Account(log, actor=ACTOR, op_id="req_1")):
        anyio.run(all_of_them)


def ran(directory: Path, *commands: Command) -> list[AuditLine]:
    run(directory, *commands)
    return last_records(directory, 100)


def test_a_command_leaves_an_intent_and_how_it_ended(tmp_path: Path) -> None:
    intent, op = ran(tmp_path / "audit", Command(argv=("sh", "-c", "exit 3")))

    assert (intent.kind, intent.op, intent.argv) == ("intent", "exec", ("sh", "-c", "exit 3"))
    assert (op.kind, op.argv, op.exit, op.op_id) == ("op", intent.argv, 3, "req_1")
    assert op.level in {"none", "landlock", "bwrap"}
    assert op.dur_us > 0


def test_a_command_that_is_ended_for_its_time_says_so(tmp_path: Path) -> None:
    _, op = ran(tmp_path / "audit", Command(argv=("sleep", "60"), timeout=0.2))

    assert op.reason == "timed out"


def test_a_long_command_line_is_told_in_part(tmp_path: Path) -> None:
    command = Command(argv=("true", "x" * 5000, *map(str, range(500))))
    intent, _ = ran(tmp_path / "audit", command)

    assert intent.argv[1] == "x" * 1024 + "... (5000 characters)"
    assert (len(intent.argv), intent.argv[-1]) == (65, "... 438 more words")


def test_secrets_on_a_command_line_are_masked(tmp_path: Path) -> None:
    intent, op = ran(tmp_path / "audit", Command(argv=("true", "https://me:hunter2@example.org")))

    assert intent.argv == op.argv == ("true", "https://[redacted]@example.org")


def test_a_command_that_cannot_be_started_is_written_down_too(tmp_path: Path) -> None:
    with pytest.RaisesGroup(NotFoundError):
        run(tmp_path / "audit", Command(argv=("no-such-program",)))

    intent, op = last_records(tmp_path / "audit", 9)
    assert (intent.kind, op.kind, op.exit) == ("intent", "op", None)
    assert op.reason is not None
    assert "no-such-program" in op.reason


def test_a_refusal_is_a_refusal_in_the_log(tmp_path: Path) -> None:
    with pytest.RaisesGroup(RefusedError):
        run(tmp_path / "audit", Command(argv=("true",)), level="none")

    assert last_records(tmp_path / "audit", 1)[0].decision == "deny"


def test_without_the_log_nothing_runs(tmp_path: Path) -> None:
    AuditLog(tmp_path / "audit").close()
    (tmp_path / "audit" / "000000000001.jsonl").mkdir()
    mark = tmp_path / "mark"
    with pytest.RaisesGroup(pytest.RaisesExc(RefusedError, match="audit log")):
        run(tmp_path / "audit", Command(argv=("touch", str(mark)), scratch=(tmp_path,)))

    assert not mark.exists()


def test_commands_of_one_name_that_run_at_once_are_each_looked_after(tmp_path: Path) -> None:
    run(tmp_path / "audit", *[Command(argv=("true",))] * 3)

    assert [line.kind for line in last_records(tmp_path / "audit", 9)].count("intent") == 3
    assert verify_log(tmp_path / "audit").open_intents == ()
