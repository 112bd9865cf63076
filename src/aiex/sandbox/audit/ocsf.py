"""Audit records in the schema that security tools read: OCSF 1.3 (schema.ocsf.io, read 2026-11-25).

Files become File System Activity (1001), commands Process Activity (1007), all else API Activity
(6003). What the schema has no place for stands under `unmapped`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from aiex.core import AuditLine

__all__ = ["ocsf_event"]

_VERSION: Final = "1.3.0"
_OTHER: Final = 99
_FILE_ACTIVITIES: Final = {
    "mkdir": (1, "Create"),
    "read": (2, "Read"),
    "read_lines": (2, "Read"),
    "check": (2, "Read"),
    "scan": (2, "Read"),
    "list": (2, "Read"),
    "apply": (3, "Update"),
    "write": (3, "Update"),
    "append": (3, "Update"),
    "copy": (1, "Create"),
    "delete": (4, "Delete"),
    "move": (5, "Rename"),
    "stat": (8, "Get Attributes"),
    "exists": (8, "Get Attributes"),
}


def ocsf_event(line: AuditLine) -> dict[str, object]:
    """Return *line* as an OCSF event, ready to be encoded as JSON."""
    if line.op == "exec":
        return _event(line, 1007, "Process Activity", (1, "Launch")) | _process(line)
    if line.op in _FILE_ACTIVITIES:
        return _event(line, 1001, "File System Activity", _file_activity(line)) | _file(line)
    return _event(line, 6003, "API Activity", (_OTHER, line.op)) | {"api": {"operation": line.op}}


def _file_activity(line: AuditLine) -> tuple[int, str]:
    if line.op in {"apply", "write"} and line.kind == "op":
        if line.sha256_before is None:
            return 1, "Create"
        if line.sha256_after is None:
            return 4, "Delete"
    return _FILE_ACTIVITIES[line.op]


def _event(
    line: AuditLine, class_uid: int, class_name: str, activity: tuple[int, str]
) -> dict[str, object]:
    denied = line.decision == "deny"
    failed = denied or line.exit not in {None, 0}
    actor = line.actor
    application = {"name": actor.agent or f"aiex {actor.interface}"}
    event: dict[str, object] = {
        "category_uid": class_uid // 1000,
        "class_uid": class_uid,
        "class_name": class_name,
        "activity_id": activity[0],
        "activity_name": activity[1],
        "type_uid": class_uid * 100 + activity[0],
        "time": _milliseconds(line.ts),
        "severity_id": 3 if denied else 1,
        "severity": "Medium" if denied else "Informational",
        "action_id": 2 if denied else 1,
        "action": "Denied" if denied else "Allowed",
        "status_id": 2 if failed else 1,
        "status": "Failure" if failed else "Success",
        "metadata": {
            "version": _VERSION,
            "product": {"name": "Aiex", "vendor_name": "Aiex"},
            "uid": f"{line.key_id}-{line.seq}",
            "sequence": line.seq,
            "log_name": "audit",
            "correlation_uid": line.op_id,
        },
        "actor": {"user": {"name": actor.user}, "app_name": application["name"]},
        "device": {"hostname": line.node, "type_id": 0},
        "unmapped": {
            name: value
            for name, value in {
                "kind": line.kind,
                "root_id": line.root_id,
                "rule": line.rule,
                "level": line.level,
                "count": line.count,
                "bytes": line.bytes,
                "model": actor.model,
                "session": actor.session,
                "sha256_before": line.sha256_before,
                "mac": line.mac,
            }.items()
            if value not in {None, ""}
        },
    }
    if line.reason:
        event["status_detail"] = line.reason
    if line.dur_us:
        event["duration"] = line.dur_us // 1000
    return event


def _file(line: AuditLine) -> dict[str, object]:
    digest = line.sha256_after or line.sha256_before
    hashes = [{"algorithm_id": 3, "algorithm": "SHA-256", "value": digest}] if digest else []
    name = line.path.rstrip("/").rpartition("/")[2]
    folder = line.op in {"scan", "list", "mkdir"}
    return {
        "file": {
            "name": name or ".",
            "path": line.path or ".",
            "type_id": 2 if folder else 1,
            **({"hashes": hashes} if hashes and not folder else {}),
        }
    }


def _process(line: AuditLine) -> dict[str, object]:
    name = line.argv[0].rpartition("/")[2] if line.argv else ""
    process: dict[str, object] = {"name": name, "cmd_line": msgspec.json.encode(line.argv).decode()}
    return {"process": process} | ({} if line.exit is None else {"exit_code": line.exit})


def _milliseconds(stamp: str) -> int:
    return round(datetime.fromisoformat(stamp).timestamp() * 1000)
