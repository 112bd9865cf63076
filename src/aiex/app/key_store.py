"""Putting keys of providers where they are found again: the keyring, or the sealed file."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from aiex.app.config import Loaded, set_user
from aiex.app.keys import SERVICE, Ask, KeySource, open_keyring, variables_of
from aiex.app.places import sealed_file
from aiex.core import ConfigurationError, NotFoundError, UsageError, nearest

__all__ = ["KeyState", "KeyStore"]


class KeyState(msgspec.Struct, frozen=True, kw_only=True):
    """Where the key of one provider is; never the key.

    Attributes:
        provider: Name of the provider.
        origin: Where its key comes from, in words; `None` if no place is known to have it.
        variable: Environment variable that is looked into last.
    """

    provider: str
    origin: str | None
    variable: str


class KeyStore:
    """The keys of the user. Every method blocks.

    Args:
        loaded: The settings in force.
        env: Environment variables.
        ask: Asks for the passphrase of the sealed file; `None` if there is nobody to ask.
    """

    def __init__(self, loaded: Loaded, env: Mapping[str, str], *, ask: Ask | None = None) -> None:
        self._in_keyring = loaded.settings.model.keyring
        self._env = env
        self._sealed = sealed_file(env)
        self._variables = variables_of(loaded.settings)
        self._source = KeySource(
            env, self._in_keyring, sealed=self._sealed, ask=ask, variables=self._variables
        )

    def states(self) -> list[KeyState]:
        """Return where the key of each provider is, without opening anything."""
        self._source.look()
        origins = self._source.origins()
        return [
            KeyState(provider=name, origin=origins.get(name), variable=variable)
            for name, variable in sorted(self._variables.items())
        ]

    def check(self, provider: str, *, in_file: bool) -> None:
        """Refuse what `put` would refuse, before a key is asked for.

        Raises:
            UsageError: The provider is none that has a key.
            ConfigurationError: There is no keyring, or no folder for the file.
        """
        self._check_known(provider)
        if in_file and self._sealed is None:
            raise ConfigurationError("no home folder is known", hint="set HOME")
        if not in_file:
            open_keyring(f"unlock it, or: aiex config key set {provider} --file")

    def put(self, provider: str, key: str, *, in_file: bool) -> str:
        """Keep *key* and return where, in words.

        Raises:
            UsageError: There is no such provider, or the key is none.
            ConfigurationError: It cannot be kept there, or the passphrase is wrong.
        """
        self.check(provider, in_file=in_file)
        key = key.strip()
        if not key or not key.isprintable() or " " in key:
            raise UsageError("that is no key: it is empty or more than one word")
        if not in_file:
            return self._to_keyring(provider, key)
        assert self._sealed is not None
        passphrase = self._source.passphrase(is_new=not self._sealed.providers())
        keys = self._sealed.keys(passphrase)
        self._sealed.write({**keys, provider: key}, passphrase)
        return str(self._sealed.path)

    def _to_keyring(self, provider: str, key: str) -> str:
        hint = f"unlock it, or: aiex config key set {provider} --file"
        try:
            open_keyring(hint).set_password(SERVICE, provider, key)
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"the keyring does not take the key: {type(error).__name__}", hint=hint
            ) from error
        if provider not in self._in_keyring:
            self._tell((*self._in_keyring, provider))
        return "the system's keyring"

    def remove(self, provider: str) -> list[str]:
        """Take the key of *provider* out of the keyring and the sealed file; return out of which.

        Raises:
            UsageError: There is no such provider.
            NotFoundError: Neither has a key of it.
            ConfigurationError: It cannot be removed.
        """
        self._check_known(provider)
        gone = []
        if self._sealed is not None and provider in self._sealed.providers():
            passphrase = self._source.passphrase()
            keys = self._sealed.keys(passphrase)
            keys.pop(provider, None)
            self._sealed.write(keys, passphrase)
            gone.append(str(self._sealed.path))
        if provider in self._in_keyring:
            self._from_keyring(provider)
            gone.append("the system's keyring")
        if not gone:
            raise NotFoundError(
                f"neither the keyring nor the encrypted file has a key of {provider}",
                hint="aiex config key list tells where keys are",
            )
        return gone

    def _from_keyring(self, provider: str) -> None:
        hint = f"unlock it, or take {provider} out of model.keyring"
        backend = open_keyring(hint)
        try:
            if backend.get_password(SERVICE, provider) is not None:
                backend.delete_password(SERVICE, provider)
        except Exception as error:
            raise ConfigurationError(
                f"the keyring does not give the key up: {type(error).__name__}", hint=hint
            ) from error
        self._tell(tuple(name for name in self._in_keyring if name != provider))

    def _tell(self, in_keyring: tuple[str, ...]) -> None:
        """Write down which providers' keys the keyring has."""
        set_user(self._env, "model.keyring", ",".join(in_keyring))

    def _check_known(self, provider: str) -> None:
        if provider not in self._variables:
            near = nearest(provider, self._variables)
            known = ", ".join(self._variables)
            raise UsageError(
                f"{provider} needs no key, or is no provider",
                hint=f"did you mean {near}?" if near else f"providers: {known}",
            )
