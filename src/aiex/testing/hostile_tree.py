"""A project that nobody vouches for: whatever a tree can hold that breaks, misleads or runs.

For tests of everything that looks at a user's project. What would run leaves a file in a folder
outside the tree, so that a test can see that nothing did.
"""

from __future__ import annotations

import os
import shlex
import socket
import stat
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec

__all__ = ["HostileTree", "Snapshot", "make_hostile_tree", "remove_tree", "snapshot_of"]

Snapshot = dict[bytes, tuple[object, ...]]
"""What is known of every entry of a tree by its path: kind, owner, size, times, content."""

_DEEP = 3000
_SPARSE_BYTES = 8 << 30
_LARGE_LINE_BYTES = 20 << 20
_FILES_PER_FOLDER = 250
_DIGESTED_BYTES = 1 << 20

_KILLERS = {
    "killer_unary.py": b"x = " + b"-" * 20_000 + b"1\n",
    "killer_attributes.py": b"x = a" + b".b" * 20_000 + b"\n",
    "killer_sum.py": b"x = 1" + b"+1" * 30_000 + b"\n",
    "killer_calls.py": b"x = (f\n" + b"  .g(a, b=1)\n" * 20_000 + b")\n",
    "killer_else.py": b"x = " + b"1 if 1 else " * 20_000 + b"1\n",
    "nested_blocks.py": b"".join(b" " * n + b"if x:\n" for n in range(99)) + b" " * 99 + b"pass\n",
    "quadratic.py": b"()[]{}.+-x " * 20_000 + b"\n",
    "quadratic_lines.py": b"()[]{}.+-x \n" * 20_000,
}
_TEXTS = {
    "calls.py": b"f()\n" * 250_000,
    "undefined.py": b"f\n" * 100_000,
    "marks.js": b"x+" * 1_000_000,
    "crlf.py": b"import os\r\n\r\n\r\ndef f():\r\n    return os.name\r\n",
    "utf16.py": "x = 1\n".encode("utf-16"),
    "latin1.py": "name = 'é'\n".encode("latin-1"),
    "binary.py": b"\x00\x01\x02" * 1000,
    "circle/__init__.py": b"",
    "circle/a.py": b"from circle import b\n",
    "circle/b.py": b"from circle import a\n",
    "pyproject.toml": b"[tool.ruff]\nline-length = \xff\xfe\n",
    "ruff.toml": b'extend = "/dev/zero"\nselect = ["',
    "star/.gitignore": b"*a" * 60 + b"*b\n",
    f"star/{'a' * 200}.py": b"x = 1\n",
    "-rf.py": b"x = 1\n",
    "$(touch x);`id`|\"'<b>&[x](y).py": b"import os\n",
}
_ODD_NAMES = (
    b"new\nline.py",
    b"escape\x1b[2J\x1b]0;title\x07.py",
    "right\u202eto left.py".encode(),
    b"not utf-8 \xff\xfe.py",
    b"surrogate \xed\xa0\x80.py",
)
_RUNS_PYTHON = ("conftest.py", "setup.py", "sitecustomize.py", "usercustomize.py", "ruff.py")
_SHADOWS = ("ast.py", "json.py", "msgspec.py", "tree_sitter.py", "pathspec.py")


class HostileTree(msgspec.Struct, frozen=True, kw_only=True):
    """A tree that was made.

    Attributes:
        root: Its folder.
        canaries: Folder where whatever ran has left a file; empty if nothing did.
        named: Names that a careful reader must report as left out.
        small_files: Number of ordinary files in it.
    """

    root: Path
    canaries: Path
    named: tuple[str, ...]
    small_files: int

    def ran(self) -> list[str]:
        """Return what ran."""
        return sorted(path.name for path in self.canaries.iterdir())


