"""Keys come from the environment or the keyring, and the keyring is opened as late as can be."""

from __future__ import annotations

from collections.abc import Iterator

import keyring
import keyring.backend
import keyring.errors
import pytest

from aiex.app.keys import KeySource


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


def test_a_key_of_the_environment_wins_and_leaves_the_keyring_closed(ring: Backend) -> None:
    keys = KeySource({"OPENAI_API_KEY": " sk-set\n"}, in_keyring=("openai",))
    assert keys.missing("openai") is None
    assert keys.unlocker("openai") is None
    assert keys.reader("openai")() == "sk-set"
    assert ring.opened == 0


def test_a_key_in_the_keyring_is_read_once(ring: Backend) -> None:
    keys = KeySource({}, in_keyring=("openai",))
    assert keys.missing("openai") is None
    unlock = keys.unlocker("openai")
    assert unlock is not None
    assert ring.opened == 0
    unlock()
    assert keys.reader("openai")() == keys.reader("openai")() == "sk-kept"
    assert ring.opened == 1


def test_a_key_that_nobody_told_of_is_found_when_its_provider_is_named(ring: Backend) -> None:
    keys = KeySource({}, in_keyring=())
    assert keys.missing("openai") == "OPENAI_API_KEY is not set"
    assert ring.opened == 0
    assert keys.is_in_keyring("openai")
    assert not keys.is_in_keyring("anthropic")


def test_a_keyring_that_cannot_be_opened_has_no_key(ring: Backend) -> None:
    ring.is_locked = True
    keys = KeySource({}, in_keyring=("openai",))
    assert not keys.is_in_keyring("openai")
    assert keys.reader("openai")() is None
