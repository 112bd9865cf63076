"""Which level is chosen, where the machine offers less, and that it never falls through."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiex.core import RefusedError
from aiex.sandbox import CommandPolicy, Isolation, Level, Probe, bwrap, seccomp
from aiex.sandbox.kernel import landlock_abi
from aiex.sandbox.levels import choose
from aiex.sandbox.spawner import Spawner

pytestmark = pytest.mark.anyio

Offered = Callable[[Level], Probe]

# In a process below a filter of system calls, as a container's profile is one.
UNDER = """
import json, os, sys
from aiex.sandbox import CommandPolicy
from aiex.sandbox.kernel import install_filter, prctl
prctl(38, 1)
install_filter(bytes.fromhex(sys.argv[1]))
from aiex.core import AiexError
from aiex.sandbox.kernel import landlock_abi
from aiex.sandbox.levels import choose, probe_all
from aiex.sandbox.spawner import Spawner
spawner = Spawner(CommandPolicy(require=sys.argv[2]), dict(os.environ))
said = {p.level: [p.passes, p.errno] for p in probe_all(spawner)}
try:
    said["chosen"] = choose(spawner.policy, spawner)
except AiexError as error:
    said["refused"] = error.message
spawner.close()
print(json.dumps(said))
"""
MACHINE = os.uname().machine
NO_LANDLOCK = b"".join(
    struct.pack("=HBBI", *line)
    for line in ((0x20, 0, 0, 0), (0x15, 0, 1, 444), (6, 0, 0, 0x50000 | 38), (6, 0, 0, 0x7FFF0000))
)


def under(program: bytes, require: Level) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-c", UNDER, program.hex(), require],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_the_strongest_level_that_passes_is_chosen(offered: Offered) -> None:
    passing = [level for level in ("bwrap", "landlock", "none") if offered(level).passes]
    spawner = Spawner(CommandPolicy(require="none"), dict(os.environ))
    try:
        assert choose(spawner.policy, spawner) == passing[0]
    finally:
        spawner.close()


@pytest.mark.skipif(MACHINE not in seccomp.machines(), reason="no filter for this machine")
def test_where_a_profile_allows_no_user_namespaces_landlock_is_chosen(offered: Offered) -> None:
    if not offered("landlock").passes:
        pytest.skip(offered("landlock").detail)

    said = under(seccomp.program("bwrap", MACHINE), "landlock")

    assert said["bwrap"][0] is False
    assert said["landlock"] == [True, ""]
    assert said["chosen"] == "landlock"


@pytest.mark.skipif(MACHINE not in seccomp.machines(), reason="no filter for this machine")
def test_what_is_required_and_absent_is_refused_with_the_error_of_its_probe(
    offered: Offered,
) -> None:
    said = under(seccomp.program("bwrap", MACHINE), "bwrap")

    assert "chosen" not in said
    assert "sandbox.require is bwrap" in said["refused"]
    if offered("bwrap").passes:
        assert said["bwrap"] == [False, "EPERM"]
        assert "bwrap: /" in said["refused"]


def test_without_landlock_and_namespaces_nothing_falls_through(offered: Offered) -> None:
    said = under(NO_LANDLOCK, "landlock")

    assert said["landlock"] == [False, "ENOSYS"]
    if not offered("bwrap").passes:
        assert "landlock: Landlock: Function not implemented (ENOSYS)" in said["refused"]


BOUND = """
import sys
from aiex.sandbox.keeper import _bound_signals
from aiex.sandbox.kernel import install_filter, prctl
prctl(38, 1)
if sys.argv[1]: install_filter(bytes.fromhex(sys.argv[1]))
print(_bound_signals())
"""


@pytest.mark.parametrize("call", [444, 446])
@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EACCES])
def test_without_a_bound_nobody_believes_that_signals_are_bounded(call: int, code: int) -> None:
    """A keeper that did would end every process of the user."""
    refuses = struct.pack("=HBBI", 0x20, 0, 0, 0) + struct.pack("=HBBI", 0x15, 0, 1, call)
    refuses += struct.pack("=HBBI", 6, 0, 0, 0x50000 | code)
    refuses += struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)

    ran = subprocess.run(
        [sys.executable, "-c", BOUND, refuses.hex()], capture_output=True, check=True
    )

    assert ran.stdout == b"False\n"


def test_where_landlock_can_it_bounds_signals() -> None:
    if not _abi() >= 6:
        pytest.skip("this kernel's Landlock does not look at signals")

    ran = subprocess.run([sys.executable, "-c", BOUND, ""], capture_output=True, check=True)

    assert ran.stdout == b"True\n"


def _abi() -> int:
    try:
        return landlock_abi()
    except OSError:
        return 0


def test_bubblewrap_is_never_one_from_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    theirs, extras = tmp_path / "theirs" / "bwrap", tmp_path / "extra" / "bin" / "bwrap"
    for path in (theirs, extras):
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(theirs.parent))
    monkeypatch.chdir(theirs.parent)
    monkeypatch.setattr("aiex.sandbox.bwrap._SYSTEMS_OWN", str(tmp_path / "absent"))

    monkeypatch.setattr("sys.prefix", str(tmp_path / "extra"))
    assert bwrap.find_bwrap() == str(extras)
    extras.unlink()
    assert bwrap.find_bwrap() is None


async def test_a_command_is_refused_where_its_level_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiex.sandbox.bwrap.find_bwrap", lambda: None)
    async with Isolation(CommandPolicy(require="bwrap")) as isolation:
        with pytest.raises(RefusedError, match=r"bwrap: bubblewrap is not installed \(ENOENT\)"):
            await isolation.level()
        status = await isolation.status()

    assert status.level is None
    assert status.probes[0].errno == "ENOENT"


async def test_the_status_names_what_is_not_covered_and_the_policy() -> None:
    async with Isolation(CommandPolicy(require="none")) as one, Isolation() as other:
        status, stricter = await one.status(), await other.status()

    assert status.level is not None
    assert status.not_covered
    assert status.policy_sha256 != stricter.policy_sha256
    assert [probe.level for probe in status.probes] == ["bwrap", "landlock", "none"]
    assert status.abi > 0 or not status.probes[1].passes
