"""Keys of providers: from the environment, else from the system's keyring; never from a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

__all__ = ["VARIABLES", "KeySource"]

VARIABLES = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
"""Environment variable of each provider that needs a key."""

_SERVICE = "aiex"


class KeySource:
    """Finds keys. The keyring is asked only for providers that are said to be in it, or named.

    Args:
        env: Environment variables.
        in_keyring: Providers whose key is in the keyring.
    """

    def __init__(self, env: Mapping[str, str], in_keyring: Sequence[str]) -> None:
        self._env = env
        self._in_keyring = frozenset(in_keyring)
        self._found: dict[str, str] = {}

    def missing(self, provider: str) -> str | None:
        """Return what is missing, as far as that is known without opening the keyring."""
        variable = VARIABLES[provider]
        if self._env.get(variable, "").strip() or provider in self._in_keyring:
            return None
        return f"{variable} is not set"

    def is_in_keyring(self, provider: str) -> bool:
        """Return whether the keyring has a key, by opening it."""
        return self._from_keyring(provider) is not None

    def unlocker(self, provider: str) -> Callable[[], None] | None:
        """Return what opens the keyring for *provider*, which may block; `None` if none has to."""
        if self._env.get(VARIABLES[provider], "").strip():
            return None

        def unlock() -> None:
            self._from_keyring(provider)

        return unlock

    def reader(self, provider: str) -> Callable[[], str | None]:
        """Return a function that gives the key, or `None`; it does not block once unlocked."""

        def read() -> str | None:
            key = self._env.get(VARIABLES[provider], "").strip()
            return key or self._from_keyring(provider)

        return read

    def _from_keyring(self, provider: str) -> str | None:
        if provider not in self._found:
            try:
                import keyring

                key = keyring.get_password(_SERVICE, provider)
            except Exception:  # noqa: BLE001 - each backend has errors of its own; none is a key
                key = None
            if key is None:
                return None
            self._found[provider] = key
        return self._found[provider]
