"""`aiex sandbox`: what keeps commands inside here, and escapes that are all refused."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from aiex.sandbox import seccomp

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

# Runs aiex below a filter that allows no namespaces, as a container's profile is one.
IN_A_CONTAINER = """
import os, sys
from aiex.sandbox.kernel import install_filter, prctl
prctl(38, 1)
for program in sys.argv[1].split(","):
    install_filter(bytes.fromhex(program))
os.execv(sys.executable, [sys.executable, "-m", "aiex", *sys.argv[2:]])
"""


def test_status_names_level_probes_and_what_is_not_covered(cli: Cli) -> None:
    ended = cli("sandbox", "status", "--json")

    data = ended.json["data"]
    assert ended.code == 0
    assert data["level"] in {"landlock", "bwrap", None}
    assert [probe["level"] for probe in data["probes"]] == ["bwrap", "landlock", "none"]
    assert len(data["policy_sha256"]) == 64
    assert data["require"] == "landlock"
    if data["level"] is not None:
        assert data["not_covered"]
        assert f"commands run at {data['level']}" in cli("sandbox").out


def test_every_live_escape_is_refused(cli: Cli) -> None:
    ended = cli("sandbox", "test", "--json")

    if ended.code == 4:
        pytest.skip(ended.json["error"]["message"])
    escapes = ended.json["data"]["escapes"]
    assert ended.code == 0
    assert len(escapes) >= 10
    assert all(escape["started"] and escape["refused"] for escape in escapes)


def test_a_project_may_raise_what_is_required_and_never_lower_it(cli: Cli) -> None:
    (cli.project / "aiex.toml").write_text('[sandbox]\nrequire = "bwrap"\n')
    raised = cli("sandbox", "status", "--json")
    (cli.project / "aiex.toml").write_text('[sandbox]\nrequire = "none"\n')
    lowered = cli("sandbox", "status", "--json")

    assert raised.json["data"]["require"] == "bwrap"
    assert lowered.json["data"]["require"] == "landlock"


NO_LANDLOCK = b"".join(
    struct.pack("=HBBI", *line)
    for line in ((0x20, 0, 0, 0), (0x15, 0, 1, 444), (6, 0, 0, 0x50000 | 38), (6, 0, 0, 0x7FFF0000))
)


def in_a_container(cli: Cli, *words: str, more: bytes = b"") -> tuple[int, Any]:
    machine = os.uname().machine
    if machine not in seccomp.machines():
        pytest.skip(f"there is no filter for {machine}")
    programs = [p.hex() for p in (more, seccomp.program("bwrap", machine)) if p]
    ran = subprocess.run(
        [sys.executable, "-c", IN_A_CONTAINER, ",".join(programs), *words],
        cwd=cli.project,
        env=cli.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ran.returncode, json.loads(ran.stdout)


def test_a_level_that_is_required_and_absent_is_exit_4_and_says_which_probe_failed(
    cli: Cli,
) -> None:
    cli.env["AIEX_SANDBOX_REQUIRE"] = "bwrap"

    code, said = in_a_container(cli, "sandbox", "test", "--json")

    assert code == 4
    assert said["error"]["code"] == "refused"
    assert "sandbox.require is bwrap, and bwrap:" in said["error"]["message"]


def test_in_a_container_without_namespaces_landlock_keeps_commands_inside(cli: Cli) -> None:
    code, said = in_a_container(cli, "sandbox", "test", "--json")

    if code == 4:
        pytest.skip(said["error"]["message"])
    assert code == 0
    assert said["data"]["level"] == "landlock"
    assert all(escape["refused"] for escape in said["data"]["escapes"])


def test_where_nothing_keeps_commands_inside_they_are_refused_and_escapes_are_findings(
    cli: Cli,
) -> None:
    refused, why = in_a_container(cli, "sandbox", "test", "--json", more=NO_LANDLOCK)
    cli.env["AIEX_SANDBOX_REQUIRE"] = "none"
    found, said = in_a_container(cli, "sandbox", "test", "--json", more=NO_LANDLOCK)

    assert refused == 4
    assert "landlock: Landlock: Function not implemented (ENOSYS)" in why["error"]["message"]
    assert found == 1
    assert said["data"]["level"] == "none"
    out = {escape["name"] for escape in said["data"]["escapes"] if not escape["refused"]}
    assert {"write-outside", "read-outside", "protected-names", "tcp", "signal"} <= out
