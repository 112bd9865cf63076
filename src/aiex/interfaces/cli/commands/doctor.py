"""`aiex doctor`."""

from __future__ import annotations

import click

from aiex.app import open_doctor
from aiex.core import DoctorArguments
from aiex.interfaces.cli.drive import run_verb, set_up
from aiex.interfaces.cli.options import Globals, Leaf

__all__ = ["command"]


@click.pass_obj
def _doctor(asked: Globals, /) -> int:
    setup = set_up(asked, strict=False)
    return run_verb(setup, "doctor", DoctorArguments(), open_house=open_doctor)


command = Leaf(
    "doctor",
    callback=_doctor,
    help="Say what works here, and what to do about what does not; end with 1 at a problem.",
)
