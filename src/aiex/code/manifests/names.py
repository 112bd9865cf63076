"""Which names a package can have, so that none of a hostile manifest is put into an address."""

from __future__ import annotations

import re

from aiex.code.manifests.values import Ecosystem

__all__ = ["is_package_name"]

_LONGEST = 300
_NAMES: dict[Ecosystem, re.Pattern[str]] = {
    "pypi": re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"),
    "npm": re.compile(r"(?:@[A-Za-z0-9~_-][A-Za-z0-9._~-]*/)?[A-Za-z0-9~_-][A-Za-z0-9._~-]*"),
    "go": re.compile(r"[A-Za-z0-9~_-][A-Za-z0-9._~-]*(?:/[A-Za-z0-9~_-][A-Za-z0-9._~-]*)*"),
    "cargo": re.compile(r"[A-Za-z0-9_-]+"),
    "hex": re.compile(r"[a-z0-9_]+"),
}


def is_package_name(ecosystem: Ecosystem, name: str) -> bool:
    """Return whether *name* can be the name of a package there.

    Example:
        >>> is_package_name("npm", "@types/node"), is_package_name("npm", "../../x")
        (True, False)
    """
    return len(name) <= _LONGEST and _NAMES[ecosystem].fullmatch(name) is not None
