"""Taking secrets out of what is kept or shown: logs, errors, the audit log, exports. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote, unquote

import msgspec

__all__ = ["MASK", "Redactor", "is_secret_name", "logins_in", "redacted", "secrets_of"]

MASK: Final = "[redacted]"
"""What stands where a secret was."""

_SHORTEST: Final = 8
_SHORT: Final = 64
_SECRET: Final = re.compile(
    r"""-----BEGIN[ ][A-Z0-9 ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z0-9 ]*-----|$)
    | \b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}
    | \baiex_[A-Za-z0-9]+_[A-Za-z0-9_-]{16,}
    | \bgh[pousr]_[A-Za-z0-9]{16,} | \bgithub_pat_[A-Za-z0-9_]{16,} | \bglpat-[A-Za-z0-9_-]{16,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b
    | \bAIza[A-Za-z0-9_-]{30,}
    | \bhf_[A-Za-z0-9]{16,}
    | \bxox[a-z]-[A-Za-z0-9-]{8,}
    | \beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]*
    | (?<=://)[^/\s:@"'<>]+:[^/\s@"'<>]+(?=@)""",
    re.VERBOSE | re.DOTALL,
)


_SECRET_NAME: Final = re.compile(
    r"(?:^|_)(?:KEY|APIKEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PASS|CREDENTIALS?|PAT|AUTH)$",
    re.IGNORECASE,
)
_LOGIN: Final = re.compile(r"://([^/\s@\"'<>]+)@")


def is_secret_name(name: str) -> bool:
    """Return whether the value of a variable of this name is taken for a secret.

    Example:
        >>> is_secret_name("GITHUB_TOKEN"), is_secret_name("OPENAI_API_KEY_FILE")
        (True, False)
    """
    return _SECRET_NAME.search(name) is not None


def secrets_of(env: Mapping[str, str]) -> Iterator[str]:
    """Yield the secrets in environment variables: by their names, and logins in addresses."""
    for name, value in env.items():
        if is_secret_name(name):
            yield value.strip()
        yield from logins_in(value)


def logins_in(text: str) -> Iterator[str]:
    """Yield the secrets of the logins in the addresses of *text*, as they are and unquoted.

    A user without a password is taken for a token.
    """
    for login in _LOGIN.findall(text):
        user, colon, password = login.partition(":")
        yield login
        yield password if colon else user
        yield unquote(password if colon else user)


def redacted(text: str) -> str:
    """Return *text* with everything masked that looks like a key, a token or a password.

    Example:
        >>> redacted("curl https://me:hunter2@example.org")
        'curl https://[redacted]@example.org'
    """
    return _short(text) if len(text) <= _SHORT else _SECRET.sub(MASK, text)


@functools.lru_cache(maxsize=256)
def _short(text: str) -> str:
    # What is said of each request is one of a few words: of looking once, and not each time.
    return _SECRET.sub(MASK, text)


class Redactor:
    """Masks what looks like a secret, and the secrets that it was told of, whatever they look like.

    A secret is found as it is, and as it stands in an address or in JSON.

    Args:
        secrets: Secrets that are known; those of fewer than 8 characters are not looked for,
            since they would turn up in words.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._held: tuple[str, ...] = ()
        for secret in secrets:
            self.hold(secret)

    def hold(self, secret: str) -> None:
        """Mask *secret* from now on."""
        if len(secret) < _SHORTEST or secret in self._held:
            return
        forms = {*self._held, secret, quote(secret, safe=""), _in_json(secret)}
        self._held = tuple(sorted(forms, key=lambda form: (-len(form), form)))

    def __call__(self, text: str) -> str:
        """Return *text* without secrets."""
        return redacted(self.without_held(text))

    def without_held(self, text: str) -> str:
        """Return *text* without the secrets that are held; what only looks like one stays."""
        for secret in self._held:
            if secret in text:
                text = text.replace(secret, MASK)
        return text

    def data(self, raw: msgspec.Raw) -> msgspec.Raw:
        """Return the JSON *raw* without secrets in its texts."""
        return msgspec.Raw(msgspec.json.encode(_mapped(msgspec.json.decode(raw), self)))


def _in_json(text: str) -> str:
    return msgspec.json.encode(text.encode("utf-8", "replace").decode()).decode()[1:-1]


def _mapped(value: object, mask: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_mapped(item, mask) for item in value]
    if isinstance(value, dict):
        return {mask(name): _mapped(item, mask) for name, item in value.items()}
    return value
