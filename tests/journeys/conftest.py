"""The real program in a process of its own, with a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiex.testing.fake_openai import FakeOpenAI, Scripted


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How one run of the program ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """Runs `aiex` in a project.

    Attributes:
        project: Its folder.
        env: Variables of the program; tests add to them.
    """

    def __init__(self, project: Path, home: Path) -> None:
        self.project = project
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            # bpe-openai opens its files in a way that Python 3.11 and 3.12 warn of.
            "PYTHONWARNINGS": "error,ignore:open_binary is deprecated:DeprecationWarning",
            # Nobody's own servers may answer a test.
            "AIEX_MODEL_OLLAMA_URL": "http://127.0.0.1:9",
            "AIEX_MODEL_LM_STUDIO_URL": "http://127.0.0.1:9",
            "AIEX_MODEL_ORDER": "anthropic,openai,ollama,lm_studio",
        }

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "aiex", *words]

    def __call__(self, *words: str, stdin: str | None = None) -> Ended:
        ran = subprocess.run(  # noqa: PLW1510 - the exit status is what is tested
            self.argv(*words),
            cwd=self.project,
            env=self.env,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Ended(code=ran.returncode, out=ran.stdout, err=ran.stderr)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*words),
            cwd=self.project,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def use(self, fake: FakeOpenAI) -> None:
        """Let *fake* be OpenAI."""
        self.env["OPENAI_API_KEY"] = "sk-of-nobody"
        self.env["AIEX_MODEL_OPENAI_URL"] = fake.url


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    project = tmp_path / "shop"
    home = tmp_path / "home"
    home.mkdir()
    (project / "shop").mkdir(parents=True)
    (project / "pyproject.toml").write_text('[project]\nname = "shop"\nversion = "0.1"\n')
    (project / "shop/__init__.py").write_text('"""A shop."""\n')
    (project / "shop/cart.py").write_text(
        '"""The cart."""\n\n\n'
        "def total(prices: list[int]) -> int:\n"
        '    """Return the sum of *prices*."""\n'
        "    return sum(prices)\n"
    )
    (project / "shop/till.py").write_text(
        '"""The till."""\n\nfrom shop.cart import total\n\n\n'
        "def bill(prices: list[int]) -> str:\n"
        '    """Return the bill."""\n'
        '    return f"{total(prices)} EUR"\n'
    )
    return Cli(project, home)


@pytest.fixture
def answering(cli: Cli) -> Iterator[Callable[..., FakeOpenAI]]:
    """Makes a model that gives the answers it is told, and lets the program use it."""
    open_fakes: list[FakeOpenAI] = []

    def make(*answers: Scripted) -> FakeOpenAI:
        fake = FakeOpenAI(answers, models=["gpt-5.4-mini"])
        fake.__enter__()
        open_fakes.append(fake)
        cli.use(fake)
        return fake

    yield make
    for fake in open_fakes:
        fake.__exit__(None, None, None)
