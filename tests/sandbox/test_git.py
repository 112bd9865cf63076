"""Whatever a repository's configuration says, our reading of its history runs nothing of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from aiex.core import NotFoundError, UsageError
from aiex.sandbox import Churn, Git, git

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]

IDENTITY = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


def run(folder: Path, *arguments: str, env: dict[str, str] | None = None, ok: bool = True) -> str:
    """Run the user's git, as users do: with everything that is configured."""
    ran = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**os.environ, **IDENTITY, **(env or {})},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
        check=False,
        text=True,
    )
    assert not ok or ran.returncode == 0, ran.stderr
    return ran.stdout


def commit(folder: Path, message: str = "message", **env: str) -> str:
    run(folder, "add", "-A")
    run(folder, "commit", "-q", "--allow-empty", "--no-verify", "-m", message, env=env)
    return run(folder, "rev-parse", "HEAD").strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    run(folder, "init", "-q", "-b", "main")
    (folder / "a.py").write_text("one\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.txt").write_text("b\n")
    commit(folder, "first")
    (folder / "a.py").write_text("one\ntwo\n")
    commit(folder, "second")
    return folder


async def everything(folder: Path, base: str = "HEAD~1") -> dict[str, object]:
    """Call all that Git offers, as the verbs do."""
    reader = Git(folder, timeout=20.0)
    found = await reader.repository()
    assert found is not None
    commit = await reader.resolve(base)
    tree = await reader.tree(commit)
    return {
        "repository": found,
        "merge_base": await reader.merge_base("HEAD"),
        "tracked": await reader.tracked(),
        "tree": tree,
        "blobs": await reader.blobs(tree),
        "churn": await reader.churn(),
    }


async def test_history_trees_and_blobs_are_read(repository: Path) -> None:
    seen = await everything(repository)

    assert seen["tree"] == {
        "a.py": Git.blob_id(b"one\n"),
        "sub/b.txt": Git.blob_id(b"b\n"),
    }
    assert seen["blobs"] == {"a.py": b"one\n", "sub/b.txt": b"b\n"}
    assert seen["tracked"] == {"a.py": Git.blob_id(b"one\ntwo\n"), "sub/b.txt": Git.blob_id(b"b\n")}
    churn = seen["churn"]
    assert isinstance(churn, dict)
    assert {path: (c.commits, c.added, c.deleted, c.authors) for path, c in churn.items()} == {
        "a.py": (2, 2, 0, 1),
        "sub/b.txt": (1, 1, 0, 1),
    }


async def test_paths_are_relative_to_a_folder_inside_a_repository(repository: Path) -> None:
    seen = await everything(repository / "sub")

    assert list(seen["tree"]) == list(seen["churn"]) == ["b.txt"]  # type: ignore[call-overload]
    assert seen["repository"].prefix == "sub/"  # type: ignore[attr-defined]


async def test_a_renamed_file_keeps_its_history(repository: Path) -> None:
    run(repository, "mv", "a.py", "odd name\tä.py")
    commit(repository)
    (repository / "odd name\tä.py").write_text("one\ntwo\nthree\n")
    commit(repository)

    churn = await Git(repository).churn()

    assert churn["odd name\tä.py"].commits == 4
    assert "a.py" not in churn


