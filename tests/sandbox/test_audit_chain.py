"""The chain of the audit log: what is written verifies, and every kind of damage is named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiex.core import (
    Actor,
    AuditLine,
    AuditQuery,
    AuditRecord,
    ConfigurationError,
    NotFoundError,
    RefusedError,
)
from aiex.sandbox import (
    AuditLog,
    FileAnchor,
    last_records,
    matching_lines,
    ocsf_event,
    verify_log,
)

ACTOR = Actor(user="mo", interface="cli")


def a_read(path: str, **more: object) -> AuditRecord:
    return AuditRecord(op_id="req_1", kind="op", actor=ACTOR, op="read", path=path, **more)  # type: ignore[arg-type]


def write(directory: Path, names: list[str], **options: object) -> None:
    with AuditLog(directory, **options) as log:  # type: ignore[arg-type]
        for name in names:
            log.record(a_read(name))


@pytest.fixture
def log_of_ten(tmp_path: Path) -> Path:
    write(tmp_path / "audit", [f"f{n}.py" for n in range(1, 11)])
    return tmp_path / "audit"


def segment(directory: Path) -> Path:
    return min(directory.glob("*.jsonl"))


def lines(directory: Path) -> list[bytes]:
    return segment(directory).read_bytes().splitlines(keepends=True)


def put(directory: Path, changed: list[bytes]) -> None:
    segment(directory).write_bytes(b"".join(changed))


def test_what_was_written_verifies_and_reads_back(log_of_ten: Path) -> None:
    found = verify_log(log_of_ten)
    assert (found.is_intact, found.records, found.last_seq, found.damage) == (True, 10, 10, None)
    assert [line.path for line in last_records(log_of_ten, 3)] == ["f8.py", "f9.py", "f10.py"]
    assert [r.seq for _, r in matching_lines(log_of_ten, AuditQuery(path="f1"))] == [1, 10]


# Each case: what is done to the lines of a log of ten, the kind that must be named, and the first
# record that is not as it was written.
DAMAGES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str, int]] = {
    "a path is changed": (
        lambda x: [*x[:4], x[4].replace(b"f5.py", b"g5.py"), *x[5:]], "edited", 5),
    "the first record is changed": (
        lambda x: [x[0].replace(b"f1.py", b"g1.py"), *x[1:]], "edited", 1),
    "the last record is changed": (
        lambda x: [*x[:9], x[9].replace(b"f10.py", b"g10.py")], "edited", 10),
    "a code is changed": (
        lambda x: [*x[:4], x[4][:-5] + b"0000\n", *x[5:]], "edited", 5),
    "a refusal becomes a permission": (
        lambda x: [*x[:4], x[4].replace(b'"op"', b'"po"', 1), *x[5:]], "edited", 5),
    "two records in a row are changed": (
        lambda x: [*x[:4], x[4].replace(b"f5.py", b"g5.py"),
                   x[5].replace(b"f6.py", b"g6.py"), *x[6:]],
        "edited", 5),
    "a record is removed": (lambda x: [*x[:4], *x[5:]], "removed", 5),
    "the first record is removed": (lambda x: x[1:], "removed", 1),
    "three records are removed": (lambda x: [*x[:4], *x[7:]], "removed", 5),
    "two neighbours change places": (
        lambda x: [*x[:4], x[5], x[4], *x[6:]], "reordered", 5),
    "a record is moved to the end": (
        lambda x: [*x[:4], *x[5:], x[4]], "reordered", 5),
    "a record is repeated": (lambda x: [*x[:5], x[4], *x[5:]], "reordered", 6),
    "the last record is cut off": (lambda x: x[:9], "cut", 10),
    "all but the first are cut off": (lambda x: x[:1], "cut", 2),
    "everything is cut off": (lambda _: [], "cut", 1),
    "half of the last record is cut off": (lambda x: [*x[:9], x[9][:60]], "cut", 10),
    "a kill cut a record short": (lambda x: [*x, x[4][:60]], "torn-tail", 11),
    "a line of nobody's is put in": (
        lambda x: [*x[:4], b'{"seq":5}\n', *x[4:]], "foreign", 5),
    "an empty line is put in": (lambda x: [*x[:4], b"\n", *x[4:]], "foreign", 5),
    "a line is put at the end": (lambda x: [*x, b"hello\n"], "foreign", 11),
    "a byte that is no text is put in": (
        lambda x: [*x[:4], b"\xff" + x[4], *x[5:]], "edited", 5),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_named(log_of_ten: Path, name: str) -> None:
    damage, kind, seq = DAMAGES[name]
    put(log_of_ten, damage(lines(log_of_ten)))
    found = verify_log(log_of_ten)
    assert not found.is_intact
    assert found.damage is not None
    assert (found.damage.kind, found.damage.seq) == (kind, seq)


def test_damage_names_the_byte_where_it_shows(log_of_ten: Path) -> None:
    before = lines(log_of_ten)
    put(log_of_ten, [*before[:4], *before[5:]])
    damage = verify_log(log_of_ten).damage
    assert damage is not None
    assert damage.offset == sum(len(line) for line in before[:4])
    assert damage.segment == segment(log_of_ten).name


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_can_be_turned_unseen(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    directory = tmp_path_factory.mktemp("bits") / "audit"
    write(directory, ["a.py", "b.py", "c.py"])
    raw = bytearray(segment(directory).read_bytes())
    raw[at % len(raw)] ^= 1 << bit
    segment(directory).write_bytes(raw)
    assert not verify_log(directory).is_intact


def test_records_of_another_key_are_foreign(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    write(ours, ["a.py", "b.py", "c.py"])
    write(theirs, ["x.py", "y.py", "z.py"])
    put(ours, [lines(ours)[0], lines(theirs)[1], lines(ours)[2]])
    damage = verify_log(ours).damage
    assert damage is not None
    assert (damage.kind, damage.seq) == ("foreign", 2)


def test_an_older_state_of_the_whole_is_shown_by_the_anchor(tmp_path: Path) -> None:
    directory, old = tmp_path / "audit", tmp_path / "old"
    anchor = FileAnchor(tmp_path / "elsewhere")
    clock = Clock()
    write(directory, ["a.py", "b.py"], anchor=anchor, now=clock)
    shutil.copytree(directory, old)
    clock.at += timedelta(minutes=11)
    write(directory, ["c.py"], anchor=anchor, now=clock)
    assert verify_log(directory, anchor=anchor).anchored_seq == 3
    shutil.rmtree(directory)
    old.rename(directory)
    assert verify_log(directory).is_intact  # alone, the old state is a log like any other
    damage = verify_log(directory, anchor=anchor).damage
    assert damage is not None
    assert (damage.kind, damage.seq) == ("rolled-back", 3)


def test_a_history_that_was_begun_anew_is_shown_by_the_anchor(tmp_path: Path) -> None:
    directory, old = tmp_path / "audit", tmp_path / "old"
    anchor = FileAnchor(tmp_path / "elsewhere")
    clock = Clock()
    write(directory, ["a.py"], anchor=anchor, now=clock)
    shutil.copytree(directory, old)
    clock.at += timedelta(minutes=11)
    write(directory, ["secret.py"], anchor=anchor, now=clock)
    shutil.rmtree(directory)
    old.rename(directory)
    write(directory, ["harmless.py"], anchor=FileAnchor(tmp_path / "other"), now=clock)
    damage = verify_log(directory, anchor=anchor).damage
    assert damage is not None
    assert (damage.kind, damage.seq) == ("rolled-back", 2)


def test_a_checkpoint_that_nobody_signed_is_foreign(tmp_path: Path) -> None:
    directory, anchor = tmp_path / "audit", tmp_path / "elsewhere"
    clock = Clock()
    write(directory, ["a.py"], now=clock, anchor=FileAnchor(anchor))
    clock.at += timedelta(minutes=11)
    write(directory, ["b.py"], now=clock, anchor=FileAnchor(anchor))
    note = json.loads(anchor.read_text())
    anchor.write_text(json.dumps(note.replace("\n2\n", "\n1\n")) + "\n")
    damage = verify_log(directory, anchor=FileAnchor(anchor)).damage
    assert damage is not None
    assert damage.kind == "foreign"


def test_a_checkpoint_is_a_signed_note_that_others_can_check(tmp_path: Path) -> None:
    import base64
    import hashlib

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from aiex.sandbox.audit.checkpoint import verifier_key
    from aiex.sandbox.audit.keys import read_key, signing_seed

    directory = tmp_path / "audit"
    clock = Clock()
    write(directory, ["a.py"], now=clock)
    clock.at += timedelta(minutes=11)
    with AuditLog(directory, now=clock) as log:
        log.record(a_read("b.py"))
        origin = log.origin
    note = json.loads((directory / "checkpoints").read_text())
    key = read_key(directory)
    assert key is not None
    name, key_hash, public = verifier_key(origin, signing_seed(key)).split("+", 2)
    raw = base64.b64decode(public)
    # C2SP signed-note: the hash is over name, line feed, algorithm and key; the key is Ed25519.
    assert hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() == key_hash
    text, _, signature_line = note.partition("\n\n")
    dash, signer, signed = signature_line.strip().split(" ")
    assert (dash, signer) == ("—", origin)
    signature = base64.b64decode(signed)
    assert signature[:4].hex() == key_hash
    Ed25519PublicKey.from_public_bytes(raw[1:]).verify(signature[4:], (text + "\n").encode())
    assert text.split("\n")[:2] == [origin, "2"]


def test_without_the_head_nothing_says_where_the_log_ended(log_of_ten: Path) -> None:
    (log_of_ten / "head").unlink()
    damage = verify_log(log_of_ten).damage
    assert damage is not None
    assert damage.kind == "cut"


def test_an_older_head_does_not_hide_a_cut(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    write(directory, ["a.py", "b.py"])
    forged = (directory / "head").read_bytes().replace(b'"seq":2', b'"seq":1')
    (directory / "head").write_bytes(forged)
    put(directory, lines(directory)[:1])
    damage = verify_log(directory).damage
    assert damage is not None
    assert damage.kind == "cut"


def test_a_missing_segment_is_a_removal(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    write(directory, [f"f{n}" for n in range(30)], fsync=True, segment_bytes=1000)
    segments = sorted(directory.glob("*.jsonl"))
    assert len(segments) > 3
    assert verify_log(directory).records == 30
    segments[1].unlink()
    damage = verify_log(directory).damage
    assert damage is not None
    assert (damage.kind, damage.seq) == ("removed", int(segments[1].stem))


def test_verifying_may_begin_in_the_middle(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    write(directory, [f"f{n}" for n in range(30)], fsync=True, segment_bytes=1000)
    first, *rest = sorted(directory.glob("*.jsonl"))
    first.write_bytes(first.read_bytes().replace(b'"f1"', b'"g1"'))
    assert not verify_log(directory).is_intact
    found = verify_log(directory, since=int(rest[1].stem))
    assert (found.is_intact, found.last_seq) == (True, 30)
    assert found.records == 30 - int(rest[1].stem) + 1


def test_without_a_key_or_a_log_nothing_is_claimed(log_of_ten: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        verify_log(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        verify_log(log_of_ten, anchor=FileAnchor(tmp_path / "none"))
    (log_of_ten / "audit.key").unlink()
    with pytest.raises(ConfigurationError, match="missing"):
        verify_log(log_of_ten)
    with pytest.raises(RefusedError, match="lost its key"):
        AuditLog(log_of_ten)


def test_a_log_that_is_refused_leaves_no_handle_open(log_of_ten: Path) -> None:
    (log_of_ten / "audit.key").unlink()
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(RefusedError, match="lost its key"):
            AuditLog(log_of_ten)

    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_key_that_others_can_read_is_refused(log_of_ten: Path) -> None:
    (log_of_ten / "audit.key").chmod(0o644)
    with pytest.raises(RefusedError, match="open to others"):
        verify_log(log_of_ten)


def test_the_folder_and_its_files_are_private(log_of_ten: Path) -> None:
    assert log_of_ten.stat().st_mode & 0o077 == 0
    assert [p.name for p in log_of_ten.iterdir() if p.stat().st_mode & 0o077] == []


def test_a_torn_tail_is_repaired_by_the_next_record_which_says_so(log_of_ten: Path) -> None:
    with segment(log_of_ten).open("ab") as file:
        file.write(b'{"v":1,"seq":11,"ts":"2026')
    assert verify_log(log_of_ten).damage is not None
    write(log_of_ten, ["after.py"])
    found = verify_log(log_of_ten)
    assert (found.is_intact, found.last_seq) == (True, 12)
    note = last_records(log_of_ten, 2)[0]
    assert (note.op, note.reason) == ("audit_repaired", "27 bytes after record 10 were no record")


def test_records_that_a_kill_kept_the_head_from_counting_are_kept(log_of_ten: Path) -> None:
    head = (log_of_ten / "head").read_bytes()
    write(log_of_ten, ["late.py"])
    (log_of_ten / "head").write_bytes(head)
    assert verify_log(log_of_ten).is_intact
    write(log_of_ten, ["later.py"])
    found = verify_log(log_of_ten)
    assert (found.is_intact, found.last_seq) == (True, 12)


def test_a_log_that_was_cut_goes_on_and_still_shows_it(log_of_ten: Path) -> None:
    put(log_of_ten, lines(log_of_ten)[:7])
    write(log_of_ten, ["after.py"])
    damage = verify_log(log_of_ten).damage
    assert damage is not None
    assert (damage.kind, damage.seq) == ("removed", 8)


def test_an_intent_without_its_outcome_is_reported(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    with AuditLog(directory) as log:
        for path in ("a.py", "b.py"):
            log.record(
                AuditRecord(op_id="req_9", kind="intent", actor=ACTOR, op="apply", path=path)
            )
        log.record(AuditRecord(op_id="req_9", kind="op", actor=ACTOR, op="apply", path="a.py"))
    found = verify_log(directory)
    assert found.is_intact
    assert found.open_intents == ("req_9 b.py",)


def test_secrets_in_command_lines_and_reasons_are_taken_out(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    with AuditLog(directory, redact=lambda text: text.replace("hunter2", "***")) as log:
        log.record(
            AuditRecord(
                op_id="req_1",
                kind="op",
                actor=ACTOR,
                op="exec",
                argv=("curl", "-u", "me:hunter2"),
                reason="hunter2 was wrong",
            )
        )
    assert b"hunter2" not in segment(directory).read_bytes()
    assert last_records(directory, 1)[0].argv == ("curl", "-u", "me:***")


@pytest.mark.parametrize(
    "name", ["a\nb", "\x1b[31mred", "e\u202ecod.py", "caf\u00e9", "\udcff\udcfe", "\u2028", "\x7f"]
)
def test_no_name_can_act_on_a_terminal_or_break_a_line(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "audit"
    write(directory, [name])
    raw = segment(directory).read_bytes()
    assert raw.count(b"\n") == 1
    assert all(32 <= byte < 127 for byte in raw[:-1])
    assert verify_log(directory).is_intact


def test_many_processes_and_threads_write_one_chain(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    program = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from aiex.core import Actor, AuditRecord\n"
        "from aiex.sandbox import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]), segment_bytes=20_000)\n"
        "def work(n):\n"
        "    for i in range(60):\n"
        "        log.record(AuditRecord(op_id=f'{sys.argv[2]}-{n}', kind='intent' if i % 7 == 0"
        " else 'op', actor=Actor(user='u', interface='cli'), op='read', path=f'{i}'))\n"
        "threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "log.close()\n"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(directory), str(n)]) for n in range(4)
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0, 0]
    found = verify_log(directory)
    assert (found.is_intact, found.records) == (True, 4 * 4 * 60)
    assert len(list(directory.glob("*.jsonl"))) > 3
    for n in range(4):
        mine = [r for _, r in matching_lines(directory, AuditQuery(op_id=f"2-{n}"))]
        assert [int(line.path) for line in mine] == list(range(60))


def test_a_kill_at_any_moment_leaves_a_log_that_goes_on(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from aiex.core import Actor, AuditRecord\n"
        "from aiex.sandbox import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]), segment_bytes=5_000)\n"
        "print('ready', flush=True)\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1\n"
        "    log.record(AuditRecord(op_id='r', kind='intent', actor=Actor(user='u',"
        " interface='cli'), op='apply', path=str(n)))\n"
        "    if n == int(sys.argv[2]): print('now', flush=True)\n"
    )
    for round_ in range(1, 9):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(directory), str(round_ * 3)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        assert child.stdout.readline() == "now\n"
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        acknowledged = round_ * 3
        write(directory, ["next.py"])
        found = verify_log(directory)
        assert found.is_intact, found.damage
        paths = [line.path for line in last_records(directory, 10_000)]
        assert paths.count("next.py") == round_
        written = [path for path in paths if path != "next.py"]
        assert written.count(str(acknowledged)) >= 1


def test_a_log_that_cannot_be_written_refuses_and_holds_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "audit"
    with AuditLog(directory) as log:
        log.record(a_read("before.py"))
        log.flush()
        real = os.write

        def full(handle: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        intent = AuditRecord(op_id="r", kind="intent", actor=ACTOR, op="apply", path="x.py")
        with pytest.raises(RefusedError, match="No space left"):
            log.record(intent)
        monkeypatch.setattr(os, "write", real)
        log.record(a_read("after.py"))
    assert [line.path for line in last_records(directory, 9)] == ["before.py", "after.py"]
    assert verify_log(directory).is_intact


def test_records_that_change_nothing_reach_the_disk_soon_without_another_call(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "audit"
    with AuditLog(directory) as log:
        log.record(a_read("lonely.py"))
        tries = 0
        while not list(directory.glob("*.jsonl")) and tries < 1000:
            tries += 1
            threading.Event().wait(0.01)
        assert [line.path for line in last_records(directory, 9)] == ["lonely.py"]


def test_a_checkpoint_is_made_every_thousand_records(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    write(directory, [str(n) for n in range(1005)])
    found = verify_log(directory)
    assert found.anchored_seq >= 1000
    assert found.checkpoints >= 1


def test_an_anchor_that_is_away_does_not_stop_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "audit"
    clock = Clock()
    away = FileAnchor(tmp_path / "no" / "such" / "folder")
    write(directory, ["a.py"], anchor=away, now=clock)
    clock.at += timedelta(minutes=11)
    write(directory, ["b.py"], anchor=away, now=clock)
    assert "could not be kept" in caplog.text
    assert verify_log(directory).is_intact


def test_a_new_day_begins_a_new_segment(tmp_path: Path) -> None:
    clock = Clock()
    write(tmp_path / "audit", ["a.py"], now=clock)
    clock.at += timedelta(days=1)
    write(tmp_path / "audit", ["b.py"], now=clock)
    names = sorted(path.name for path in (tmp_path / "audit").glob("*.jsonl"))
    assert names == ["000000000001.jsonl", "000000000002.jsonl"]


def a_line(**more: object) -> AuditLine:
    fields: dict[str, object] = {
        "v": 1, "seq": 7, "ts": "2026-11-25T10:00:00.250000Z", "node": "n1", "key_id": "k",
        "prev": "0" * 64, "mac": "1" * 64, "op_id": "req_1", "kind": "op", "actor": ACTOR,
        "op": "read", "path": "src/a.py", "sha256_before": "a" * 64,
    }  # fmt: skip
    return AuditLine(**{**fields, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "class_uid", "activity", "action"),
    [
        (a_line(), 1001, 2, 1),
        (a_line(op="apply", sha256_before=None, sha256_after="b" * 64), 1001, 1, 1),
        (a_line(op="apply", sha256_after="b" * 64), 1001, 3, 1),
        (a_line(op="apply", sha256_after=None), 1001, 4, 1),
        (a_line(op="move"), 1001, 5, 1),
        (a_line(op="stat"), 1001, 8, 1),
        (a_line(decision="deny", rule="outside_root"), 1001, 2, 2),
        (a_line(op="exec", argv=("git", "log"), exit=1), 1007, 1, 1),
        (a_line(op="recover"), 6003, 99, 1),
    ],
)
def test_an_exported_event_has_the_numbers_of_its_class(
    line: AuditLine, class_uid: int, activity: int, action: int
) -> None:
    event = ocsf_event(line)
    assert (event["class_uid"], event["activity_id"]) == (class_uid, activity)
    assert event["type_uid"] == class_uid * 100 + activity
    assert event["category_uid"] == class_uid // 1000
    assert event["action_id"] == action
    assert event["time"] == 1795600800250
    assert (
        datetime.fromtimestamp(1795600800.25, UTC).isoformat() == "2026-11-25T10:00:00.250000+00:00"
    )
    assert msgspec.json.decode(msgspec.json.encode(event)) == event


class Clock:
    """Wall time that a test moves."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 25, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at
