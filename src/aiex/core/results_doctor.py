"""What `doctor` answers: what works on this machine, and what to do about what does not."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["DoctorCheck", "DoctorResult"]


class DoctorCheck(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was looked at.

    Attributes:
        area: What it belongs to.
        name: What was looked at.
        state: `ok`; `missing` when something optional is not there; `problem` when something
            does not work.
        detail: What was found.
        hint: What to do about it; empty if nothing needs to be done.
    """

    area: Literal["program", "tools", "providers", "sandbox", "state"]
    name: str
    state: Literal["ok", "missing", "problem"]
    detail: str
    hint: str = ""


class DoctorResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that was looked at.

    Attributes:
        checks: By area.
        can_ask: Whether a model can be asked.
    """

    checks: tuple[DoctorCheck, ...]
    can_ask: bool
