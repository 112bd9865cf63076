"""Which level this machine offers, found out by running something at it and trying to get out.

Only what was seen counts: a kernel may have Landlock and a container's profile refuse it, and
bubblewrap may be installed where user namespaces are not allowed.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from pathlib import Path

import msgspec

from aiex.core import AiexError, RefusedError
from aiex.sandbox import bwrap
from aiex.sandbox.command import LEVELS, Command, CommandPolicy, Level
from aiex.sandbox.kernel import landlock_abi
from aiex.sandbox.spawner import Spawner

__all__ = ["Probe", "choose", "probe", "probe_all"]

_TIMEOUT = 20.0
_RAN = b"ran\n"
# Runs a program, then tries to write where it may not.
_ATTEMPT = '/bin/true && echo ran; echo out > "$1"'


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one level.

    Attributes:
        level: The level.
        passes: Whether a command ran at it and was kept inside.
        detail: What was seen.
        errno: Name of the error that the kernel gave, such as `EPERM`; empty if there was none.
    """

    level: Level
    passes: bool
    detail: str
    errno: str = ""


def probe(level: Level, spawner: Spawner) -> Probe:
    """Run a command at *level* that tries to write outside, and return what was seen. Blocks."""
    if level == "none":
        return Probe(level=level, passes=True, detail="nothing keeps a command inside")
    found = _version(level)
    if isinstance(found, Probe):
        return found
    with tempfile.TemporaryDirectory(prefix="aiex-probe-") as folder:
        outside = Path(folder, "outside")
        command = Command(argv=("/bin/sh", "-c", _ATTEMPT, "sh", str(outside)), timeout=_TIMEOUT)
        try:
            ended = spawner.run(command, level)
        except AiexError as error:
            return _failed(level, f"{found}: {error.message}", error.message)
        if not ended.stdout.startswith(_RAN):
            said = ended.stderr.decode("utf-8", "replace").strip()
            return _failed(level, f"{found}: a command did not run: {said or ended.exit}", said)
        if outside.exists():
            return _failed(level, f"{found}: a command wrote a file outside")
    return Probe(level=level, passes=True, detail=found)


def probe_all(spawner: Spawner) -> tuple[Probe, ...]:
    """Return what is seen of every level, the strongest first. Blocks."""
    return tuple(probe(level, spawner) for level in reversed(LEVELS))


def choose(policy: CommandPolicy, spawner: Spawner) -> Level:
    """Return the strongest level that passes and is at least what is required. Blocks.

    Raises:
        RefusedError: None does; the message names each probe that failed, with its error.
    """
    seen: list[Probe] = []
    for level in reversed(LEVELS[LEVELS.index(policy.require) :]):
        seen.append(probe(level, spawner))
        if seen[-1].passes:
            return level
    failed = "; ".join(f"{one.level}: {one.detail}" for one in seen)
    raise RefusedError(
        f"no command is run here: sandbox.require is {policy.require}, and {failed}",
        hint="aiex sandbox status shows every probe",
    )


def _version(level: Level) -> str | Probe:
    """Return what there is of *level*, or what failed at once."""
    if level == "landlock":
        try:
            return f"Landlock version {landlock_abi()}"
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "")
            return _failed(level, f"Landlock: {error.strerror} ({name})", name)
    program = bwrap.find_bwrap()
    if program is None:
        return _failed(
            level, "bubblewrap is not installed (ENOENT): install it, or aiex[bwrap]", "ENOENT"
        )
    return program


def _failed(level: Level, detail: str, said: str = "") -> Probe:
    return Probe(level=level, passes=False, detail=detail, errno=_errno_in(said))


def _errno_in(said: str) -> str:
    """Return the name of the error that *said* speaks of; empty if it names none."""
    number = re.search(r"errno (\d+)", said)
    if number:
        return errno.errorcode.get(int(number[1]), "")
    if said in errno.errorcode.values():
        return said
    if "No permissions to" in said:  # how bubblewrap says it
        return "EPERM"
    for code, name in errno.errorcode.items():
        if os.strerror(code) in said:
            return name
    return ""
