"""`aiex gen module`: what `mix ai.gen.module` is to an Elixir project."""

from __future__ import annotations

from aiex.interfaces.cli.commands.create import module
from aiex.interfaces.cli.options import Group

__all__ = ["command"]

command = Group("gen", help="Another name for create.", commands=[module])
