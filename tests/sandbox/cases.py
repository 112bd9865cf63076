"""Adversarial cases as data: what is asked, of which verb, and what must come of it.

A case is made by crossing a way of asking with every verb. What decides is not the error alone:
whatever the outcome, nothing outside may be seen or changed, what is protected neither, a refusal
leaves the project as it was, and no handle is left open.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tests.sandbox.naive import NaiveFiles

from aiex.core import AiexError, FileEdit, NotFoundError, PathRefusedError
from aiex.sandbox import FilePolicy, Files

SECRET = b"SECRET-OF-SOMEBODY"
HOSTILE = b"HOSTILE"
BIG = 5000
POLICY = FilePolicy(hardlinks="deny", max_file_bytes=BIG - 1, max_entries=1000)


Links: TypeAlias = tuple[tuple[str, str], ...]
AnyFiles: TypeAlias = Files | NaiveFiles
"""What the verbs are asked of."""


def _read_many(files: AnyFiles, path: str) -> object:
    (found,) = files.read_many([path])
    if isinstance(found, AiexError):
        raise found
    return found


def _exists(files: AnyFiles, path: str) -> object:
    if not files.exists(path):
        raise NotFoundError("no")
    return True


def _edits(path: str) -> list[FileEdit]:
    return [FileEdit(path="beside", after=b"x"), FileEdit(path=path, after=HOSTILE)]


READING: dict[str, Callable[[AnyFiles, str], object]] = {
    "read": lambda files, path: files.read(path),
    "read_many": _read_many,
    "read_lines": lambda files, path: files.read_lines(path),
    "stat": lambda files, path: files.stat(path),
    "exists": _exists,
    "list": lambda files, path: files.list(path),
    "scan": lambda files, path: files.scan([path]),
    "copy_from": lambda files, path: files.copy(path, "copied"),
}
WRITING: dict[str, Callable[[AnyFiles, str], object]] = {
    "write": lambda files, path: files.write(path, HOSTILE, overwrite=True),
    "append": lambda files, path: files.append(path, HOSTILE),
    "delete": lambda files, path: files.delete(path),
    "mkdir": lambda files, path: files.mkdir(path, parents=True, exist_ok=True),
    "copy_to": lambda files, path: files.copy("file", path, overwrite=True),
    "move_from": lambda files, path: files.move(path, "moved"),
    "move_to": lambda files, path: files.move("file", path, overwrite=True),
    "apply": lambda files, path: files.apply(_edits(path)),
    "check": lambda files, path: files.check(_edits(path)),
}
VERBS = {**READING, **WRITING}
ON_FILES = tuple(verb for verb in VERBS if verb not in {"list", "scan", "exists", "mkdir"})
REVEALING = ("read", "read_many", "read_lines", "copy_from", "move_from", "append")


@dataclass(frozen=True)
class Case:
    """One attempt.

    Attributes:
        name: What it is, unique.
        verb: Which of `VERBS`, or a call of its own in *call*.
        path: What is asked for; `{root}` and `{outside}` stand for the folders.
        outcomes: What may come of it: a rule, the code of an error, or `done`.
        links: Symbolic links that are there, by path, with what they say.
        call: What is asked instead of the verb's usual call.
        is_lost_naively: Whether a check of real paths is known to lose it.
        hangs_naively: Whether opening by name waits for ever.
        then: What must hold afterwards besides.
    """

    name: str
    verb: str
    path: str
    outcomes: frozenset[str]
    links: Links = ()
    call: Callable[[AnyFiles], object] | None = None
    is_lost_naively: bool = False
    hangs_naively: bool = False
    then: Callable[[Yard], bool] = field(default=lambda _yard: True)

    @property
    def way(self) -> str:
        """The name without the verb."""
        return self.name.removesuffix(f": {self.verb}")


class Yard:
    """A project with an outside, as every case finds it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "project"
        self.outside = base / "outside"
        self.state = base / "state"
        for folder in (
            "project/dir/sub/deep",
            "project/empty",
            "project/.git/hooks",
            "project/.vscode",
            "outside/dir/sub",
            "project2/dir",
        ):
            (base / folder).mkdir(parents=True)
        for path in ("file", "dir/file", "dir/sub/file", "dir/sub/deep/file"):
            (self.root / path).write_bytes(b"inside")
        for path in (".git/config", ".git/hooks/hook", ".env", ".vscode/settings.json"):
            (self.root / path).write_bytes(SECRET)
        for path in ("secret", "dir/secret", "dir/sub/file", "file"):
            (self.outside / path).write_bytes(SECRET)
        (base / "project2/secret").write_bytes(SECRET)
        os.link(self.outside / "secret", self.root / "shared")
        (self.root / "big").write_bytes(b"b" * BIG)
        os.mkfifo(self.root / "pipe")
        with socket.socket(socket.AF_UNIX) as server:
            handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
            try:  # a socket's address is short
                server.bind(f"/proc/self/fd/{handle}/socket")
            finally:
                os.close(handle)

    def link(self, links: Links) -> None:
        for path, target in links:
            (self.root / path).symlink_to(self.named(target))

    def unlink(self, links: Links) -> None:
        for path, _ in links:
            (self.root / path).unlink()

    def named(self, path: str) -> str:
        return path.replace("{root}", str(self.root)).replace("{outside}", str(self.outside))

    def inside(self) -> dict[str, object]:
        """What the project is: every name, what it is, and what it holds."""
        return _tree(self.root)

    def untouchable(self) -> dict[str, object]:
        """What no verb may change: the outside and what is protected."""
        found: dict[str, object] = {"base": sorted(path.name for path in self.base.iterdir())}
        for folder in (self.outside, self.base / "project2", self.root / ".git"):
            found.update({f"{folder}/{name}": what for name, what in _tree(folder).items()})
        found[".env"] = (self.root / ".env").read_bytes()
        return found


