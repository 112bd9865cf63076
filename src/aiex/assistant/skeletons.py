"""The files of a new project, by language: small, modern, and green from the first test run."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Callable

from aiex.core import FileEdit, UsageError

__all__ = ["PROJECT_LANGUAGES", "project_files"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*")
_ELIXIR_RESERVED = frozenset(
    {"after", "and", "catch", "do", "else", "end", "false", "fn", "in", "nil", "not", "or"}
    | {"rescue", "true", "when"}
)


def project_files(name: str, language: str) -> tuple[FileEdit, ...]:
    """Return the files of a new project, as edits below a folder called *name*.

    Args:
        name: Name of the project: letters, digits, single `-` or `_`, a letter first.
        language: One of `PROJECT_LANGUAGES`.

    Raises:
        UsageError: The name cannot name a project, or the language has no skeleton.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a project: expected letters, digits and single - or _, "
            "a letter first",
            hint="such as my-project",
        )
    make = _SKELETONS.get(language)
    if make is None:
        raise UsageError(
            f"there is no project skeleton for {language}",
            hint=f"--language {' | '.join(PROJECT_LANGUAGES)}",
        )
    files = make(name)
    return tuple(
        FileEdit(path=f"{name}/{path}", after=text.encode()) for path, text in sorted(files.items())
    )


def _python(name: str) -> dict[str, str]:
    package = name.lower().replace("-", "_")
    if keyword.iskeyword(package) or package == "tests":
        raise UsageError(f"{package!r} cannot name a Python package", hint="choose another name")
    if package in sys.stdlib_module_names:
        raise UsageError(
            f"{package!r} is a module of Python itself, which the project would hide",
            hint="choose another name",
        )
    title = f"# {name}\n\n"
    return {
        "README.md": title
        + "What it is for, in a sentence.\n\n## Develop\n\n```console\n$ uv run pytest\n```\n\n"
        "Without uv: `python3 -m venv .venv && .venv/bin/pip install -e . pytest && "
        ".venv/bin/pytest`.\n",
        "CHANGELOG.md": "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- The first version.\n",
        ".gitignore": "__pycache__/\n*.egg-info/\n.venv/\n.pytest_cache/\n.ruff_cache/\n"
        ".mypy_cache/\nbuild/\ndist/\n",
        "pyproject.toml": f"""\
[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "{name.lower()}"
version = "0.1.0"
description = "What it is for, in a sentence"
readme = "README.md"
requires-python = ">=3.11"
dependencies = []

[dependency-groups]
dev = ["pytest>=8", "ruff>=0.12", "mypy>=1.16"]

[tool.hatch.build.targets.wheel]
packages = ["src/{package}"]

[tool.ruff]
line-length = 100

[tool.ruff.lint]
select = ["B", "D", "E", "F", "I", "N", "RUF", "S", "SIM", "UP", "W"]

[tool.ruff.lint.per-file-ignores]
"tests/**" = ["D", "S101"]

[tool.ruff.lint.pydocstyle]
convention = "google"

[tool.mypy]
strict = true

[tool.pytest.ini_options]
addopts = ["--strict-markers", "--strict-config", "--doctest-modules"]
testpaths = ["tests", "src"]
pythonpath = ["src"]
filterwarnings = ["error"]
""",
        f"src/{package}/__init__.py": f'''\
"""What {name} is for, in a sentence."""

__all__ = ["greeting"]


def greeting(name: str) -> str:
    """Return a greeting for *name*.

    Args:
        name: Whom to greet; must not be empty.

    Raises:
        ValueError: *name* is empty.

    Example:
        >>> greeting("Ada")
        'Hello, Ada!'
    """
    if not name:
        msg = "a name is needed"
        raise ValueError(msg)
    return f"Hello, {{name}}!"
''',
        f"src/{package}/py.typed": "",
        f"tests/test_{package}.py": f"""\
import pytest

from {package} import greeting


def test_the_greeting_names_whom_it_greets() -> None:
    assert greeting("Grace") == "Hello, Grace!"


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="name is needed"):
        greeting("")
""",
    }


def _elixir(name: str) -> dict[str, str]:
    app = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")
    if app in _ELIXIR_RESERVED:
        raise UsageError(f"{app!r} cannot name an Elixir application", hint="choose another name")
    module = "".join(part[:1].upper() + part[1:] for part in app.split("_"))
    return {
        "README.md": f"# {module}\n\nWhat it is for, in a sentence.\n\n## Develop\n\n"
        "```console\n$ mix test\n```\n",
        ".gitignore": "/_build/\n/cover/\n/deps/\n/doc/\nerl_crash.dump\n*.ez\n",
        ".formatter.exs": '[\n  inputs: ["{mix,.formatter}.exs", "{config,lib,test}/**/*.{ex,exs}"]'
        "\n]\n",
        "mix.exs": f"""\
defmodule {module}.MixProject do
  use Mix.Project

  def project do
    [
      app: :{app},
      version: "0.1.0",
      elixir: "~> 1.14",
      start_permanent: Mix.env() == :prod,
      deps: deps()
    ]
  end

  def application do
    [
      extra_applications: [:logger]
    ]
  end

  defp deps do
    []
  end
end
""",
        f"lib/{app}.ex": f'''\
defmodule {module} do
  @moduledoc """
  What {module} is for, in a sentence.
  """

  @doc """
  Returns a greeting for `name`.

  ## Examples

      iex> {module}.greeting("Ada")
      "Hello, Ada!"

  """
  @spec greeting(String.t()) :: String.t()
  def greeting(name) when is_binary(name) and name != "" do
    "Hello, #{{name}}!"
  end
end
''',
        "test/test_helper.exs": "ExUnit.start()\n",
        f"test/{app}_test.exs": f"""\
defmodule {module}Test do
  use ExUnit.Case, async: true
  doctest {module}

  test "the greeting names whom it greets" do
    assert {module}.greeting("Grace") == "Hello, Grace!"
  end

  test "an empty name is refused" do
    assert_raise FunctionClauseError, fn -> {module}.greeting("") end
  end
end
""",
    }


_SKELETONS: dict[str, Callable[[str], dict[str, str]]] = {"python": _python, "elixir": _elixir}
PROJECT_LANGUAGES: tuple[str, ...] = tuple(_SKELETONS)
"""Languages that have a project skeleton."""
