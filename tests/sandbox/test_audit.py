"""The log holds one whole record of each operation, whoever writes at once and whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiex.core import Actor, AuditRecord, NotFoundError, RefusedError, redacted
from aiex.sandbox import AuditLog
from aiex.sandbox.audit import log as audit_log

ACTOR = Actor(user="tester", interface="cli")


def record(**fields: Any) -> AuditRecord:
    return AuditRecord(**{"op_id": "op", "kind": "op", "actor": ACTOR, "op": "read", **fields})


def segment_of(directory: Path) -> Path:
    (segment,) = directory.glob("*.jsonl")
    return segment


def lines_of(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in segment_of(directory).read_text("ascii").splitlines()]


def test_a_record_is_one_versioned_line_with_number_time_and_node(tmp_path: Path) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=2)))
    with AuditLog(tmp_path / "audit", node="n1", now=lambda: at) as log:
        log.record(record(path="a.py", bytes=3, sha256_before="ab"))
        log.record(record(op="write", kind="intent"))

    lines = lines_of(tmp_path / "audit")
    chain = [{name: line.pop(name) for name in ("key_id", "prev", "mac")} for line in lines]
    assert chain[0]["prev"] == "0" * 64
    assert chain[1]["prev"] == chain[0]["mac"]
    head = {"v": 1, "ts": "2026-01-02T01:04:05.000678Z", "node": "n1", "op_id": "op"}
    actor = {"user": "tester", "interface": "cli"}
    assert lines == [
        {
            **head,
            "seq": 1,
            "kind": "op",
            "actor": actor,
            "op": "read",
            "path": "a.py",
            "bytes": 3,
            "sha256_before": "ab",
        },
        {**head, "seq": 2, "kind": "intent", "actor": actor, "op": "write"},
    ]


def test_the_log_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with AuditLog(tmp_path / "a" / "b") as log:
            log.record(record())
    finally:
        os.umask(before)

    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "a" / "b").iterdir()}
    assert modes == {0o600}
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


@given(
    st.text(st.characters()),
    st.text(st.characters()),
    st.lists(st.text(st.characters()), max_size=3),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_a_record_says_its_line_is_printable_ascii_and_says_it(
    tmp_path: Path, path: str, reason: str, argv: list[str]
) -> None:
    with AuditLog(tmp_path / "audit") as log:
        log.record(record(path=path, reason=reason, argv=tuple(argv)))

    raw = segment_of(tmp_path / "audit").read_bytes().splitlines(keepends=True)[-1]
    assert raw.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in raw[:-1])
    said = json.loads(raw)
    plain = (said.get("path", ""), said.get("reason") or "", said.get("argv", []))
    told = [text.encode("utf-8", "backslashreplace").decode() for text in (path, reason, *argv)]
    assert plain == (told[0], told[1], told[2:]) or any(
        redacted(text) != text for text in (path, reason, *argv)
    )


@pytest.mark.parametrize(
    "injected", ['x"}\n{"v":1,"seq":9', "\x1b[2J", "\u202e", "\x7f", "\x00", "\u2028", "\udc80"]
)
def test_a_name_cannot_write_a_line_of_its_own(tmp_path: Path, injected: str) -> None:
    with AuditLog(tmp_path / "audit") as log:
        log.record(record(path=injected), record(op="stat"))

    first, second = lines_of(tmp_path / "audit")
    told = injected.encode("utf-8", "backslashreplace").decode()
    assert (first["path"], first["seq"], second["seq"]) == (told, 1, 2)


SECRETS = [
    "sk-proj-abcdefghij0123456789",
    "sk-ant-api03-abcdefghijklmnop_QRST-uvw",
    "aiex_k1_abcdefghijklmnopqrstuvwxyz012345",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_pat_11ABCDEFG0abcdefghijkl",
    "glpat-abcdefghijklmnopqrst",
    "AKIAABCDEFGHIJKLMNOP",
    "AIzaSyA-abcdefghijklmnopqrstuvwxyz01234",
    "hf_abcdefghijklmnopqrstuvwx",
    "xoxb-123456789012-abcdefghijkl",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA\n-----END OPENSSH PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----\ncut off",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_key_is_masked_wherever_it_stands(tmp_path: Path, secret: str) -> None:
    with AuditLog(tmp_path / "audit") as log:
        log.record(
            record(
                path=f"dir/{secret}/file",
                reason=f"bad {secret}",
                argv=("curl", f"--header=x-key: {secret}", "kept"),
            )
        )

    raw = segment_of(tmp_path / "audit").read_text()
    for line in secret.splitlines():
        assert line not in raw
    assert "[redacted]" in raw
    assert '"kept"' in raw
    assert "curl" in raw


def test_passwords_in_addresses_are_masked(tmp_path: Path) -> None:
    with AuditLog(tmp_path / "audit") as log:
        log.record(record(argv=("git", "clone", "https://me:hunter2@example.org/x.git")))

    assert "hunter2" not in segment_of(tmp_path / "audit").read_text()
    assert "example.org/x.git" in segment_of(tmp_path / "audit").read_text()


@pytest.mark.parametrize(
    "plain",
    ["sketch-of-a-plan.md", "src/risk_model.py", "task-list", "AKIA.txt", "eyJ.py", "a:b@c"],
)
def test_honest_names_are_not_masked(plain: str) -> None:
    assert redacted(plain) == plain


def test_a_record_is_in_the_file_when_the_call_returns(tmp_path: Path) -> None:
    with AuditLog(tmp_path / "audit") as log:
        for number in range(1, 200):
            log.record(record())
            assert segment_of(tmp_path / "audit").read_bytes().count(b"\n") == number


WRITER = """
import os, signal, sys, threading
from pathlib import Path
from aiex.core import Actor, AuditRecord
from aiex.sandbox import AuditLog
log = AuditLog(Path(sys.argv[1]), node=sys.argv[2])
def write(thread):
    for number in range(int(sys.argv[3])):
        log.record(AuditRecord(op_id=f"{thread}:{number}", kind="op", op="read",
                               actor=Actor(user="u", interface="cli"), path="p" * number))
threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
[t.start() for t in threads]
[t.join() for t in threads]
if sys.argv[4] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
log.close()
"""


def test_many_processes_and_threads_write_one_log(tmp_path: Path) -> None:
    count = 60
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), f"n{number}", str(count), how]
        )
        for number, how in enumerate(("ends", "killed", "ends"))
    ]
    codes = [process.wait() for process in processes]

    lines = lines_of(tmp_path)
    assert codes == [0, -signal.SIGKILL, 0]
    assert [line["seq"] for line in lines] == list(range(1, 3 * 3 * count + 1))
    for node in range(3):
        for thread in range(3):
            mine = [
                line["op_id"].split(":")[1]
                for line in lines
                if line["node"] == f"n{node}" and line["op_id"].startswith(f"{thread}:")
            ]
            assert mine == [str(number) for number in range(count)]


@pytest.mark.parametrize(
    "torn", [b'{"v":1,"seq":2,"ts":"20', b"\xff\x00garbage", b"x" * 300_000, b'no\n{"seq":5}\n{"s']
)
def test_a_torn_tail_stays_a_line_of_its_own_and_numbers_go_on(tmp_path: Path, torn: bytes) -> None:
    with AuditLog(tmp_path) as log:
        log.record(record())
    with segment_of(tmp_path).open("ab") as file:
        file.write(torn)

    with AuditLog(tmp_path) as again:
        again.record(record(path="after"), record(path="last"))

    raw = segment_of(tmp_path).read_bytes().split(b"\n")
    assert [json.loads(line)["seq"] for line in raw[-4:-1]] == [2, 3, 4]
    assert json.loads(raw[-4])["op"] == "audit_repaired"
    assert torn.split(b"\n")[-1] in raw


def test_what_changes_runs_or_is_refused_is_on_disk_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    monkeypatch.setattr(audit_log, "_LONGEST_UNSYNCED", 3600.0)
    with AuditLog(tmp_path) as log:
        for _ in range(100):
            log.record(record())
        assert len(synced) == 0
        log.record(record(kind="intent"))
        assert len(synced) == 1
        log.record(record())
        log.flush()
        log.flush()
        assert len(synced) == 2
        log.record(record(decision="deny"))
        assert len(synced) == 2, "refusals in a row share a sync"
        monkeypatch.setattr(audit_log, "_LONGEST_UNSYNCED", -1.0)
        log.record(record(decision="deny"))
        assert len(synced) == 3
        monkeypatch.setattr(audit_log, "_LONGEST_UNSYNCED", 3600.0)
        log.record(record())
    assert len(synced) == 4


def test_every_record_is_on_disk_at_once_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with AuditLog(tmp_path, fsync=True) as log:
        log.record(record())
        log.record(record())
        assert len(synced) == 2


def test_a_log_that_somebody_removed_goes_on_in_a_file_that_has_a_name(tmp_path: Path) -> None:
    with AuditLog(tmp_path) as log:
        log.record(record(path="first"))
        segment_of(tmp_path).unlink()
        log.record(record(path="second"))

    note, second = lines_of(tmp_path)
    assert (note["op"], second["path"], second["seq"]) == ("audit_repaired", "second", 3)


@pytest.mark.parametrize("what", ["folder", "pipe", "link", "file in the way"])
def test_a_log_that_cannot_be_written_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "audit" / "head"
    if what == "file in the way":
        path.parent.write_bytes(b"")
    else:
        path.parent.mkdir()
    if what == "folder":
        path.mkdir()
    if what == "pipe":
        os.mkfifo(path)
    if what == "link":
        path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RefusedError, match="audit log"):
        AuditLog(tmp_path / "audit").record(record())
    assert not (tmp_path / "elsewhere").exists()


def test_a_segment_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with AuditLog(tmp_path) as log:
        os.mkfifo(tmp_path / "000000000001.jsonl")
        with pytest.raises(RefusedError, match="no regular file"):
            log.record(record())


def test_a_log_whose_lock_is_never_given_back_is_refused_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr(audit_log, "_LONGEST_LOCK", 0.0)
    with AuditLog(tmp_path) as log, (tmp_path / "lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RefusedError):
            log.record(record())
        fcntl.flock(other, fcntl.LOCK_UN)
        log.record(record(path="after"))

    assert [line["path"] for line in lines_of(tmp_path)] == ["after"]


class LateEvent(threading.Event):
    """Is cleared only once it was set again, as by a thread that was held up in between."""

    def __init__(self) -> None:
        super().__init__()
        self.sets = 0
        self.set_again = threading.Event()

    def set(self) -> None:
        super().set()
        self.sets += 1
        if self.sets > 1:
            self.set_again.set()

    def clear(self) -> None:
        self.set_again.wait(10)
        super().clear()


def test_closing_ends_a_thread_that_just_began_to_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "_LONGEST_UNSYNCED", 0.0)
    log = AuditLog(tmp_path)
    log._later._asked = asked = LateEvent()
    log.record(record())
    closing = threading.Thread(target=log.close, daemon=True)
    closing.start()
    closing.join(20)

    assert asked.sets == 2
    assert not closing.is_alive()


def test_a_closed_log_takes_no_record(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.close()
    log.close()
    log.flush()

    with pytest.raises(NotFoundError, match="closed"):
        log.record(record())


def test_threads_that_share_a_log_share_its_numbers(tmp_path: Path) -> None:
    def write(log: AuditLog) -> None:
        for _ in range(100):
            log.record(record())

    with AuditLog(tmp_path) as log, AuditLog(tmp_path) as second:
        threads = [threading.Thread(target=write, args=(it,)) for it in (log, log, second, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [line["seq"] for line in lines_of(tmp_path)] == list(range(1, 401))
