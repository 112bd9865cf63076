"""Taking secrets out of what is kept or shown: logs, errors, the audit log, exports. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["MASK", "Redactor", "redacted"]

MASK: Final = "[redacted]"
"""What stands where a secret was."""

_SHORTEST: Final = 8
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
    | (?<=://)[^/\s:@]+:[^/\s@]+(?=@)""",
    re.VERBOSE | re.DOTALL,
)


def redacted(text: str) -> str:
    """Return *text* with everything masked that looks like a key, a token or a password.

    Example:
        >>> redacted("curl https://me:hunter2@example.org")
        'curl https://[redacted]@example.org'
    """
    return _SECRET.sub(MASK, text)


class Redactor:
    """Masks what looks like a secret, and the secrets that it was told of, whatever they look like.

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
        if len(secret) >= _SHORTEST and secret not in self._held:
            self._held = tuple(sorted((*self._held, secret), key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """Return *text* without secrets."""
        for secret in self._held:
            if secret in text:
                text = text.replace(secret, MASK)
        return redacted(text)
