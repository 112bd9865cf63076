"""The error body that both of OpenAI's wires and their imitators use."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from aiex.core import AiexError
from aiex.wires.failures import body_text, failure
from aiex.wires.fields import UNREADABLE

__all__ = ["decode_error", "encode_error", "error_in_stream"]


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _Body(msgspec.Struct):
    error: _Error | str | None = None
    message: str | None = None


_BODY = msgspec.json.Decoder(_Body)
_ERROR = msgspec.json.Decoder(_Error | str)

_WORDS = {
    "authentication": ("invalid_request_error", "invalid_api_key"),
    "budget": ("insufficient_quota", "insufficient_quota"),
    "context_overflow": ("invalid_request_error", "context_length_exceeded"),
    "invalid_call": ("invalid_request_error", "invalid_value"),
    "model_not_found": ("invalid_request_error", "model_not_found"),
    "not_found": ("invalid_request_error", "not_found"),
    "rate_limit": ("requests", "rate_limit_exceeded"),
    "refused": ("permission_error", "permission_denied"),
    "unauthenticated": ("invalid_request_error", "invalid_api_key"),
    "usage": ("invalid_request_error", "invalid_value"),
}


def _codes(error: _Error) -> tuple[str | None, ...]:
    return (None if error.code is None else str(error.code), error.type)


def decode_error(
    status: int, headers: Mapping[str, str], body: bytes, *, provider: str = "openai"
) -> AiexError:
    """Return the error of an answer that is not 2xx.

    Args:
        status: HTTP status.
        headers: Headers, names in lower case.
        body: The body; need not be what the wire says.
        provider: Name of the provider.
    """
    codes: tuple[str | None, ...] = ()
    message = None
    try:
        answer = _BODY.decode(body)
    except UNREADABLE:
        answer = _Body()
    if isinstance(answer.error, _Error):
        message, codes = answer.error.message, _codes(answer.error)
    else:
        message = answer.error or answer.message
    return failure(
        message or body_text(body), status=status, codes=codes, headers=headers, provider=provider
    )


def error_in_stream(raw: bytes | msgspec.Raw) -> AiexError:
    """Return the error of an `error` object, or text, that came inside a stream.

    Raises:
        msgspec.DecodeError: It is neither.
    """
    error = _ERROR.decode(raw)
    if isinstance(error, str):
        return failure(error, status=None)
    return failure(error.message or "", status=None, codes=_codes(error))


def encode_error(error: AiexError) -> bytes:
    """Return the body of an answer, or the data of an event, that says *error*."""
    kind, code = _WORDS.get(error.code, ("server_error", error.code))
    said = {"message": error.message, "type": kind, "param": None, "code": code}
    return msgspec.json.encode({"error": said})