def make_hostile_tree(parent: Path, *, small_files: int = 500, git: bool = True) -> HostileTree:
    """Return a new tree below *parent*; it must be taken away with `remove_tree`.

    Args:
        parent: An empty folder.
        small_files: Number of ordinary files; 50,000 make it a slow one.
        git: Whether it is a repository, whose configuration runs whatever it can.
    """
    root, canaries = parent / "tree", parent / "canaries"
    root.mkdir()
    canaries.mkdir()
    _many(root / "many", small_files)
    for name, content in {**_KILLERS, **_TEXTS}.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    for odd in _ODD_NAMES:
        Path(os.fsdecode(os.fsencode(root) + b"/" + odd)).write_bytes(b"x = 1\n")
    _programs(root, canaries)
    if git:
        _repository(root, canaries)
    _special(root)
    _links(root)
    _deep(root)
    return HostileTree(
        root=root,
        canaries=canaries,
        named=(
            *(name for name in _KILLERS if name.startswith(("killer", "quadratic"))),
            "pipe.py",
            "socket.py",
            "sparse.py",
            "line.js",
            "binary.py",
            "new\\nline.py",
            "escape\\x1b",
            "right\\u202e",
            "not utf-8 \\udcff",
        ),
        small_files=small_files,
    )


def remove_tree(tree: HostileTree) -> None:
    """Take *tree* away; it is too deep for `shutil.rmtree`."""
    subprocess.run(["chmod", "-R", "u+rwX", "--", str(tree.root)], check=False, capture_output=True)
    subprocess.run(["rm", "-rf", "--", str(tree.root), str(tree.canaries)], check=True)


def snapshot_of(root: Path) -> Snapshot:
    """Return everything that is below *root*, so that two looks can be compared.

    Times of access are left out; contents are digested up to 1 MiB.
    """
    return dict(_entries(root))


def _entries(root: Path) -> Iterator[tuple[bytes, tuple[object, ...]]]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    stack = [(b"", os.open(root, flags))]
    while stack:
        prefix, folder = stack.pop()
        try:
            with os.scandir(folder) as found:
                names = sorted(os.fsencode(entry.name) for entry in found)
            for name in names:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                yield prefix + name, (*_facts(status), _content(folder, name, status))
                if stat.S_ISDIR(status.st_mode) and os.access(name, os.R_OK, dir_fd=folder):
                    stack.append((prefix + name + b"/", os.open(name, flags, dir_fd=folder)))
        finally:
            os.close(folder)


