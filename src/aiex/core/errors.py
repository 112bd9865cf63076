"""The one error tree, and the one table from an error to what a door answers.

```text
AiexError                       internal
├── UsageError                  usage             the caller asked for something that cannot be
│   ├── ConfigurationError      configuration     a setting is unknown, wrong or contradictory
│   └── NotFoundError           not_found         a file, symbol, change or model that is not there
├── UnavailableError            unavailable       no provider or model can be reached
│   └── ProviderError           provider          a provider answered, and the answer was an error
│       ├── AuthenticationError   authentication    the key is missing, wrong or disabled
│       ├── ModelNotFoundError    model_not_found   the provider does not serve this model
│       ├── ContextOverflowError  context_overflow  the prompt is larger than the model's window
│       ├── InvalidCallError      invalid_call      the provider refused the call as malformed
│       ├── OverloadedError       overloaded        the provider is busy or broken for now
│       └── IncompleteStreamError incomplete_stream the answer ended before its terminal marker
├── RefusedError                refused           policy, sandbox or the user said no
│   ├── PathRefusedError        path_refused      a path leaves its root or is protected
│   └── UnauthenticatedError    unauthenticated   the key of who asks is missing or wrong
├── LimitError                  limit             a rate limit or budget is exhausted
│   ├── RateLimitError            rate_limit        wait `retry_after` seconds
│   └── BudgetError               budget            money, quota or spend limit is used up
├── UnusableReplyError          unusable_reply    a model's reply could not be used
├── ConflictError               conflict          the tree or record changed since it was read
├── StoreError                  store             the store cannot be read or written
│   ├── StoreBusyError            store_busy        another process holds it for too long
│   └── StoreCorruptError         store_corrupt     what is on disk is damaged or from the future
├── ChildError                  child             a server of our own cannot start, or died
├── DeadlineError               deadline          the time allowed has passed
└── InterruptedByUserError      interrupted       the user stopped it
```

Two facts a caller may act on are fields, never text: `transient` (the same call may succeed
later) and `retry_after` (seconds, the least wait that the other side asked for).
"""

from __future__ import annotations

from typing import ClassVar, Self

import msgspec

from aiex.core.messages import Usage

__all__ = [
    "OUTCOMES",
    "AiexError",
    "AuthenticationError",
    "BudgetError",
    "ChildError",
    "ConfigurationError",
    "ConflictError",
    "ContextOverflowError",
    "DeadlineError",
    "ErrorInfo",
    "IncompleteStreamError",
    "InterruptedByUserError",
    "InvalidCallError",
    "LimitError",
    "ModelNotFoundError",
    "NotFoundError",
    "Outcome",
    "OverloadedError",
    "PathRefusedError",
    "ProviderError",
    "RateLimitError",
    "RefusedError",
    "StoreBusyError",
    "StoreCorruptError",
    "StoreError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnusableReplyError",
    "UsageError",
    "error_from_info",
    "outcome_of",
]


class AiexError(Exception):
    """Anything that Aiex reports to whoever asked.

    Attributes:
        code: Stable name of the class of error; what a program should compare.
        message: One sentence: what was wrong and what was expected.
        hint: What to do next, ready to be typed where it is a command; `None` if unknown.
        transient: Whether the same call may succeed later without a change.
        retry_after: Least wait in seconds that the other side asked for; `None` if it did not.
    """

    code: ClassVar[str] = "internal"
    always_transient: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        transient: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.transient = self.always_transient if transient is None else transient
        self.retry_after = retry_after

    def info(self) -> ErrorInfo:
        """Return the error as a value that can be stored or sent."""
        return ErrorInfo(
            code=self.code,
            message=self.message,
            hint=self.hint,
            transient=self.transient,
            retry_after=self.retry_after,
            status=getattr(self, "status", None),
            provider=getattr(self, "provider", None),
        )


class UsageError(AiexError):
    """The caller asked for something that cannot be done as asked."""

    code = "usage"


class ConfigurationError(UsageError):
    """A setting is unknown, wrong or contradicts another."""

    code = "configuration"


class NotFoundError(UsageError):
    """A file, symbol, change, model or record that was named is not there."""

    code = "not_found"


class UnavailableError(AiexError):
    """No provider or model can be reached."""

    code = "unavailable"


class ProviderError(UnavailableError):
    """A provider answered with an error.

    Attributes:
        provider: Name of the provider that answered; `None` if not known.
        status: HTTP status it answered with; `None` for an error inside a stream.
        may_be_billed: Whether the call was sent and never answered, so that the provider may bill
            what nobody saw.
    """

    code = "provider"
    may_be_billed: bool = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        transient: bool | None = None,
        retry_after: float | None = None,
        provider: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint, transient=transient, retry_after=retry_after)
        self.provider = provider
        self.status = status


class AuthenticationError(ProviderError):
    """The key is missing, wrong, disabled or without the right to this model."""

    code = "authentication"


class ModelNotFoundError(ProviderError):
    """The provider does not serve this model."""

    code = "model_not_found"


class ContextOverflowError(ProviderError):
    """The prompt does not fit into the model's window."""

    code = "context_overflow"


class InvalidCallError(ProviderError):
    """The provider refused the call as malformed or not allowed."""

    code = "invalid_call"


class OverloadedError(ProviderError):
    """The provider is busy, unreachable or broken for now."""

    code = "overloaded"
    always_transient = True


class IncompleteStreamError(ProviderError):
    """The answer ended before its wire's terminal marker; what came is not the whole answer.

    Attributes:
        usage: What the part that came will be billed for, by our own count; `None` if nothing
            came or nobody counted.
    """

    code = "incomplete_stream"
    always_transient = True
    usage: Usage | None = None


