"""Keys of providers: where they may stand, and in which order they are looked for.

A credential or mounted file, then the system's keyring where it is said to have the key, then our
own sealed file, then the environment. What is told to have a key and does not give it is an error:
the next place is not asked instead. Never a configuration file, and never in plain text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aiex.app.secret_files import SealedFile, given_file, read_given
from aiex.core import ConfigurationError

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

    from aiex.app.settings import Settings

__all__ = ["PASSPHRASE", "VARIABLES", "Ask", "KeySource", "Place", "open_keyring", "variables_of"]

VARIABLES = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
"""Environment variable of each built-in provider that needs a key."""

PASSPHRASE = "AIEX_PASSPHRASE"  # noqa: S105 - the name of a variable
"""Environment variable of what opens the sealed file."""

SERVICE = "aiex"
"""Under which name the keyring has the keys."""

Ask = Callable[[str], str]
"""Asks the person at the terminal for what must not be shown; blocks."""

Place = Literal["given", "keyring", "sealed", "environment"]
"""Where a key is: see the module."""

_NO_KEYRING = (
    "unlock it; or, on a machine without one, aiex config key set {0} --file, or set {1}, and take "
    "{0} out of model.keyring"
)


def variables_of(settings: Settings) -> dict[str, str]:
    """Return the environment variable of each provider that may need a key, built-in or named."""
    named = {
        name: one.key_variable or name.upper().replace("-", "_") + "_API_KEY"
        for name, one in settings.providers.items()
        if one.kind in VARIABLES or one.key_variable is not None
    }
    return VARIABLES | named


def _holds_nothing(secret: str) -> None:
    """Take a secret, to mask it from now on."""


class KeySource:
    """Finds keys. The keyring is asked only for providers that are said to be in it, or named.

    Args:
        env: Environment variables.
        in_keyring: Providers whose key is in the keyring.
        sealed: The sealed file; `None` where there is no folder for one.
        ask: Asks for the passphrase; `None` if there is nobody to ask.
        hold: Told of each key that is found, so that it is masked.
        variables: Environment variable of each provider that may need a key.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        in_keyring: Sequence[str],
        *,
        sealed: SealedFile | None = None,
        ask: Ask | None = None,
        hold: Callable[[str], None] = _holds_nothing,
        variables: Mapping[str, str] = VARIABLES,
    ) -> None:
        self._variables = variables
        self._env = env
        self._in_keyring = frozenset(in_keyring)
        self._sealed = sealed
        self._ask = ask
        self._hold = hold
        self._found: dict[str, str] = {}
        self._places: dict[str, tuple[Place, str]] = {}

    def look(self) -> None:
        """Find out where the keys are, without opening anything. Blocks, briefly.

        A sealed file that cannot be read counts as having every key: what is wrong with it is said
        when one is needed.
        """
        self._places = {}
        for provider, variable in self._variables.items():
            place = self._look(provider, variable)
            if place is not None:
                self._places[provider] = place

    def _look(self, provider: str, variable: str) -> tuple[Place, str] | None:
        given = given_file(variable, self._env)
        if given is not None:
            return "given", f"{given[1]}, {given[0]}"
        if provider in self._in_keyring:
            return "keyring", "the system's keyring"
        if self._sealed is not None and provider in self._in_file(self._sealed):
            return "sealed", f"the encrypted file {self._sealed.path}"
        if self._env.get(variable, "").strip():
            return "environment", f"the environment, {variable}"
        return None

    def _in_file(self, sealed: SealedFile) -> Sequence[str]:
        try:
            return sealed.providers()
        except ConfigurationError:
            return tuple(self._variables)

    def place(self, provider: str) -> Place | None:
        """Return where the key is; `None` if it is nowhere that is known."""
        found = self._places.get(provider)
        return None if found is None else found[0]

    def origins(self) -> dict[str, str]:
        """Return in words where each key comes from, as far as one is known."""
        return {provider: words for provider, (_, words) in self._places.items()}

    def missing(self, provider: str) -> str | None:
        """Return what is missing, as far as that is known without opening the keyring."""
        return None if provider in self._places else f"{self._variables[provider]} is not set"

    def is_in_keyring(self, provider: str) -> bool:
        """Return whether the keyring has a key that nobody told of, by opening it."""
        if provider not in self._found:
            try:
                key = open_keyring("").get_password(SERVICE, provider)
            except Exception:  # noqa: BLE001 - each backend has errors of its own; none is a key
                return False
            if not key:
                return False
            self._keep(provider, key)
        return True

    def unlocker(self, provider: str) -> Callable[[], None] | None:
        """Return what gets the key of *provider*, which may block; `None` if nothing has to."""
        if self.place(provider) == "environment":
            return None

        def unlock() -> None:
            if provider not in self._found:
                self._unlock(provider)

        return unlock

    def reader(self, provider: str) -> Callable[[], str | None]:
        """Return a function that gives the key, or `None`; it does not block once unlocked."""

        def read() -> str | None:
            if provider not in self._found:
                self._unlock(provider)
            return self._found.get(provider)

        return read

    def _unlock(self, provider: str) -> None:
        match self.place(provider):
            case "given":
                given = given_file(self._variables[provider], self._env)
                if given is not None:
                    self._keep(provider, read_given(*given, self._env))
            case "keyring":
                self._keep(provider, self._from_keyring(provider))
            case "sealed":
                self._keep(provider, self._from_sealed(provider))
            case "environment":
                self._keep(provider, self._env[self._variables[provider]].strip())
            case None:
                self.is_in_keyring(provider)

    def _keep(self, provider: str, key: str) -> None:
        self._hold(key)
        self._found[provider] = key

    def _from_keyring(self, provider: str) -> str:
        hint = _NO_KEYRING.format(provider, self._variables[provider])
        backend = open_keyring(hint)
        try:
            key = backend.get_password(SERVICE, provider)
        except Exception as error:
            raise ConfigurationError(
                f"the keyring does not give the key of {provider}: {type(error).__name__}",
                hint=hint,
            ) from error
        if not key:
            raise ConfigurationError(
                f"the keyring has no key of {provider}", hint=f"aiex config key set {provider}"
            )
        return key

    def _from_sealed(self, provider: str) -> str:
        assert self._sealed is not None
        self._sealed.providers()  # says what is wrong with the file before anybody is asked
        key = self._sealed.keys(self.passphrase()).get(provider)
        if key is None:
            raise ConfigurationError(
                f"{self._sealed.path} has no key of {provider}",
                hint=f"aiex config key set {provider} --file",
            )
        return key

    def passphrase(self, *, is_new: bool = False) -> str:
        """Return what opens the sealed file. Blocks.

        Args:
            is_new: Whether it is chosen now, so that it is asked for twice.

        Raises:
            ConfigurationError: Nobody says it.
        """
        given = given_file(PASSPHRASE, self._env)
        told = read_given(*given, self._env) if given else self._env.get(PASSPHRASE, "")
        path = self._sealed.path if self._sealed is not None else Path("keys.sealed")
        if not told and self._ask is not None:
            told = self._ask(f"Passphrase of {path}: ")
            if is_new and told and self._ask("The same again: ") != told:
                raise ConfigurationError("that was not the same", hint="try again")
        if not told:
            raise ConfigurationError(
                f"the passphrase of {path} is not known",
                hint=f"set {PASSPHRASE}, or run it at a terminal",
            )
        self._hold(told)
        return told


def open_keyring(hint: str) -> KeyringBackend:
    """Return the system's keyring. Blocks.

    Args:
        hint: What to do where there is none.

    Raises:
        ConfigurationError: There is none, or it would keep keys in plain text.
    """
    import keyring

    try:
        backend = keyring.get_keyring()
    except Exception as error:
        raise ConfigurationError(
            f"the keyring cannot be opened: {type(error).__name__}", hint=hint
        ) from error
    kinds = [type(one) for one in getattr(backend, "backends", [backend])]
    if any("plaintext" in kind.__name__.lower() for kind in kinds):
        raise ConfigurationError("the keyring of this machine keeps keys in plain text", hint=hint)
    if not kinds or all(kind.__module__ in _NO_BACKENDS for kind in kinds):
        raise ConfigurationError("this machine has no keyring", hint=hint)
    return backend


_NO_BACKENDS = frozenset({"keyring.backends.fail", "keyring.backends.null"})
