"""`aiex doctor`."""

from __future__ import annotations

import click

from aiex.core import DoctorArguments
from aiex.interfaces.cli.drive import run_verb, set_up
from aiex.interfaces.cli.options import Globals, Leaf

__all__ = ["command"]


@click.pass_obj
def _doctor(asked: Globals, /) -> int:
    return run_verb(set_up(asked), "doctor", DoctorArguments())


command = Leaf(
    "doctor",
    callback=_doctor,
    help="Say what works here, and what to do about what does not. Changes nothing.",
)