def _facts(status: os.stat_result) -> tuple[object, ...]:
    return (
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _content(folder: int, name: bytes, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return os.fsdecode(os.readlink(name, dir_fd=folder))
    if not stat.S_ISREG(status.st_mode) or not os.access(name, os.R_OK, dir_fd=folder):
        return ""
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        return sha256(os.read(handle, _DIGESTED_BYTES)).hexdigest()
    finally:
        os.close(handle)


def _many(folder: Path, count: int) -> None:
    for number in range(count):
        place = folder / f"part{number // _FILES_PER_FOLDER}"
        if number % _FILES_PER_FOLDER == 0:
            place.mkdir(parents=True)
        text = f'"""Module {number}."""\nimport os\n\n\ndef f{number}(x):\n    return eval(x)\n'
        (place / f"m{number}.py").write_text(text)


def _leave(canaries: Path, what: str) -> str:
    """Return a command of the shell that leaves a sign of having run."""
    return f"touch {shlex.quote(str(canaries / what))}"


def _programs(root: Path, canaries: Path) -> None:
    """Write what runs when a tool looks at a project."""
    for name in (*_RUNS_PYTHON, *_SHADOWS):
        touch = f"open({str(canaries / name)!r}, 'w').close()"
        (root / name).write_text(f"{touch}\n")
    (root / "evil.pth").write_text(f"import os; os.system({_leave(canaries, 'pth')!r})\n")
    (root / ".formatter.exs").write_text(f'System.cmd("touch", ["{canaries / "formatter"}"])\n')
    (root / "mix.exs").write_text(f'System.cmd("touch", ["{canaries / "mix"}"])\n')
    (root / "package.json").write_text(
        msgspec.json.encode({"scripts": {"preinstall": _leave(canaries, "npm")}}).decode()
    )
    for name in ("git", "ruff", "setpriv"):
        path = root / name
        path.write_text(f"#!/bin/sh\n{_leave(canaries, f'program {name}')}\n")
        path.chmod(0o755)


def _repository(root: Path, canaries: Path) -> None:
    """Make it a repository with one commit and a configuration that runs all that it can."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(canaries),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }

    def run(*arguments: str) -> None:
        subprocess.run(
            ["git", "-C", str(root), *arguments], env=environment, check=True, capture_output=True
        )

    run("init", "--quiet", "--initial-branch=main")
    run("add", "--", "circle", "crlf.py", "conftest.py", "-rf.py")
    run("commit", "--quiet", "--message=one")
    (root / "circle" / "b.py").write_text("from circle import a\n\nprint(eval(a))\n")
    (root / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    hooks = root / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for hook in ("pre-commit", "post-checkout", "post-index-change", "fsmonitor-watchman"):
        path = hooks / hook
        path.write_text(f"#!/bin/sh\n{_leave(canaries, f'hook {hook}')}\n")
        path.chmod(0o755)
    settings = {
        "core.fsmonitor": "fsmonitor",
        "core.pager": "pager",
        "core.sshCommand": "ssh",
        "core.askPass": "askpass",
        "core.editor": "editor",
        "core.alternateRefsCommand": "alternates",
        "diff.external": "external",
        "diff.evil.command": "command",
        "diff.evil.textconv": "textconv",
        "filter.evil.clean": "clean",
        "filter.evil.smudge": "smudge",
        "filter.evil.process": "process",
        "merge.evil.driver": "merge",
        "gpg.program": "gpg",
        "credential.helper": "credential",
        "uploadpack.packObjectsHook": "pack",
        "alias.log": "alias",
        "alias.ls-files": "alias",
        "pager.log": "pager log",
    }
    script = canaries.parent / "evil.gitconfig"
    lines = []
    for key, what in settings.items():
        section, _, name = key.rpartition(".")
        first, _, second = section.partition(".")
        head = f'[{first} "{second}"]' if second else f"[{first}]"
        mark = "!" if first == "alias" else ""
        value = f"{mark}{_leave(canaries, what)}".replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'{head}\n\t{name} = "{value}"\n')
    lines.append('[log]\n\tshowSignature = true\n[filter "evil"]\n\trequired = true\n')
    script.write_text("".join(lines))
    with (root / ".git" / "config").open("a") as config:
        config.write(f"[include]\n\tpath = {script}\n")
        config.writelines(lines)


def _special(root: Path) -> None:
    os.mkfifo(root / "pipe.py")
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # A socket's address is short; the way through /proc is for a long path.
            listener.bind(f"/proc/self/fd/{folder}/socket.py")
        finally:
            os.close(folder)
    with (root / "sparse.py").open("wb") as sparse:
        sparse.truncate(_SPARSE_BYTES)
    (root / "line.js").write_bytes(b"x+" * (_LARGE_LINE_BYTES // 2))
    (root / "closed.py").write_text("x = 1\n")
    (root / "closed.py").chmod(0)
    closed = root / "closed"
    closed.mkdir()
    (closed / "inside.py").write_text("x = 1\n")
    closed.chmod(0)


def _links(root: Path) -> None:
    for name, target in {
        "zero.py": "/dev/zero",
        "outside.py": "/etc/passwd",
        "outside": "/",
        "circle_of_one.py": "circle_of_one.py",
        "circle_a.py": "circle_b.py",
        "circle_b.py": "circle_a.py",
        "up": "..",
        "here": ".",
        "nowhere.py": "missing",
    }.items():
        (root / name).symlink_to(target)


def _deep(root: Path) -> None:
    """Make folders that are deeper than any path can say."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(_DEEP):
        os.mkdir("deep", dir_fd=folder)
        below = os.open("deep", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        os.close(folder)
        folder = below
    handle = os.open("bottom.py", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=folder)
    os.close(handle)
    os.close(folder)
