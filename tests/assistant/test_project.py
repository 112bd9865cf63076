"""A project as the verbs read it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from aiex.assistant.project import ProjectReader, batches, looks_like_project
from aiex.core import Progress, UsageError
from aiex.sandbox import Files

if TYPE_CHECKING:
    from tests.assistant.conftest import Told

pytestmark = pytest.mark.anyio


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


async def test_every_file_whose_language_is_read_has_its_facts(
    reader: ProjectReader, root: Path, told: type[Told]
) -> None:
    write(root, {"b/a.py": "def f():\n    pass\n", "a.go": "package a\n", "README.md": "# A\n"})

    project = await reader.read(told(root))

    assert list(project.files) == list(project.digests) == ["a.go", "b/a.py"]
    assert project.files["b/a.py"].symbols[0].name == "f"
    assert [entry.path for entry in project.scan.entries] == ["README.md", "a.go", "b/a.py"]
    assert project.fresh == 2
    assert project.not_checked == ()


async def test_what_was_read_once_is_not_parsed_again_under_any_name(
    reader: ProjectReader, root: Path, told: type[Told]
) -> None:
    write(root, {"a.py": "x = 1\n", "b.py": "y = 1\n"})
    await reader.read(told(root))
    (root / "a.py").rename(root / "moved.py")
    write(root, {"b.py": "y = 2\n"})

    project = await reader.read(told(root))

    assert project.fresh == 1
    assert list(project.files) == ["b.py", "moved.py"]
    assert (await reader.read(told(root, use_cache=False))).fresh == 2


async def test_brief_facts_measure_the_same_and_hold_no_text(
    reader: ProjectReader, root: Path, told: type[Told]
) -> None:
    write(root, {"a.py": 'def f(x):\n    """Docs."""\n    return g(x)\n'})

    whole = (await reader.read(told(root))).files["a.py"]
    brief = (await reader.read(told(root), brief=True)).files["a.py"]

    assert (brief.lines, brief.depth) == (whole.lines, whole.depth)
    assert whole.calls[0].callee == "g"
    assert brief.calls == ()
    assert (whole.symbols[0].docstring, brief.symbols[0].docstring) == ("Docs.", "")


async def test_what_cannot_be_read_is_named(
    reader: ProjectReader, root: Path, told: type[Told]
) -> None:
    write(root, {"large.py": "#" * (3 << 20), "broken.py": "def (:\n", "a.py": "x = 1\n"})
    (root / "binary.py").write_bytes(b"\x00" * 100)
    (root / "latin.py").write_bytes(b"# \xe9\n")
    os.mkfifo(root / "pipe.py")

    project = await reader.read(told(root))

    reasons = {note.what: note.reason for note in project.not_checked}
    assert set(reasons) == {"large.py", "broken.py", "binary.py", "latin.py", "pipe.py"}
    assert "3145728 bytes" in reasons["large.py"]
    assert "large.py" not in project.files
    assert "does not parse at line 1" in reasons["broken.py"]


async def test_progress_is_told_where_there_is_much_to_read(
    reader: ProjectReader, root: Path, told: type[Told]
) -> None:
    write(root, {f"many/m{number}.py": "x = 1\n" for number in range(300)})
    write(root, {"few/a.py": "x = 1\n"})
    many, few = told(root), told(root)

    await reader.read(many, ["many"])
    await reader.read(few, ["few"])

    assert [(e.done, e.total) for e in many.events if isinstance(e, Progress)] == [
        (0, 300),
        (256, 300),
    ]
    assert few.events == []


async def test_only_what_is_named_is_read(
    reader: ProjectReader, root: Path, told: type[Told]
) -> None:
    write(root, {"a/a.py": "x = 1\n", "b/b.py": "x = 2\n", "c.py": "x = 3\n"})

    project = await reader.read(told(root), ["a", "c.py"])

    assert list(project.files) == ["a/a.py", "c.py"]


async def test_a_request_without_a_folder_is_refused(
    reader: ProjectReader, root: Path, told: type[Told]
) -> None:
    run = told(root)
    run.request = msgspec.structs.replace(run.request, root=None)

    with pytest.raises(UsageError, match="project folder"):
        await reader.read(run)


def test_batches_are_bounded_by_number_and_by_bytes(files: Files, root: Path) -> None:
    write(root, {f"m{number:03}.py": "x = 1\n" for number in range(300)})
    write(root, {f"z{number}.py": "#" * (3 << 20) for number in range(3)})

    found = [[entry.path for entry in batch] for batch in batches(files.scan().entries)]

    assert [len(batch) for batch in found] == [256, 45, 1, 1]
    assert [path for batch in found for path in batch] == sorted(p.name for p in root.iterdir())
    assert list(batches([])) == []


def test_a_folder_is_a_project_by_what_lies_in_it(root: Path) -> None:
    assert not looks_like_project(root)
    (root / "mix.exs").touch()
    assert looks_like_project(root)
