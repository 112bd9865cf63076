"""Each room's front desk names exactly what other rooms may use, and holds nothing else."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import aiex

ROOMS = sorted(
    m.name for m in pkgutil.iter_modules(aiex.__path__) if m.ispkg and m.name != "interfaces"
)


def _public(module: ModuleType) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }


@pytest.mark.parametrize("room", ROOMS)
def test_all_is_exactly_what_is_public(room: str) -> None:
    desk = importlib.import_module(f"aiex.{room}")

    assert set(getattr(desk, "__all__", ())) == _public(desk) - {"annotations"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_front_desk_holds_no_logic(room: str) -> None:
    path = Path(str(importlib.import_module(f"aiex.{room}").__file__))
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr)

    assert all(isinstance(node, allowed) for node in ast.parse(path.read_text()).body)


@pytest.mark.parametrize("room", ["cluster", "llm", "gateway"])
def test_a_front_desk_gives_no_concrete_backend_away(room: str) -> None:
    desk = importlib.import_module(f"aiex.{room}")
    homes = {getattr(getattr(desk, name), "__module__", "") for name in desk.__all__}

    assert not {
        home for home in homes if home.startswith(("aiex.cluster.local", "aiex.llm.adapters"))
    }


def test_importing_the_program_reads_nothing_heavy() -> None:
    source = Path(str(importlib.import_module("aiex.interfaces.cli.front").__file__)).read_text()
    top = [
        alias.name
        for node in ast.parse(source).body
        if isinstance(node, ast.Import)
        for alias in node.names
    ]

    assert set(top) <= {"os", "sys"}
