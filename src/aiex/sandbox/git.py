"""Reading a repository that nobody vouches for: history and trees, nothing that it could run.

Only commands that start no filter, text conversion, diff program, hook, pager or monitor are
used (measured: ls-files, ls-tree, log --numstat, cat-file, rev-parse, merge-base,
for-each-ref); what a configuration could still switch on is switched off by the environment,
above all every protocol:
a repository that says that it is a partial clone has git fetch what is missing, by a program that
it names itself. The working tree is never compared by git: its blobs are computed here. History
is read with no working tree at all, since git looks there for attributes and mail addresses, and
waits for ever if they are pipes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from aiex.core import NotFoundError, UsageError
from aiex.sandbox.isolate import Command, CommandResult, run_command
from aiex.sandbox.paths import printable

__all__ = ["Churn", "Git", "Repository"]

_OVERRIDES = {
    "core.alternateRefsCommand": "true",
    "core.askPass": "true",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.pager": "cat",
    "core.sshCommand": "false",
    "core.untrackedCache": "false",
    "credential.helper": "",
    "diff.external": "",
    "diff.ignoreSubmodules": "all",
    "diff.orderFile": "/dev/null",
    "diff.submodule": "short",
    "gpg.program": "false",
    "gpg.ssh.program": "false",
    "gpg.x509.program": "false",
    "i18n.logOutputEncoding": "UTF-8",
    "log.follow": "false",
    "log.mailmap": "false",
    "log.showRoot": "true",
    "log.showSignature": "false",
    "mailmap.file": "/dev/null",
    "protocol.allow": "never",
    "safe.bareRepository": "explicit",
    "safe.directory": "*",
    "submodule.recurse": "false",
    "uploadpack.packObjectsHook": "",
}
_ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",  # unlike protocol.allow, no protocol.<name>.allow overrides it
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_COUNT": str(len(_OVERRIDES)),
    **{f"GIT_CONFIG_KEY_{number}": key for number, key in enumerate(_OVERRIDES)},
    **{f"GIT_CONFIG_VALUE_{number}": value for number, value in enumerate(_OVERRIDES.values())},
}
_LOG_MARK = "\x01"
_QUICK = 10.0  # seconds for what reads no history
_MOST_LOG = 128 << 20
_LATEST = 253402300799  # the last second of the year 9999, where Python's dates end


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """A repository, as seen from a root.

    Attributes:
        head: Commit that is checked out; `None` before the first.
        prefix: The root's place in the repository, empty or ending in `/`.
        is_shallow: Whether older history is missing.
        object_format: Hash that names objects: `sha1` or `sha256`.
        version: Version of git.
    """

    head: str | None
    prefix: str
    is_shallow: bool
    object_format: str
    version: str


class Churn(msgspec.Struct, frozen=True, kw_only=True):
    """How much a file changed.

    Attributes:
        commits: Commits that changed it.
        added: Lines that they added.
        deleted: Lines that they removed.
        authors: Different authors.
        last: Time of the newest of them, aware UTC.
    """

    commits: int
    added: int
    deleted: int
    authors: int
    last: datetime


class Git:
    """The history of one root.

    Paths are relative to the root, which may be a folder inside the repository.

    Args:
        root: The root.
        timeout: Seconds that one command may take.
    """

    def __init__(self, root: Path, *, timeout: float = 60.0) -> None:
        self._root = root
        self._timeout = timeout

    async def repository(self) -> Repository | None:
        """Return the repository that the root is in; `None` if it is in none.

        Raises:
            NotFoundError: git is not installed.
        """
        version = (await self._git("version")).stdout.decode().split()[2]
        asked = await self._git(
            "rev-parse",
            "--is-inside-work-tree",
            "--is-shallow-repository",
            "--show-object-format",
            "--show-prefix",
        )
        lines = asked.stdout.decode("utf-8", "surrogateescape").split("\n")
        if asked.exit or lines[0] != "true" or len(lines) < 5:
            return None
        head = await self._git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        return Repository(
            head=head.stdout.decode().strip() or None,
            prefix="\n".join(lines[3:-1]),
            is_shallow=lines[1] == "true",
            object_format=lines[2],
            version=version,
        )

    async def resolve(self, revision: str) -> str:
        """Return the commit that *revision* names.

        Raises:
            NotFoundError: There is none.
        """
        if revision.startswith("-") or "\0" in revision:
            raise UsageError(f"{printable(revision)} is no revision")
        found = await self._git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        )
        if found.exit:
            raise NotFoundError(
                f"the repository has no revision {printable(revision)}",
                hint="name a commit, a branch or a tag",
            )
        return found.stdout.decode().strip()

    async def branches(self, names: Sequence[str]) -> dict[str, str]:
        """Return the commits of those of *names* (`main`, `origin/main`) that are branches."""
        refs = {f"refs/{kind}/{name}": name for name in names for kind in ("heads", "remotes")}
        listed = await self._git(
            "for-each-ref", "--format=%(refname) %(objectname)", "--", *refs, check=True
        )
        found = [line.split(" ") for line in listed.stdout.decode().splitlines()]
        return {refs[ref]: commit for ref, commit in found if ref in refs}

    async def merge_base(self, revision: str) -> str:
        """Return the newest commit that *revision* and HEAD share; *revision* if they share none.

        Raises:
            NotFoundError: There is no such revision.
        """
        commit = await self.resolve(revision)
        found = await self._git("merge-base", commit, "HEAD")
        return commit if found.exit else found.stdout.decode().strip()

    async def tracked(self) -> dict[str, str]:
        """Return the blob of each regular file in the index, by path."""
        listed = await self._git("ls-files", "-s", "-z", check=True)
        blobs: dict[str, str] = {}
        for line in _split(listed.stdout):
            head, _, path = line.partition("\t")
            mode, blob, stage = head.split(" ")
            if mode.startswith("100") and stage == "0":
                blobs[path] = blob
        return blobs

    async def tree(self, commit: str) -> dict[str, str]:
        """Return the blob of each regular file of *commit* below the root, by path."""
        listed = await self._git("ls-tree", "-r", "-z", "--end-of-options", commit, check=True)
        blobs: dict[str, str] = {}
        for line in _split(listed.stdout):
            head, _, path = line.partition("\t")
            mode, kind, blob = head.split(" ")
            if kind == "blob" and mode.startswith("100"):
                blobs[path] = blob
        return blobs

    async def blobs(self, ids: Mapping[str, str]) -> dict[str, bytes]:
        """Return the content of each blob, by the path that *ids* gives it."""
        wanted = "".join(f"{blob}\n" for blob in ids.values()).encode()
        if not wanted:
            return {}
        batch = await self._git("cat-file", "--batch", stdin=wanted, check=True)
        contents: dict[str, bytes] = {}
        data, at = batch.stdout, 0
        for path in ids:
            end = data.index(b"\n", at)
            header = data[at:end].split()
            if header[-1] == b"missing":
                at = end + 1
                continue
            size = int(header[2])
            contents[path] = data[end + 1 : end + 1 + size]
            at = end + 1 + size + 1
        return contents

    async def churn(self, since: str | None = None) -> dict[str, Churn]:
        """Return how much each file changed, by its path of today; renames are followed.

        Args:
            since: Oldest commit that counts, as git reads dates; `None` for all of them.
        """
        found = await self.repository()
        folder = await self._git("rev-parse", "--absolute-git-dir")
        if found is None or folder.exit:
            return {}
        log = await self._git(
            "log",
            "--no-ext-diff",
            "--no-textconv",
            "--no-show-signature",
            "--no-mailmap",
            f"--format={_LOG_MARK}%ct %ae",
            "--numstat",
            "-z",
            "--find-renames",
            "--no-merges",
            *([f"--relative={found.prefix}"] if found.prefix else []),
            *([f"--since={since}"] if since else []),
            "HEAD",
            "--",
            *([found.prefix] if found.prefix else []),
            without_tree=folder.stdout[:-1].decode("utf-8", "surrogateescape"),
        )
        if log.exit and not log.truncated:
            return {}
        # What was cut off the end is the oldest history; the last entry may be cut itself.
        whole = log.stdout[: log.stdout.rfind(b"\0") + 1] if log.truncated else log.stdout
        return _churn(whole)

    @staticmethod
    def blob_id(content: bytes, object_format: str = "sha1") -> str:
        """Return the name that git gives to *content*.

        Args:
            content: Bytes of the file, as they are stored.
            object_format: `sha1` or `sha256`.
        """
        digest = hashlib.new(object_format, usedforsecurity=False)
        digest.update(b"blob %d\0" % len(content))
        digest.update(content)
        return digest.hexdigest()

    async def _git(
        self,
        *arguments: str,
        stdin: bytes = b"",
        check: bool = False,
        without_tree: str | None = None,
    ) -> CommandResult:
        """Run git; *without_tree* is the repository to read with no working tree at all."""
        environment, cwd = _ENVIRONMENT, self._root
        if without_tree is not None:
            nowhere = {"GIT_DIR": without_tree, "GIT_WORK_TREE": "/nonexistent"}
            environment, cwd = {**_ENVIRONMENT, **nowhere}, Path("/")
        is_history = arguments[0] in {"log", "cat-file"}
        timeout = self._timeout if is_history else min(_QUICK, self._timeout)
        result = await run_command(
            Command(
                argv=("git", "--no-pager", *arguments),
                cwd=cwd,
                project=self._root,
                stdin=stdin,
                environment=environment,
                timeout=timeout,
                max_output_bytes=_MOST_LOG if arguments[0] == "log" else 512 << 20,
            )
        )
        if result.timed_out:
            raise NotFoundError(f"git {arguments[0]} took longer than {timeout:g} s")
        if check and (result.exit or result.truncated):
            said = result.stderr.decode("utf-8", "replace").strip()
            raise NotFoundError(f"git {arguments[0]} failed: {printable(said)}")
        return result


def _split(raw: bytes) -> list[str]:
    text = raw.decode("utf-8", "surrogateescape")
    return text.split("\0")[:-1] if text else []


class _Count:
    def __init__(self) -> None:
        self.commits = self.added = self.deleted = self.last = 0
        self.authors: set[str] = set()


def _churn(raw: bytes) -> dict[str, Churn]:
    r"""Read `log --numstat -z`: `\x01time author\0\nadded\tdeleted\tpath\0...`, newest first."""
    counts: dict[str, _Count] = {}
    today: dict[str, str] = {}
    at, author = 0, ""
    fields = iter(_split(raw))
    for field in fields:
        field = field.lstrip("\n")  # noqa: PLW2901 - a separator of git's, no part of the value
        if field.startswith(_LOG_MARK):
            stamp, _, author = field[1:].partition(" ")
            at = min(max(int(stamp or 0), 0), _LATEST)
            continue
        if field.count("\t") < 2:
            continue
        added, deleted, path = field.split("\t", 2)
        if not path:
            old, path = next(fields, ""), next(fields, "")
            today[old] = today.get(path, path)
        count = counts.setdefault(today.get(path, path), _Count())
        count.commits += 1
        count.added += int(added) if added.isdigit() else 0
        count.deleted += int(deleted) if deleted.isdigit() else 0
        count.authors.add(author)
        count.last = max(count.last, at)
    return {
        path: Churn(
            commits=count.commits,
            added=count.added,
            deleted=count.deleted,
            authors=len(count.authors),
            last=datetime.fromtimestamp(count.last, UTC),
        )
        for path, count in counts.items()
    }
