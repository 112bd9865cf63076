"""Who is let in, and to what; refused here is what need not be begun."""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec.structs import replace

from aiex.core import (
    EVERY_ROLE,
    NODE_VERBS,
    CompleteArguments,
    Principal,
    RefusedError,
    Request,
    check_action,
    is_model_allowed,
)

__all__ = ["Admission", "Authenticator", "OwnMachine", "from_afar"]


class Authenticator(Protocol):
    """Knows the keys of the gateway."""

    def authenticate(self, token: str | None, *, interface: str) -> Principal:
        """Return who *token* belongs to; does not block.

        Raises:
            UnauthenticatedError: There is none, or it is wrong, expired or revoked.
        """


class OwnMachine:
    """Takes whoever runs this process for its user, with every role: the files are theirs.

    Args:
        user: Name of the user.
    """

    def __init__(self, user: str) -> None:
        self._user = user

    def authenticate(self, token: str | None, *, interface: str) -> Principal:
        """Return the user, whatever the token."""
        del token
        return Principal(user=self._user, interface=interface, roles=EVERY_ROLE)


class Admission:
    """Refuses what the role or the policy of who asks does not allow."""

    def check(self, request: Request, arguments: msgspec.Struct) -> None:
        """Return if *request* may begin.

        Raises:
            RefusedError: It may not; says which role may.
        """
        principal = request.principal
        action: str | None = getattr(arguments, "action", None)
        check_action(principal, request.verb if action is None else f"{request.verb}.{action}")
        if principal.models and isinstance(arguments, CompleteArguments):
            _check_model(principal, arguments.model)


def _check_model(principal: Principal, model: str) -> None:
    # Of a bare name or an alias the coordinator knows who serves it, and refuses it there.
    if ":" in model and not is_model_allowed(principal.models, model):
        raise RefusedError(
            f"the key of {principal.user} does not allow the model {model}",
            hint=f"it allows {', '.join(principal.models)}",
        )


def from_afar(request: Request, principal: Principal) -> Request:
    """Return *request* as a node takes it from another machine: in the name of *principal*.

    Raises:
        RefusedError: The verb works on files, which are not on the node.
    """
    if request.verb not in NODE_VERBS:
        raise RefusedError(
            f"a node does not run {request.verb}: it works on files, where they are",
            hint=f"run it on your machine; a node takes {', '.join(sorted(NODE_VERBS))}",
        )
    return replace(request, principal=principal, root=None)
