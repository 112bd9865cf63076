"""Reading the settings files of the user's other tools; what cannot be read says nothing."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["text_of", "toml_of", "uv_settings"]

_MAX_BYTES = 1 << 20


def text_of(path: Path) -> str:
    """Return a settings file; empty where it is absent, too large or no text. Blocks."""
    try:
        if path.stat().st_size > _MAX_BYTES or not path.is_file():
            return ""
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def toml_of(path: Path) -> dict[str, Any]:
    """Return the table of a settings file; empty where it is absent or no TOML. Blocks."""
    try:
        return tomllib.loads(text_of(path))
    except tomllib.TOMLDecodeError:
        return {}


def uv_settings(env: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of uv of the user of *env*, or of the file that it names. Blocks."""
    home = Path(env.get("HOME") or "~").expanduser()
    config = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    return toml_of(Path(env.get("UV_CONFIG_FILE") or config / "uv" / "uv.toml"))