def _tree(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    waiting = [(str(folder), "")]
    while waiting:
        here, prefix = waiting.pop()
        with os.scandir(here) as listing:
            for entry in listing:
                name = f"{prefix}{entry.name}"
                if entry.is_symlink():
                    found[name] = str(Path(entry.path).readlink())
                elif entry.is_dir():
                    found[name] = "folder"
                    waiting.append((entry.path, f"{name}/"))
                elif entry.is_file():
                    found[name] = Path(entry.path).read_bytes()
                else:
                    found[name] = "special"
    return found


def attempt(case: Case, files: AnyFiles, yard: Yard) -> tuple[str, bytes]:
    """Return what came of it, and everything that whoever asked has seen."""
    try:
        if case.call is not None:
            result = case.call(files)
        else:
            result = VERBS[case.verb](files, yard.named(case.path))
    except PathRefusedError as error:
        return error.rule, str(error).encode("utf-8", "surrogateescape")
    except AiexError as error:
        return error.code, str(error).encode("utf-8", "surrogateescape")
    return "done", repr(result).encode("utf-8", "surrogateescape")


def _handles() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def problem_of(case: Case, files: AnyFiles, yard: Yard) -> str | None:
    """Return what is wrong with what came of a case; `None` if nothing is."""
    untouchable, inside = yard.untouchable(), yard.inside()
    handles = _handles()
    outcome, seen = attempt(case, files, yard)
    if _handles() != handles:
        return f"{outcome}, and a handle is left open"
    if SECRET in seen:
        return f"{outcome}, and it was seen what is outside or protected"
    if yard.untouchable() != untouchable:
        return f"{outcome}, and what is outside or protected was changed"
    after = yard.inside()
    if any(SECRET in str(after[name]).encode() for name in after.keys() - inside.keys()):
        return f"{outcome}, and a new file holds what is outside or protected"
    if outcome not in case.outcomes:
        return f"{outcome} instead of {' or '.join(sorted(case.outcomes))}"
    if outcome != "done" and after != inside:
        return f"{outcome}, and the project was changed all the same"
    if outcome == "done" and not case.then(yard):
        return "done, and not what was asked for"
    return None


OUTSIDE = frozenset({"outside_root"})
PROTECTED = frozenset({"protected_name"})

TRAVERSALS = {
    "parent": "../outside/secret",
    "parent itself": "..",
    "parent with a slash": "../",
    "dot and parent": "./../outside/secret",
    "parent behind a folder": "dir/../../outside/secret",
    "parent behind folders": "dir/sub/../../../outside/secret",
    "parent behind a file": "file/../../outside/secret",
    "parent behind what is missing": "nothing/../../outside/secret",
    "slashes in between": "dir//..//..//outside//secret",
    "many parents": "../" * 40 + "etc/passwd",
    "out and in again": "../project/file",
    "absolute": "{outside}/secret",
    "absolute twice": "//{outside}/secret",
    "absolute with a parent": "{root}/../outside/secret",
    "absolute with parents inside": "{root}/dir/../../outside/secret",
    "sibling with the same beginning": "{root}2/secret",
    "root of everything": "/",
    "folder above": "{root}/..",
    "through proc": "/proc/self/root{outside}/secret",
    "of proc": "/proc/self/environ",
    "device": "/dev/zero",
}


def _traversals() -> Iterator[Case]:
    for name, path in TRAVERSALS.items():
        for verb in VERBS:
            yield Case(
                f"traversal: {name}: {verb}",
                verb,
                path,
                OUTSIDE,
                is_lost_naively=name == "sibling with the same beginning",
            )
    for name, path, rule in (
        ("nothing", "", "empty"),
        ("NUL", "dir/fi\0le", "nul"),
        ("NUL behind the root", "{root}/fi\0le", "nul"),
        ("half a surrogate", "dir/\ud800", "not_a_name"),
    ):
        for verb in VERBS:
            yield Case(f"no path: {name}: {verb}", verb, path, frozenset({rule}))
    for name, path in (("name", "n" * 300), ("path", "d/" * 3000 + "f")):
        for verb in VERBS:
            allowed = frozenset({"not_permitted", "not_found", "refused", "too_long"})
            yield Case(f"too long: {name}: {verb}", verb, path, allowed)


POSITIONS = {
    "last": ("link", "link", "/secret"),
    "last in a folder": ("dir/sub/link", "dir/sub/link", "/secret"),
    "first": ("link", "link/dir/secret", ""),
    "middle": ("dir/link", "dir/link/sub/file", ""),
    "deep": ("dir/sub/deep/link", "dir/sub/deep/link/secret", ""),
    "with a parent behind": ("link", "link/../outside/secret", ""),
}
TARGETS: dict[str, Callable[[str], str]] = {
    "relative": lambda up: f"{up}../outside",
    "absolute": lambda _up: "{outside}",
    "through proc": lambda _up: "/proc/self/root{outside}",
    "out and in again": lambda up: f"{up}../project/../outside",
    "chain": lambda up: f"{up}empty/hop",
}


def _links() -> Iterator[Case]:
    for where, (link, path, last) in POSITIONS.items():
        up = "../" * link.count("/")
        for how, target in TARGETS.items():
            links: Links = ((link, target(up) + last),)
            if how == "chain":
                links = ((link, f"{up}empty/hop"), ("empty/hop", f"../../outside{last}"))
            for verb in VERBS:
                yield Case(f"link: {where}: {how}: {verb}", verb, path, OUTSIDE, links)
    for verb in VERBS:
        inside = (("link", "{root}/file"),)
        yield Case(f"link: absolute inside: {verb}", verb, "link", OUTSIDE, inside)
        new = (("link", "../outside/new"),)
        yield Case(f"link: dangling outside: {verb}", verb, "link", OUTSIDE, new)
        loops = frozenset({"link_loop", "refused", "not_found"})
        circles: tuple[tuple[str, Links, str], ...] = (
            ("itself", (("one", "one"),), "one"),
            ("two", (("one", "two"), ("two", "one")), "one"),
            ("folder", (("dir/one", "../dir/one"),), "dir/one/file"),
            ("many", tuple((f"l{n}", f"l{n + 1}") for n in range(60)), "l0"),
        )
        for name, links, path in circles:
            yield Case(f"link: circle of {name}: {verb}", verb, path, loops | {"conflict"}, links)
        disguises: tuple[tuple[str, Links, str], ...] = (
            ("folder", (("plain", ".git"),), "plain/config"),
            ("hook", (("plain", ".git/hooks"),), "plain/hook"),
            ("new hook", (("plain", ".git/hooks"),), "plain/post-checkout"),
            ("file", (("plain", ".env"),), "plain"),
            ("chain", (("one", "two"), ("two", "dir/../.git/config")), "one"),
        )
        for name, links, path in disguises:
            yield Case(
                f"link: to what is protected: {name}: {verb}",
                verb,
                path,
                PROTECTED | ({"not_found"} if name == "new hook" or verb == "mkdir" else set()),
                links,
                is_lost_naively=verb in REVEALING[:4] and name != "new hook",
            )


NEVER = {
    "plain": ".git/config",
    "folder itself": ".git",
    "upper case": ".GIT/config",
    "mixed case": ".gIt/hooks/hook",
    "trailing dot": ".git./config",
    "trailing space": ".git /config",
    "trailing dots and spaces": ".git. . /config",
    "short name": "git~1/config",
    "short name, upper case": "GIT~1/config",
    "stream": ".git::$INDEX_ALLOCATION/config",
    "invisible character": ".g\u200cit/config",
    "soft hyphen": ".\u00adgit/config",
    "wide letters": ".\uff47\uff49\uff54/config",
    "wide dot": "\uff0egit/config",
    "missing hook": ".git/hooks/post-checkout",
    "nested and missing": "dir/sub/.git/hooks/post-checkout",
    "nested under what is missing": "new/one/.GIT/config",
    "behind a parent": "dir/../.git/config",
    "with dots in between": "./.git/./config",
    "absolute": "{root}/.git/config",
    "env": ".env",
    "env, upper case": ".ENV",
    "env of a stage": ".env.production",
    "env, backup": "dir/.env~",
    "envrc": ".envrc",
    "ssh": "dir/.ssh/id_ed25519",
    "own": ".aiex/state",
    "netrc": ".netrc",
}
NEVER_WRITTEN = {
    "editor": ".vscode/settings.json",
    "editor, missing file": ".vscode/tasks.json",
    "editor, upper case": ".VSCODE/tasks.json",
    "editor, wide letters": ".\uff56\uff53\uff43\uff4f\uff44\uff45/tasks.json",
    "editor, missing": ".idea/workspace.xml",
    "servers": ".mcp.json",
    "servers, short name": "MCP~1.JSO",
    "submodules": ".gitmodules",
    "submodules, short name": "gitmod~1",
    "attributes": "dir/.gitattributes",
    "agent": ".claude/settings.json",
    "agent, nested": "dir/.cursor/rules",
    "agent, trailing dot": ".codex./config.toml",
    "hooks": ".husky/pre-commit",
    "hooks of a name": ".githooks/pre-push",
    "container": ".devcontainer/devcontainer.json",
}


def _protected() -> Iterator[Case]:
    for name, path in NEVER.items():
        for verb in VERBS:
            yield Case(f"protected: {name}: {verb}", verb, path, PROTECTED)
    for name, path in NEVER_WRITTEN.items():
        for verb in WRITING:
            yield Case(
                f"never written: {name}: {verb}",
                verb,
                path,
                PROTECTED,
                is_lost_naively=verb in {"write", "append", "mkdir", "copy_to"}
                and ("short" in name or "case" in name or "wide" in name or "dot" in name)
                and not (verb == "mkdir" and "/" not in path),
            )


def _special() -> Iterator[Case]:
    not_a_file = frozenset({"not_a_file"})
    for verb in VERBS:
        for what in ("pipe", "socket"):
            if verb == "exists":
                outcomes = frozenset({"not_found"})
            elif verb == "list":
                outcomes = frozenset({"not_a_folder", "not_a_file"})
            elif verb == "scan":
                outcomes = frozenset({"done", "not_a_file"})
            elif verb == "mkdir":
                outcomes = frozenset({"not_found", "not_a_file"})
            else:
                outcomes = not_a_file
            hangs = what == "pipe"
            yield Case(f"special: {what}: {verb}", verb, what, outcomes, hangs_naively=hangs)
            yield Case(
                f"special: link to a {what}: {verb}",
                verb,
                "link",
                outcomes,
                (("link", what),),
                hangs_naively=hangs,
            )
        for device in ("zero", "random", "tty", "full"):
            links = (("link", f"/dev/{device}"),)
            yield Case(f"special: link to {device}: {verb}", verb, "link", OUTSIDE, links)
        if verb in ON_FILES:
            for what in ("dir", "empty", "dir/sub/..", "."):
                rules = not_a_file | {"no_file"}
                yield Case(f"special: the folder {what}: {verb}", verb, what, rules)
        if verb not in {"read_many", "write", "append", "mkdir", "copy_to", "move_to", "apply"}:
            allowed = frozenset({"not_found", "done" if verb == "check" else "not_found"})
            yield Case(f"special: missing: {verb}", verb, "nothing", allowed)


def _hard_links() -> Iterator[Case]:
    for verb in REVEALING:
        yield Case(
            f"hard link: {verb} passes nothing on",
            verb,
            "shared",
            frozenset({"hardlink"}),
            is_lost_naively=True,
        )
    for verb in ("write", "copy_to", "move_to"):
        yield Case(
            f"hard link: {verb} replaces the name",
            verb,
            "shared",
            frozenset({"done"}),
            is_lost_naively=verb in {"write", "copy_to"},
            then=lambda yard: (yard.root / "shared").read_bytes() in {HOSTILE, b"inside"},
        )
    yield Case(
        "hard link: delete removes the name",
        "delete",
        "shared",
        frozenset({"done"}),
        then=lambda yard: not (yard.root / "shared").exists(),
    )


def _limits() -> Iterator[Case]:
    too_large, usage = frozenset({"too_large"}), frozenset({"usage"})
    for verb in ("read", "read_many", "read_lines", "copy_from", "append", "move_from", "delete"):
        yield Case(f"limit: {verb} of a big file", verb, "big", too_large, is_lost_naively=True)
    calls: dict[str, Callable[[AnyFiles], object]] = {
        "write": lambda files: files.write("new", b"x" * BIG),
        "write over": lambda files: files.write("file", b"x" * BIG, overwrite=True),
        "append": lambda files: files.append("file", b"x" * (BIG - 6)),
        "apply": lambda files: files.apply([FileEdit(path="new", after=b"x" * BIG)]),
        "check": lambda files: files.check([FileEdit(path="new", after=b"x" * BIG)]),
    }
    for name, call in calls.items():
        yield Case(
            f"limit: {name} of too much",
            name.split()[0],
            "",
            usage,
            call=call,
            is_lost_naively=name != "check",
        )


def _conflicts() -> Iterator[Case]:
    wrong = "0" * 64
    edit = FileEdit(path="file", after=HOSTILE, before_sha256=wrong)
    calls: dict[str, Callable[[AnyFiles], object]] = {
        "write over a file": lambda files: files.write("file", HOSTILE),
        "write over another": lambda files: files.write("file", HOSTILE, expect=wrong),
        "write over another though told to": lambda files: files.write(
            "file", HOSTILE, overwrite=True, expect=wrong
        ),
        "write over what is gone": lambda files: files.write("nothing", HOSTILE, expect=wrong),
        "append to another": lambda files: files.append("file", HOSTILE, expect=wrong),
        "append to what is gone": lambda files: files.append("nothing", HOSTILE, expect=wrong),
        "delete another": lambda files: files.delete("file", expect=wrong),
        "copy over a file": lambda files: files.copy("file", "dir/file"),
        "copy another": lambda files: files.copy("file", "new", expect=wrong),
        "move over a file": lambda files: files.move("file", "dir/file"),
        "move another": lambda files: files.move("file", "new", expect=wrong),
        "mkdir over a folder": lambda files: files.mkdir("dir"),
        "apply to another": lambda files: files.apply([edit]),
        "apply one of two": lambda files: files.apply([FileEdit(path="new", after=b"x"), edit]),
        "apply over a file": lambda files: files.apply([FileEdit(path="file", after=HOSTILE)]),
        "check another": lambda files: files.check([edit]),
    }
    for name, call in calls.items():
        yield Case(f"conflict: {name}", name.split()[0], "", frozenset({"conflict"}), call=call)
    for name, again in {
        "two edits of one file": lambda files: files.apply(
            [FileEdit(path="new", after=b"1"), FileEdit(path="dir/../new", after=b"2")]
        ),
        "a move onto itself": lambda files: files.move("file", "./dir/../file", overwrite=True),
        "no range of lines": lambda files: files.read_lines("file", 3, 2),
    }.items():
        yield Case(f"usage: {name}", name, "", frozenset({"usage"}), call=again)


LEGAL = (
    "a$b.ex",
    "R&D.md",
    "v1..v2.diff",
    " ",
    "%2e%2e",
    "..%2foutside",
    "a\\..\\b",
    "-rf",
    "...",
    "d\u00e4.md",
    "\U0001f469.md",
    "\udcff.bin",
    "gitignore",
    ".gitignore",
    ".env.example",
    "CON",
    "file\nname",
    "~",
)


def _legal() -> Iterator[Case]:
    """Names that must work, so that not everything is refused."""
    for path in LEGAL:
        for verb in ("write", "append", "copy_to", "move_to", "apply"):
            yield Case(
                f"legal: {path!r}: {verb}",
                verb,
                path,
                frozenset({"done"}),
                then=lambda yard, path=path: (
                    (yard.root / path).read_bytes()  # type: ignore[misc]
                    in {HOSTILE, b"inside"}
                ),
            )
        yield Case(
            f"legal: {path!r}: mkdir",
            "mkdir",
            path,
            frozenset({"done"}),
            then=lambda yard, path=path: (yard.root / path).is_dir(),  # type: ignore[misc]
        )
    within = (("link", "dir/sub"),)
    for verb in VERBS:
        file = "link/deep" if verb in {"list", "mkdir"} else "link/file"
        done = frozenset({"conflict"} if verb in {"apply", "check"} else {"done"})
        yield Case(f"legal: through a link inside: {verb}", verb, file, done, within)
        yield Case(
            f"legal: absolute: {verb}",
            verb,
            "{root}/dir/" + file[5:] if file == "link/file" else "{root}/dir/sub/deep",
            done,
        )


def _all() -> Iterator[Case]:
    yield from _traversals()
    yield from _links()
    yield from _protected()
    yield from _special()
    yield from _hard_links()
    yield from _limits()
    yield from _conflicts()
    yield from _legal()


CASES = tuple(_all())
