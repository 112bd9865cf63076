"""The sealed file: only the passphrase opens it, and no change to it goes unseen."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from aiex.app.secret_files import SealedFile
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