def times_below(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def hostile(repository: Path, mark: Path) -> Path:
    """Return a script that leaves a mark in every way that git may call it."""
    script = repository / "evil.sh"
    script.write_text(f'#!/bin/sh\necho "$0 $*" >> "{mark}"\nexit 0\n')
    script.chmod(0o755)
    return script


def configure(repository: Path, settings: dict[str, str]) -> None:
    for key, value in settings.items():
        run(repository, "config", "--local", key, value)


def everything_hostile(evil: Path) -> dict[str, str]:
    return {
        "core.fsmonitor": str(evil),
        "core.pager": f"{evil} pager",
        "core.editor": str(evil),
        "core.sshCommand": str(evil),
        "core.gitProxy": str(evil),
        "core.askPass": str(evil),
        "core.alternateRefsCommand": str(evil),
        "core.hooksPath": str(evil.parent / "hooks"),
        "core.untrackedCache": "true",
        "core.attributesFile": str(evil.parent / "attributes"),
        "credential.helper": f"!{evil}",
        "diff.external": str(evil),
        "diff.evil.command": str(evil),
        "diff.evil.textconv": str(evil),
        "diff.evil.cachetextconv": "true",
        "diff.submodule": "diff",
        "filter.evil.clean": str(evil),
        "filter.evil.smudge": str(evil),
        "filter.evil.process": str(evil),
        "filter.evil.required": "true",
        "merge.evil.driver": str(evil),
        "gpg.program": str(evil),
        "gpg.ssh.program": str(evil),
        "gpg.format": "ssh",
        "log.showSignature": "true",
        "log.follow": "true",
        "log.diffMerges": "on",
        "log.mailmap": "true",
        "interactive.diffFilter": str(evil),
        "pager.log": f"{evil} pager.log",
        "pager.cat-file": str(evil),
        "sequence.editor": str(evil),
        "submodule.recurse": "true",
        "uploadpack.packObjectsHook": str(evil),
        "web.browser": "evil",
        "browser.evil.cmd": str(evil),
        "protocol.allow": "always",
        "protocol.ext.allow": "always",
        "protocol.file.allow": "always",
        **{
            f"alias.{name}": f"!{evil}"
            for name in (
                "log",
                "ls-files",
                "ls-tree",
                "cat-file",
                "rev-parse",
                "merge-base",
                "version",
            )
        },
    }


def lay_traps(repository: Path, mark: Path) -> Path:
    evil = hostile(repository, mark)
    (repository / "hooks").mkdir()
    for folder in (repository / "hooks", repository / ".git" / "hooks"):
        for hook in (
            "post-index-change",
            "reference-transaction",
            "fsmonitor-watchman",
            "post-checkout",
        ):
            shutil.copy(evil, folder / hook)
    attributes = "* diff=evil filter=evil merge=evil\n"
    (repository / ".gitattributes").write_text(attributes)
    (repository / "attributes").write_text(attributes)
    commit(repository, "attributes")
    (repository / "a.py").write_text("one\ntwo\nthree\n")
    commit(repository, "third")
    (repository / "a.py").write_text("not committed\n")
    (repository / ".git" / "info" / "attributes").write_text(attributes)
    configure(repository, everything_hostile(evil))
    (repository / ".git" / "included").write_text(
        f"[core]\n\tfsmonitor = {evil}\n\tpager = {evil}\n"
    )
    configure(repository, {"include.path": "included", "extensions.worktreeConfig": "true"})
    (repository / ".git" / "config.worktree").write_text(f"[core]\n\tfsmonitor = {evil}\n")
    mark.unlink(missing_ok=True)  # the hooks ran while this was laid
    return evil


async def test_nothing_that_a_configuration_names_is_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    evil = lay_traps(repository, mark)
    # What a careless shell around us could have set is not passed on either.
    for name in ("GIT_EXTERNAL_DIFF", "GIT_SSH_COMMAND", "GIT_PAGER", "GIT_EDITOR", "GIT_ASKPASS"):
        monkeypatch.setenv(name, str(evil))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    before = times_below(repository)

    seen = await everything(repository)

    assert not mark.exists(), mark.read_text()
    assert seen["churn"]["a.py"].commits == 3  # type: ignore[index]
    assert times_below(repository) == before


@pytest.mark.parametrize("command", [("status",), ("diff",), ("log", "-p", "-1")])
async def test_the_same_repository_runs_its_traps_for_a_user(
    repository: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """What shows that the traps above are set."""
    mark = tmp_path / "mark"
    lay_traps(repository, mark)

    run(repository, *command, ok=False)

    assert mark.exists()


@pytest.mark.parametrize("transport", ["ext", "file", "ssh", "own"])
async def test_a_partial_clone_fetches_nothing_by_a_program_that_it_names(
    repository: Path, tmp_path: Path, transport: str
) -> None:
    mark = tmp_path / "mark"
    evil = hostile(repository, mark)
    (repository / "more.py").write_text("more\n" * 5)
    commit(repository, "third")
    for name in ("more.py", "sub/b.txt"):
        blob = run(repository, "rev-parse", f"HEAD:{name}").strip()
        (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    urls = {
        "ext": f"ext::{evil} %S",
        "file": str(tmp_path / "repository"),
        "ssh": "ssh://nowhere.invalid/x",
        "own": "x",
    }
    configure(
        repository,
        {
            "core.repositoryFormatVersion": "1",
            "extensions.partialClone": "origin",
            "remote.origin.url": urls[transport],
            "remote.origin.promisor": "true",
            "remote.origin.partialCloneFilter": "blob:none",
            "remote.origin.uploadpack": str(evil),
            "core.sshCommand": str(evil),
            **{f"protocol.{name}.allow": "always" for name in ("ext", "file", "ssh", "evil")},
            **({"remote.origin.vcs": "evil"} if transport == "own" else {}),
        },
    )
    run(repository, "cat-file", "-p", "HEAD:more.py", ok=False)
    if transport != "own":
        assert mark.exists(), "the trap is not set"
    mark.unlink(missing_ok=True)

    reader = Git(repository, timeout=20.0)
    tree = await reader.tree("HEAD")
    try:
        blobs = await reader.blobs(tree)
    except NotFoundError:
        blobs = {}
    await reader.churn()
    await reader.merge_base("HEAD~1")

    assert not mark.exists(), mark.read_text()
    assert "more.py" not in blobs


@pytest.mark.parametrize(
    "pipe",
    [".mailmap", ".gitattributes", "sub/.gitattributes", ".gitmodules", ".gitignore", "order"],
)
async def test_pipes_in_the_working_tree_hold_nothing_up(repository: Path, pipe: str) -> None:
    os.mkfifo(repository / pipe)
    configure(
        repository,
        {
            "log.mailmap": "true",
            "mailmap.file": str(repository / pipe),
            "diff.orderFile": str(repository / pipe),
            "core.excludesFile": str(repository / pipe),
            "core.attributesFile": str(repository / pipe),
            "core.worktree": str(repository),
        },
    )

    with anyio.fail_after(60):
        seen = await everything(repository)

    assert seen["churn"]["a.py"].commits == 2  # type: ignore[index]


async def test_a_pipe_for_a_configuration_is_given_up_in_time(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "_QUICK", 1.0)
    (repository / ".git" / "config").unlink()
    os.mkfifo(repository / ".git" / "config")

    with pytest.raises(NotFoundError, match="took longer than 1 s"):
        await Git(repository).repository()


async def test_dates_that_nobody_has_are_the_nearest_that_exist(repository: Path) -> None:
    tree = run(repository, "write-tree").strip()
    head = run(repository, "rev-parse", "HEAD").strip()
    for at in ("99999999999999 +0000", "-5 +0000", "1 +9999"):
        text = f"tree {tree}\nparent {head}\nauthor A <a@b> {at}\ncommitter A <a@b> {at}\n\nx\n"
        (repository / "commit").write_text(text)
        head = run(repository, "hash-object", "-t", "commit", "-w", "--literally", "commit").strip()
        run(repository, "update-ref", "refs/heads/main", head)
        run(repository, "reset", "-q", "--hard")
        (repository / "a.py").write_text(f"{at}\n")
        run(repository, "add", "-A")
        tree = run(repository, "write-tree").strip()

    churn = await Git(repository).churn()

    assert datetime(1970, 1, 1, tzinfo=UTC) <= churn["a.py"].last
    assert churn["a.py"].last <= datetime.max.replace(tzinfo=UTC)


def test_records_of_history_are_read_whatever_they_hold() -> None:
    raw = (
        b"\x01253402300800 far@future\0\n1\t2\ta\0"
        b"\x01-7 before@time\0\n-\t-\tbin\0"
        b"\x01 nobody\0\n3\t0\t\0old\0new\0"
        b"\x015 x\0\n1\t1\told\0"
        b"\x0152"
    )

    counts = git._churn(raw)

    assert counts["a"].last == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert counts["bin"] == Churn(
        commits=1, added=0, deleted=0, authors=1, last=datetime(1970, 1, 1, tzinfo=UTC)
    )
    assert counts["new"].commits == 2
    assert git._churn(b"\x015 x\0\n1\t1\t\0cut") is not None


async def test_no_commits_no_repository_and_a_bare_one(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert await Git(empty).repository() is None

    run(empty, "init", "-q")
    (empty / "file").write_text("x")
    run(empty, "add", "file")
    found = await Git(empty).repository()
    assert found is not None
    assert found.head is None
    assert await Git(empty).tracked() == {"file": Git.blob_id(b"x")}
    assert await Git(empty).churn() == {}
    with pytest.raises(NotFoundError, match="no revision"):
        await Git(empty).resolve("HEAD")

    bare = tmp_path / "bare"
    run(tmp_path, "init", "-q", "--bare", "bare")
    assert await Git(bare).repository() is None


def detach(repository: Path) -> Path:
    run(repository, "checkout", "-q", "--detach", "HEAD~1")
    return repository


def worktree(repository: Path) -> Path:
    run(repository, "worktree", "add", "-q", "../tree", "HEAD")
    assert (repository.parent / "tree" / ".git").is_file()
    return repository.parent / "tree"


def shallow(repository: Path) -> Path:
    run(repository.parent, "clone", "-q", "--depth=1", f"file://{repository}", "shallow")
    return repository.parent / "shallow"


def submodule(repository: Path) -> Path:
    outer = repository.parent / "outer"
    run(repository.parent, "init", "-q", "outer")
    run(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repository), "in")
    commit(outer)
    commit(outer)
    return outer / "in"


def sparse(repository: Path) -> Path:
    run(repository, "sparse-checkout", "set", "sub")
    return repository


def sha256(repository: Path) -> Path:
    other = repository.parent / "sha256"
    run(repository.parent, "init", "-q", "--object-format=sha256", "sha256")
    (other / "a.py").write_text("x")
    commit(other)
    commit(other)
    return other


@pytest.mark.parametrize("make", [detach, worktree, shallow, submodule, sparse, sha256])
async def test_repositories_of_every_make_are_read(
    repository: Path, make: Callable[[Path], Path]
) -> None:
    folder = make(repository)
    base = "HEAD" if make in {shallow, detach} else "HEAD~1"

    seen = await everything(folder, base)
    found = seen["repository"]

    assert found.head == run(folder, "rev-parse", "HEAD").strip()  # type: ignore[attr-defined]
    assert found.is_shallow == (make is shallow)  # type: ignore[attr-defined]
    assert found.object_format == ("sha256" if make is sha256 else "sha1")  # type: ignore[attr-defined]
    assert "a.py" in seen["churn"]  # type: ignore[operator]
    assert "a.py" in seen["tracked"]  # type: ignore[operator]


async def test_submodules_and_links_are_no_files_of_a_tree(repository: Path) -> None:
    outer = submodule(repository).parent
    (outer / "link").symlink_to("in")
    commit(outer)

    assert set(await Git(outer).tree("HEAD")) == set(await Git(outer).tracked()) == {".gitmodules"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_a_repository_of_another_user_is_read(repository: Path) -> None:
    subprocess.run(["chown", "-R", "65534:65534", str(repository)], check=True)  # noqa: ASYNC221

    assert (await everything(repository))["churn"]


@pytest.mark.parametrize("content", ["gitdir: nowhere", "gitdir: .", "", "gitdir: /dev/zero\n"])
async def test_a_file_that_leads_to_no_repository_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / ".git").write_text(content)

    assert await Git(tmp_path).repository() is None


async def test_without_git_it_says_so(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(NotFoundError, match="git is not installed"):
        await Git(repository).repository()


async def test_a_git_of_the_tree_is_not_used(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    for name in ("git", "setpriv", "git-log", "git-remote-evil"):
        shutil.copy(hostile(repository, mark), repository / name)
    monkeypatch.chdir(repository)
    monkeypatch.setenv("PATH", f".:{repository}:{os.environ['PATH']}")

    await everything(repository)

    assert not mark.exists()


@pytest.mark.parametrize("revision", ["--output=x", "-h", "--all", "a\0b"])
async def test_a_revision_is_never_an_option(repository: Path, revision: str) -> None:
    with pytest.raises(UsageError):
        await Git(repository).resolve(revision)


@pytest.mark.parametrize("revision", ["nothing", "HEAD:a.py", "HEAD^{tree}", "", "@{-9}", ":/none"])
async def test_what_is_no_commit_is_not_found(repository: Path, revision: str) -> None:
    with pytest.raises(NotFoundError):
        await Git(repository).resolve(revision)


async def test_unrelated_histories_share_nothing(repository: Path) -> None:
    run(repository, "checkout", "-q", "--orphan", "other")
    commit(repository)
    run(repository, "checkout", "-q", "main")
    other = await Git(repository).resolve("other")

    assert await Git(repository).merge_base("other") == other


@pytest.mark.parametrize("content", [b"", b"x", b"a\r\n\x00\xff" * 1000])
def test_blobs_are_named_as_git_names_them(repository: Path, content: bytes) -> None:
    (repository / "blob").write_bytes(content)

    assert Git.blob_id(content) == run(repository, "hash-object", "blob").strip()
