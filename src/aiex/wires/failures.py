"""From an answer that is an error to the one of our errors that says the same.

Statuses and codes: the error pages of OpenAI and Anthropic and the retry code of their SDKs
(openai 3.54, anthropic 1.8), read 2026-11-23.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from aiex.core import (
    AiexError,
    AuthenticationError,
    BudgetError,
    ContextOverflowError,
    InvalidCallError,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
    RateLimitError,
)

__all__ = ["body_text", "failure", "retry_after", "should_retry"]

_BUDGET_CODES = frozenset(
    {
        "billing_error",
        "billing_hard_limit_reached",
        "billing_not_active",
        "credit_balance_too_low",
        "credit_limit_reached",
        "enforced_spend_limit_reached",
        "insufficient_credits",
        "insufficient_quota",
        "organization_spend_limit_reached",
        "project_spend_limit_reached",
        "quota_exceeded",
        "spend_limit_exceeded",
        "spend_limit_reached",
    }
)
_OVERFLOW_CODES = frozenset(
    {"context_length_exceeded", "exceed_context_size_error", "context_window_exceeded"}
)
_MODEL_CODES = frozenset({"model_not_found", "not_found_error"})
_KEY_CODES = frozenset({"invalid_api_key", "authentication_error", "permission_error"})
_STATUS_OF = {
    "api_error": 500,
    "authentication_error": 401,
    "billing_error": 402,
    "conflict_error": 409,
    "invalid_api_key": 401,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "model_not_found": 404,
    "not_found_error": 404,
    "overloaded_error": 529,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "request_too_large": 413,
    "server_error": 500,
    "timeout_error": 504,
}
_MESSAGE_CHARS = 2_000


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the least wait in seconds that *headers* ask for; `None` if they name none.

    A date is measured from the answer's own `Date`, so no clock of ours is needed.

    Args:
        headers: Headers of the answer, names in lower case.

    Example:
        >>> retry_after({"retry-after-ms": "1500", "retry-after": "9"})
        1.5
    """
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _seconds(value)
    if seconds is not None or value is None or "date" not in headers:
        return seconds
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])
    except (ValueError, TypeError):
        return None
    return max(wait.total_seconds(), 0.0)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """Return what `x-should-retry` says; `None` if it says nothing."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def body_text(body: bytes) -> str:
    """Return the start of an error body that is not what its wire says, for a message."""
    return " ".join(body[:_MESSAGE_CHARS].decode("utf-8", "replace").split())


def failure(
    message: str,
    *,
    status: int | None,
    codes: tuple[str | None, ...] = (),
    headers: Mapping[str, str] | None = None,
    provider: str | None = None,
) -> AiexError:
    """Return the error of *message*.

    Args:
        message: The provider's own words.
        status: HTTP status; `None` for an error inside a stream, where *codes* must tell.
        codes: The provider's codes and types for it, the most telling first.
        headers: Headers of the answer, names in lower case.
        provider: Name of the provider.
    """
    headers = headers or {}
    named = [code for code in codes if code]
    effective = status if status is not None else _status_of(named)
    wait = retry_after(headers)
    text = message[:_MESSAGE_CHARS] or (named[0] if named else f"HTTP status {status}")
    said = f"{provider or 'the provider'} answered {status or 'in the stream'}: {text}"
    if effective == 402 or not _BUDGET_CODES.isdisjoint(named) or _is_broke(text):
        return BudgetError(said, transient=False)
    if effective == 429:
        return RateLimitError(said, transient=should_retry(headers), retry_after=wait)
    cls, transient = _class_of(effective, named, text)
    told = should_retry(headers)
    return cls(
        said,
        transient=transient if told is None else told,
        retry_after=wait,
        provider=provider,
        status=status,
    )


def _status_of(codes: list[str]) -> int:
    return next((_STATUS_OF[code] for code in codes if code in _STATUS_OF), 500)


def _is_broke(text: str) -> bool:
    # Anthropic answers this one as a plain invalid_request_error.
    return "credit balance is too low" in text.lower()


def _class_of(status: int, codes: list[str], text: str) -> tuple[type[ProviderError], bool]:
    if not _OVERFLOW_CODES.isdisjoint(codes) or (
        # Anthropic has no code for it.
        400 <= status < 500 and text.lower().startswith("prompt is too long")
    ):
        return ContextOverflowError, False
    if status in {401, 403} or not _KEY_CODES.isdisjoint(codes):
        return AuthenticationError, False
    if status == 404 or not _MODEL_CODES.isdisjoint(codes):
        return ModelNotFoundError, False
    if status in {408, 409} or status >= 500:
        return OverloadedError, True
    if status >= 400:
        return InvalidCallError, False
    return ProviderError, False
