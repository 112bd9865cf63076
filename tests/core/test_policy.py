from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.core import (
    EVERY_ROLE,
    GRANTS,
    Principal,
    PrincipalRole,
    RefusedError,
    check_action,
    is_model_allowed,
    may,
    may_follow,
    roles_for,
)

ACTIONS = sorted(frozenset().union(*GRANTS.values()) | {"no.such"})
ROLES = st.lists(st.sampled_from(EVERY_ROLE), unique=True).map(tuple)


@given(some=ROLES, more=ROLES, action=st.sampled_from(ACTIONS))
def test_roles_together_allow_what_one_of_them_allows_and_nothing_else(
    some: tuple[PrincipalRole, ...], more: tuple[PrincipalRole, ...], action: str
) -> None:
    assert may((*some, *more), action) == (may(some, action) or may(more, action))


@given(lesser=st.sampled_from(EVERY_ROLE), greater=ROLES, action=st.sampled_from(ACTIONS))
def test_no_role_gains_anything_by_adding_less(
    lesser: PrincipalRole, greater: tuple[PrincipalRole, ...], action: str
) -> None:
    covered = GRANTS[lesser] <= frozenset().union(*(GRANTS[role] for role in greater))
    if covered:
        assert may((*greater, lesser), action) == may(greater, action)


def test_without_a_role_nothing_is_allowed() -> None:
    assert not any(may((), action) for action in ACTIONS)


def test_what_is_not_named_nobody_may_do() -> None:
    assert roles_for("no.such") == ()
    with pytest.raises(RefusedError, match="no role"):
        check_action(Principal(user="ann", interface="t", roles=EVERY_ROLE), "no.such")


@pytest.mark.parametrize(
    ("action", "roles"),
    [
        ("complete", {"developer", "admin"}),
        ("budget.set", {"admin"}),
        ("audit.verify", {"auditor"}),
        ("model.pull", {"operator", "admin"}),
        ("model.list", set(EVERY_ROLE)),
    ],
)
def test_who_may_do_what(action: str, roles: set[str]) -> None:
    assert {role for role in EVERY_ROLE if may((role,), action)} == roles


def test_a_refusal_names_the_role_that_it_takes() -> None:
    with pytest.raises(RefusedError, match=r"ann may not do budget set: .* role admin") as refused:
        check_action(Principal(user="ann", interface="http"), "budget.set")

    assert refused.value.hint is not None
    assert "--role admin" in refused.value.hint


@given(
    pattern=st.lists(st.sampled_from(["a", "b", ":", "*"]), max_size=7).map("".join),
    model=st.lists(st.sampled_from(["a", "b", ":"]), max_size=9).map("".join),
)
def test_a_pattern_means_a_model_as_the_regular_expression_does(pattern: str, model: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), model) is not None

    assert is_model_allowed((pattern,), model) == expected


def test_only_its_user_may_follow_a_request_whatever_the_role() -> None:
    admin = Principal(user="root", interface="http", roles=EVERY_ROLE)

    assert not may_follow(admin, "ann")
    assert may_follow(Principal(user="ann", interface="http", roles=("viewer",)), "ann")