class RefusedError(AiexError):
    """Policy, the sandbox or the user's answer said no."""

    code = "refused"


class PathRefusedError(RefusedError):
    """A path leaves its root, is protected, or is not a regular file.

    Attributes:
        path: The path as it was asked for, relative to the root where it could be.
        rule: The rule that refused it, such as `outside_root` or `protected_name`.
    """

    code = "path_refused"

    def __init__(self, message: str, *, path: str, rule: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.rule = rule


class UnauthenticatedError(RefusedError):
    """Who asks shows no key of this gateway, or one that is wrong, expired or revoked."""

    code = "unauthenticated"


class LimitError(AiexError):
    """A rate limit or a budget is exhausted.

    Attributes:
        limit: Name of the limit, where it is one of ours; empty for a provider's.
        scope: Whose it is, such as `user:ann`; empty for a provider's.
        what: What it counts: `requests`, `tokens`, `concurrency` or `cost`; empty for a provider's.
    """

    code = "limit"
    limit = ""
    scope = ""
    what = ""

    def reached(self, limit: str, *, scope: str, what: str) -> Self:
        """Say which limit of ours it is; return the error."""
        self.limit, self.scope, self.what = limit, scope, what
        return self


class RateLimitError(LimitError):
    """Too many requests or tokens for now; wait `retry_after` seconds."""

    code = "rate_limit"
    always_transient = True


class BudgetError(LimitError):
    """Money, quota or a spend limit is used up; waiting does not help."""

    code = "budget"


class UnusableReplyError(AiexError):
    """A model's reply could not be used, and nothing was written because of it."""

    code = "unusable_reply"


class ConflictError(AiexError):
    """The tree or the record is not what it was when the proposal was made."""

    code = "conflict"


class StoreError(AiexError):
    """The store cannot be read or written."""

    code = "store"


class StoreBusyError(StoreError):
    """Another process held the store for longer than the busy time-out."""

    code = "store_busy"
    always_transient = True


class StoreCorruptError(StoreError):
    """What is on disk is damaged, or was written by a newer Aiex."""

    code = "store_corrupt"


class ChildError(AiexError):
    """One of Aiex's own servers cannot be started, or ended when it should not have."""

    code = "child"


class DeadlineError(AiexError):
    """The time allowed for the request has passed."""

    code = "deadline"


class InterruptedByUserError(AiexError):
    """The user stopped the request."""

    code = "interrupted"


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An error as a value: what events, records and the JSON envelope carry.

    Attributes:
        code: Stable name of the class of error.
        message: One sentence for a person.
        hint: What to do next; `None` if unknown.
        transient: Whether the same call may succeed later without a change.
        retry_after: Least wait in seconds; `None` if the other side named none.
        status: HTTP status that a provider answered with; `None` if none did.
        provider: Provider that answered; `None` if none did or it is not known.
    """

    code: str
    message: str
    hint: str | None = None
    transient: bool = False
    retry_after: float | None = None
    status: int | None = None
    provider: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a door answers for one class of error.

    Attributes:
        exit_code: Exit status of the command line.
        http_status: Status of an HTTP answer.
    """

    exit_code: int
    http_status: int


OUTCOMES: dict[str, Outcome] = {
    "internal": Outcome(exit_code=70, http_status=500),
    "usage": Outcome(exit_code=2, http_status=400),
    "configuration": Outcome(exit_code=2, http_status=400),
    "not_found": Outcome(exit_code=2, http_status=404),
    "unavailable": Outcome(exit_code=3, http_status=503),
    "provider": Outcome(exit_code=3, http_status=502),
    "authentication": Outcome(exit_code=3, http_status=401),
    "model_not_found": Outcome(exit_code=3, http_status=404),
    "context_overflow": Outcome(exit_code=3, http_status=400),
    "invalid_call": Outcome(exit_code=3, http_status=400),
    "overloaded": Outcome(exit_code=3, http_status=503),
    "incomplete_stream": Outcome(exit_code=3, http_status=502),
    "refused": Outcome(exit_code=4, http_status=403),
    "path_refused": Outcome(exit_code=4, http_status=403),
    "unauthenticated": Outcome(exit_code=4, http_status=401),
    "limit": Outcome(exit_code=5, http_status=429),
    "rate_limit": Outcome(exit_code=5, http_status=429),
    "budget": Outcome(exit_code=5, http_status=402),
    "unusable_reply": Outcome(exit_code=6, http_status=502),
    "conflict": Outcome(exit_code=7, http_status=409),
    "store": Outcome(exit_code=70, http_status=500),
    "store_busy": Outcome(exit_code=70, http_status=503),
    "store_corrupt": Outcome(exit_code=70, http_status=500),
    "child": Outcome(exit_code=70, http_status=503),
    "deadline": Outcome(exit_code=124, http_status=504),
    "interrupted": Outcome(exit_code=130, http_status=499),
}
"""Every error code to its exit status and HTTP status; exit 70 is a fault of Aiex or its disk."""


def outcome_of(code: str) -> Outcome:
    """Return what a door answers for the error *code*; an unknown code counts as internal."""
    return OUTCOMES.get(code, OUTCOMES["internal"])


def _classes(root: type[AiexError]) -> dict[str, type[AiexError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_classes(child))
    return found


def error_from_info(info: ErrorInfo) -> AiexError:
    """Return the exception that *info* was made of, ready to be raised.

    Fields beyond those of `ErrorInfo` (a path) are not restored.
    """
    cls = _classes(AiexError).get(info.code, AiexError)
    error = cls.__new__(cls)
    AiexError.__init__(
        error,
        info.message,
        hint=info.hint,
        transient=info.transient,
        retry_after=info.retry_after,
    )
    if isinstance(error, ProviderError):
        error.provider, error.status = info.provider, info.status
    return error
