"""A project with a place outside of it, and files opened as the application opens them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from aiex.core import Actor
from aiex.sandbox import AuditLog, FilePolicy, Files

ACTOR = Actor(user="tester", interface="cli")


class Place:
    """A root, what lies outside of it, and the state that no root contains."""

    def __init__(self, base: Path, stack: ExitStack) -> None:
        self.root = base / "project"
        self.outside = base / "outside"
        self.state = base / "state"
        self.root.mkdir()
        self.outside.mkdir()
        (self.outside / "secret.txt").write_bytes(b"SECRET")
        self._stack = stack

    def files(
        self,
        policy: FilePolicy | None = None,
        *,
        portable: bool | None = None,
        op_id: str = "op",
        **more: Any,
    ) -> Files:
        audit = self._stack.enter_context(AuditLog(self.state / "audit"))
        return self._stack.enter_context(
            Files(
                self.root,
                state=self.state,
                policy=policy or FilePolicy(),
                audit=audit,
                actor=ACTOR,
                op_id=op_id,
                portable=portable,
                **more,
            )
        )

    @property
    def log(self) -> Path:
        """The one segment that a test fills."""
        (segment,) = (self.state / "audit").glob("*.jsonl")
        return segment

    def records(self) -> list[dict[str, Any]]:
        lines = self.log.read_text("ascii").splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


@pytest.fixture(params=["openat2", "walk"])
def portable(request: pytest.FixtureRequest) -> bool:
    """Both drivers of the path layer; the suites that take it run against each."""
    from aiex.sandbox import isolation_status

    if request.param == "openat2" and isolation_status().paths_by != "openat2":
        pytest.skip("this kernel has no openat2, or does not let us call it")
    return bool(request.param == "walk")


@pytest.fixture
def opened(place: Place, portable: bool) -> Callable[..., Files]:
    def open_files(policy: FilePolicy | None = None) -> Files:
        return place.files(policy, portable=portable)

    return open_files


@pytest.fixture
def ordinary_user() -> None:
    if os.geteuid() == 0:
        pytest.skip("root may do what a mode forbids; run as an ordinary user")
