"""A server of Aiex in a process of its own, for tests of what asks it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

__all__ = ["Serving", "serving"]

_SECONDS = 20.0


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is asked.

    Attributes:
        url: Its address, without a path.
        token: The token of its own machine's clients.
        pid: Its process.
    """

    url: str
    token: str
    pid: int


@contextmanager
def serving(folder: Path, config: str, env: Mapping[str, str]) -> Iterator[Serving]:
    """Run `aiex serve` with a state of its own until the context is left.

    Args:
        folder: Folder for its settings, its state and what it writes to standard error; made if
            it is not there.
        config: Its settings, TOML.
        env: Variables beside those that it needs.

    Raises:
        RuntimeError: It ended instead of listening.
    """
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(config)
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "aiex", "--json", "serve", "--port", "0"],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "AIEX_CONFIG": str(folder / "config.toml"),
                "AIEX_STATE_DIRECTORY": str(folder / "state"),
                **env,
            },
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield _listening(process, folder / "stderr")
    finally:
        process.kill()
        process.communicate(timeout=_SECONDS)


def _listening(process: subprocess.Popen[str], errors: Path) -> Serving:
    assert process.stdout is not None
    text = ""
    for line in iter(process.stdout.readline, ""):
        text += line
        if line == "}\n":
            said = json.loads(text)["data"]
            token = Path(said["token_file"]).read_text().strip()
            return Serving(url=said["address"], token=token, pid=process.pid)
    msg = f"the server ended: {text}{errors.read_text()}"
    raise RuntimeError(msg)
