"""What a provider's headers say of the rates that it grants.

Source: the rate limit pages of OpenAI and Anthropic (read 2026-11-23). OpenAI's resets are
durations such as `6m0s`, Anthropic's are times.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

import msgspec

__all__ = ["RateLimit", "rate_limits"]

_OPENAI = re.compile(r"x-ratelimit-(limit|remaining|reset)-(.+)")
_ANTHROPIC = re.compile(r"anthropic-ratelimit-(.+)-(limit|remaining|reset)")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """One rate as the provider granted it with an answer.

    Attributes:
        what: What is counted, such as `requests`, `tokens` or `input-tokens`.
        limit: Most of it in the provider's window; `None` if unknown.
        remaining: What is left of it; `None` if unknown.
        reset_after: Seconds until all of it is there again, measured from the answer; `None` if
            unknown.
    """

    what: str
    limit: int | None = None
    remaining: int | None = None
    reset_after: float | None = None


def rate_limits(headers: Mapping[str, str]) -> tuple[RateLimit, ...]:
    """Return the rates that *headers* tell of, sorted by what they count.

    A limit of 0 or less is unknown: Azure sends such numbers.

    Args:
        headers: Headers of the answer, names in lower case.

    Example:
        >>> rate_limits({"x-ratelimit-limit-tokens": "90", "x-ratelimit-reset-tokens": "1m2s"})
        (RateLimit(what='tokens', limit=90, remaining=None, reset_after=62.0),)
    """
    found: dict[str, dict[str, str]] = {}
    for name, value in headers.items():
        if match := _OPENAI.fullmatch(name):
            found.setdefault(match[2], {})[match[1]] = value
        elif match := _ANTHROPIC.fullmatch(name):
            found.setdefault(match[1], {})[match[2]] = value
    return tuple(_rate(what, said, headers) for what, said in sorted(found.items()))


def _rate(what: str, said: Mapping[str, str], headers: Mapping[str, str]) -> RateLimit:
    limit = _count(said.get("limit"))
    is_known = limit is None or limit > 0
    return RateLimit(
        what=what,
        limit=limit if is_known else None,
        remaining=_count(said.get("remaining")) if is_known else None,
        reset_after=_reset(said.get("reset", ""), headers.get("date")),
    )


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,18}", text) else None


def _reset(text: str, date: str | None) -> float | None:
    pieces = _DURATION.findall(text)
    if pieces and "".join(number + unit for number, unit in pieces) == text:
        return sum(float(number) * _SECONDS[unit] for number, unit in pieces)
    if date is None:
        return None
    try:
        wait = datetime.fromisoformat(text) - parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return None
    return max(wait.total_seconds(), 0.0)
