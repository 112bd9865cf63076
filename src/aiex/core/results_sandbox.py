"""What `sandbox` answers: what keeps commands inside, and how live escapes ended."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["EscapeView", "ProbeView", "SandboxResult"]


class ProbeView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was seen of one level.

    Attributes:
        level: Its name.
        passes: Whether a command ran at it and was kept inside.
        detail: What was seen.
        errno: Name of the error that the kernel gave; empty if there was none.
    """

    level: str
    passes: bool
    detail: str
    errno: str = ""


class EscapeView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one escape ended.

    Attributes:
        name: Its name.
        tries: What it tries.
        started: Whether it came to try; one that did not proves nothing.
        refused: Whether it was kept inside.
        detail: What was seen.
    """

    name: str
    tries: str
    started: bool
    refused: bool
    detail: str


class SandboxResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What keeps commands inside.

    Attributes:
        action: What was asked for.
        level: Level that commands run at, or that was tested; `None` where they are refused.
        require: Weakest level that is allowed.
        abi: Version of Landlock; 0 without it, or where it was not asked for.
        paths_by: What keeps Aiex's own reads and writes inside: `openat2` or `walk`.
        probes: What was seen of each level, the strongest first.
        not_covered: What the level does not keep a command from.
        policy_sha256: Digest of what holds for every command.
        escapes: Each escape that was tried.
    """

    action: Literal["status", "test"]
    level: str | None
    require: str
    abi: int = 0
    paths_by: str = ""
    probes: tuple[ProbeView, ...] = ()
    not_covered: tuple[str, ...] = ()
    policy_sha256: str = ""
    escapes: tuple[EscapeView, ...] = ()
