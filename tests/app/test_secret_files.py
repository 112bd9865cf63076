"""Mounted secrets, and the sealed file: only its passphrase opens it, and no change goes unseen."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from aiex.app.secret_files import SealedFile, read_given
from aiex.core import ConfigurationError

KEYS = {"openai": "sk-first-key", "anthropic": "sk-other-key"}


@pytest.fixture
def sealed(tmp_path: Path) -> SealedFile:
    file = SealedFile(tmp_path / "aiex/keys.sealed")
    file.write(KEYS, "open sesame")
    return file


def test_what_was_sealed_is_opened_by_its_passphrase_alone(sealed: SealedFile) -> None:
    assert sealed.keys("open sesame") == KEYS
    with pytest.raises(ConfigurationError, match="does not open"):
        sealed.keys("open barley")


def test_the_file_is_private_and_shows_whose_keys_it_has_and_no_key(sealed: SealedFile) -> None:
    raw = sealed.path.read_bytes()

    assert sealed.providers() == ("anthropic", "openai")
    assert not any(key.encode() in raw for key in KEYS.values())
    assert stat.S_IMODE(sealed.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(sealed.path.parent.stat().st_mode) == 0o700


def test_writing_it_twice_uses_no_number_twice(sealed: SealedFile) -> None:
    first = json.loads(sealed.path.read_bytes())
    sealed.write(KEYS, "open sesame")
    second = json.loads(sealed.path.read_bytes())

    assert not any(first[name] == second[name] for name in ("salt", "nonce", "sealed"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("providers", ["openai"]),
        ("n", 1 << 14),
        ("p", 2),
        ("sealed", "AAAA"),
    ],
)
def test_a_change_to_any_part_is_seen(sealed: SealedFile, name: str, value: object) -> None:
    tree = json.loads(sealed.path.read_bytes())
    sealed.path.write_text(json.dumps({**tree, name: value}))

    with pytest.raises(ConfigurationError, match="does not open"):
        sealed.keys("open sesame")


@pytest.mark.parametrize("change", [{"n": 1 << 30}, {"p": 0}, {"v": 2}, {"more": 1}, {"n": 3}])
def test_what_is_no_file_of_ours_costs_nothing(sealed: SealedFile, change: dict[str, int]) -> None:
    tree = json.loads(sealed.path.read_bytes())
    sealed.path.write_text(json.dumps({**tree, **change}))

    with pytest.raises(ConfigurationError):
        sealed.keys("open sesame")


def test_a_file_that_others_can_read_is_refused(sealed: SealedFile) -> None:
    sealed.path.chmod(0o640)

    with pytest.raises(ConfigurationError) as raised:
        sealed.providers()

    assert raised.value.hint == f"chmod 600 {sealed.path}"


def test_a_link_is_refused(sealed: SealedFile, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(sealed.path)

    with pytest.raises(ConfigurationError, match="cannot be read"):
        SealedFile(link).providers()


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no regular file"):
        SealedFile(tmp_path).providers()


def test_without_keys_there_is_no_file(sealed: SealedFile) -> None:
    sealed.write({}, "open sesame")

    assert not sealed.path.exists()
    assert sealed.providers() == ()
    assert sealed.keys("open sesame") == {}


# Mounts a folder with a secret as a container has it, in namespaces of this process's own, and
# reads it; the second word says what becomes of the mount.
MOUNTED = """
import os, sys
from pathlib import Path
from aiex.app.secret_files import read_given
from aiex.core import ConfigurationError
from aiex.sandbox import kernel
folder, kind, mode = sys.argv[1].encode(), sys.argv[2], int(sys.argv[3], 8)
user, group = os.getuid(), os.getgid()
try:
    kernel.unshare(0x10000000 | 0x20000)
    maps = {"setgroups": "deny", "uid_map": f"0 {user} 1", "gid_map": f"0 {group} 1"}
    for name, text in maps.items():
        Path("/proc/self", name).write_text(text)
    kernel.mount(b"none", b"/", None, 0x4000 | 0x40000)
    kernel.mount(b"tmpfs", folder, b"tmpfs", 0)
    secret = Path(os.fsdecode(folder), "secret")
    secret.write_text("sk-mounted\\n")
    secret.chmod(mode)
    if kind == "mount":
        kernel.set_mount(folder, 1)
    elif kind == "file system":
        kernel.mount(b"none", folder, None, 0x20 | 1)
except OSError as error:
    sys.exit(f"no mounts: {error}")
try:
    print("read", read_given(secret, "it", {}))
except ConfigurationError as error:
    print("refused", error)
"""


@pytest.mark.parametrize("mode", ["0644", "0444"])
@pytest.mark.parametrize("kind", ["mount", "file system", "writable"])
def test_a_secret_that_all_can_read_counts_only_where_nobody_could_have_written_it(
    tmp_path: Path, kind: str, mode: str
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", MOUNTED, tmp_path, kind, mode],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.stderr.startswith("no mounts"):
        pytest.skip(ran.stderr)

    if kind == "writable":
        assert ran.stdout.startswith("refused it can be read by every user"), ran.stderr
    else:
        assert ran.stdout == "read sk-mounted\n", ran.stderr


def test_in_the_credentials_folder_it_counts_too(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sk-handed-over")
    secret.chmod(0o644)

    assert read_given(secret, "it", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "sk-handed-over"
    for elsewhere in ({}, {"CREDENTIALS_DIRECTORY": str(tmp_path.parent)}):
        with pytest.raises(ConfigurationError, match="every user"):
            read_given(secret, "it", elsewhere)
