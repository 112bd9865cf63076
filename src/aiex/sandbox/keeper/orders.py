"""What is said on the line between Aiex and a keeper: one setup, then orders and reports.

Each is `marshal` behind a length of four bytes; an order carries the command's three streams as
descriptors. Keepers use these types for checks alone, and never import them.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

__all__ = ["Order", "Report", "Setup", "Template"]


class Template(TypedDict):
    """The root that the cells of a keeper have, prepared once.

    Attributes:
        root: Folder that it is mounted on, in the keeper's namespace alone.
        folders: Files and folders that are shown read-only, and where.
        devices: Devices that are shown.
        links: Links, and where they lie.
        tmp_bytes: Size of the private folder, and of shared memory.
    """

    root: bytes
    folders: list[tuple[bytes, bytes]]
    devices: list[bytes]
    links: list[tuple[bytes, bytes]]
    tmp_bytes: int


class Setup(TypedDict):
    """What holds for all commands of one keeper.

    Attributes:
        level: The level.
        folder: In which each command's private folder is made.
        program: Filter of system calls.
        program_at: Descriptor on which bubblewrap reads it.
        template: What to prepare in the place of bubblewrap, where that is possible.
        ruleset: What of files, network and scopes Landlock takes charge of.
        rules: Paths, and the rights below them.
        private: Rights below a command's private folder.
        of_files: Rights that there are for files.
    """

    level: str
    folder: bytes
    program: NotRequired[bytes]
    program_at: NotRequired[int]
    template: NotRequired[Template]
    ruleset: NotRequired[tuple[int, int, int]]
    rules: NotRequired[list[tuple[bytes, int]]]
    private: NotRequired[int]
    of_files: NotRequired[int]


class Order(TypedDict):
    """What one command is.

    Attributes:
        argv: Its words.
        program_path: Path of its program.
        environment: Its variables, but for HOME and TMPDIR.
        cwd: Its folder; `None` for its private one.
        rules: Further paths, and the rights below them.
        shown: Files and folders that a cell shows, where, and whether they may be written; the
            outer ones first.
        private: Where a cell has its private folder.
        program: Filter on top of the level's; empty for none.
        limits: Resources, and how much of each.
        processes: Most processes together.
        memory: Most bytes of memory together.
    """

    argv: list[bytes]
    program_path: bytes
    environment: dict[bytes, bytes]
    cwd: bytes | None
    rules: list[tuple[bytes, int]]
    shown: list[tuple[bytes, bytes, bool]]
    private: bytes
    program: bytes
    limits: list[tuple[int, int]]
    processes: int
    memory: int


Report = tuple[str, int | str, int | str, int]
"""What became of a command: `ready` of the keeper itself, `failed` or `ended`, and details."""
