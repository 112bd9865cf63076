"""Keys are looked for in their order, and what is told to have one and has not is an error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.errors
import pytest

from aiex.app.keys import KeySource
from aiex.app.secret_files import SealedFile
from aiex.core import ConfigurationError


class Backend(keyring.backend.KeyringBackend):
    """A keyring in memory that counts how often it is opened."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys = {("aiex", "openai"): "sk-kept"}
        self.opened = 0
        self.is_locked = False

    def get_password(self, service: str, username: str) -> str | None:
        self.opened += 1
        if self.is_locked:
            raise keyring.errors.KeyringLocked("it stays locked")
        return self.keys.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        raise AssertionError("nobody may write")

    def delete_password(self, service: str, username: str) -> None:
        raise AssertionError("nobody may delete")


@pytest.fixture
def ring() -> Iterator[Backend]:
    before, backend = keyring.get_keyring(), Backend()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


def _looked(keys: KeySource) -> KeySource:
    keys.look()
    return keys


def _told(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def _sealed(tmp_path: Path, **keys: str) -> SealedFile:
    sealed = SealedFile(tmp_path / "keys.sealed")
    sealed.write(keys, "open sesame")
    return sealed


ENV = {"OPENAI_API_KEY": " sk-set\n", "AIEX_PASSPHRASE": "open sesame"}


def test_keys_are_looked_for_in_their_order(ring: Backend, tmp_path: Path) -> None:
    ring.keys["aiex", "openai"] = "sk-ring"
    sealed = _sealed(tmp_path, openai="sk-sealed")
    mounted = _told(tmp_path / "mounted", "sk-mounted\n")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    _told(credentials / "aiex.openai_api_key", "sk-credential\n", 0o444)
    with_file = {**ENV, "OPENAI_API_KEY_FILE": str(mounted)}
    with_all = {**with_file, "CREDENTIALS_DIRECTORY": str(credentials)}

    sources = [
        KeySource(with_all, ("openai",), sealed=sealed),
        KeySource(with_file, ("openai",), sealed=sealed),
        KeySource(ENV, ("openai",), sealed=sealed),
        KeySource(ENV, (), sealed=sealed),
        KeySource(ENV, ()),
    ]

    found = [_looked(keys).reader("openai")() for keys in sources]
    assert found == ["sk-credential", "sk-mounted", "sk-ring", "sk-sealed", "sk-set"]
    assert [keys.place("openai") for keys in sources] == [
        "given",
        "given",
        "keyring",
        "sealed",
        "environment",
    ]
    assert ring.opened == 1


def test_a_key_of_the_environment_alone_leaves_the_keyring_closed(ring: Backend) -> None:
    keys = _looked(KeySource(ENV, in_keyring=()))
    assert keys.missing("openai") is None
    assert keys.unlocker("openai") is None
    assert keys.reader("openai")() == "sk-set"
    assert ring.opened == 0


def test_a_key_in_the_keyring_is_read_once(ring: Backend) -> None:
    keys = _looked(KeySource({}, in_keyring=("openai",)))
    assert keys.missing("openai") is None
    unlock = keys.unlocker("openai")
    assert unlock is not None
    assert ring.opened == 0
    unlock()
    assert keys.reader("openai")() == keys.reader("openai")() == "sk-kept"
    assert ring.opened == 1


def test_a_key_that_nobody_told_of_is_found_when_its_provider_is_named(ring: Backend) -> None:
    keys = _looked(KeySource({}, in_keyring=()))
    assert keys.missing("openai") == "OPENAI_API_KEY is not set"
    assert ring.opened == 0
    assert keys.is_in_keyring("openai")
    assert not keys.is_in_keyring("anthropic")


@pytest.mark.parametrize("trouble", ["locked", "empty", "none", "plain text"])
def test_a_keyring_that_was_named_and_gives_nothing_is_an_error(
    ring: Backend, trouble: str
) -> None:
    if trouble == "locked":
        ring.is_locked = True
    elif trouble == "empty":
        ring.keys.clear()
    elif trouble == "none":
        keyring.set_keyring(keyring.backends.fail.Keyring())  # type: ignore[no-untyped-call]
    else:
        keyring.set_keyring(PlaintextBackend())
    keys = _looked(KeySource(ENV, in_keyring=("openai",)))

    with pytest.raises(ConfigurationError) as raised:
        keys.reader("openai")()

    assert raised.value.hint is not None
    assert "aiex config key set openai" in raised.value.hint


class PlaintextBackend(Backend):
    """One that keeps keys where everybody can read them."""


def test_a_keyring_that_cannot_be_opened_has_no_key_that_nobody_told_of(ring: Backend) -> None:
    ring.is_locked = True
    keys = _looked(KeySource({}, in_keyring=()))
    assert not keys.is_in_keyring("openai")
    assert keys.reader("openai")() is None


@pytest.mark.parametrize("trouble", ["absent", "empty", "a folder", "a pipe", "open to all"])
def test_a_mounted_file_that_cannot_be_trusted_is_an_error(tmp_path: Path, trouble: str) -> None:
    path = tmp_path / "key"
    if trouble == "a folder":
        path.mkdir()
    elif trouble == "a pipe":
        os.mkfifo(path, 0o600)
    elif trouble != "absent":
        _told(
            path, "" if trouble == "empty" else "sk-x", 0o644 if trouble == "open to all" else 0o600
        )
    keys = _looked(KeySource({**ENV, "OPENAI_API_KEY_FILE": str(path)}, ()))

    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY_FILE"):
        keys.reader("openai")()


def test_a_mounted_file_may_be_a_link_as_kubernetes_makes_them(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    _told(tmp_path / "..data/key", "sk-linked\n", 0o400)
    (tmp_path / "key").symlink_to("..data/key")
    keys = _looked(KeySource({"OPENAI_API_KEY_FILE": str(tmp_path / "key")}, ()))

    assert keys.reader("openai")() == "sk-linked"


def test_every_key_that_is_found_is_told_to_who_masks_it(ring: Backend, tmp_path: Path) -> None:
    held: list[str] = []
    sealed = _sealed(tmp_path, anthropic="sk-sealed")
    keys = KeySource(ENV, ("openai",), sealed=sealed, hold=held.append)
    keys.look()

    keys.reader("openai")()
    keys.reader("anthropic")()

    assert held == ["sk-kept", "open sesame", "sk-sealed"]


def test_the_passphrase_is_asked_for_where_it_is_not_told(tmp_path: Path) -> None:
    sealed = _sealed(tmp_path, openai="sk-sealed")
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "open sesame"

    assert _looked(KeySource({}, (), sealed=sealed, ask=ask)).reader("openai")() == "sk-sealed"
    assert asked == [f"Passphrase of {sealed.path}: "]
    with pytest.raises(ConfigurationError, match="is not known"):
        _looked(KeySource({}, (), sealed=sealed)).reader("openai")()
