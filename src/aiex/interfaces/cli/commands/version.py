"""`aiex version`."""

from __future__ import annotations

import platform

import click

from aiex import __version__
from aiex.interfaces.cli.drive import answer, set_up
from aiex.interfaces.cli.options import Globals, Leaf
from aiex.interfaces.cli.render.version import VersionResult

__all__ = ["command"]


@click.pass_obj
def _version(asked: Globals, /) -> int:
    result = VersionResult(
        version=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
    )
    return answer(set_up(asked, strict=False), "version", result)


command = Leaf("version", callback=_version, help="Print which Aiex this is.")
