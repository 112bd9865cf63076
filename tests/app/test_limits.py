from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from aiex.app.compose import LIMITS
from aiex.app.config import load
from aiex.app.limits import LimitsInForce, limits_of
from aiex.app.settings import LimitSettings
from aiex.context import Budget, GatewayKey
from aiex.core import ConfigurationError, Principal
from aiex.llm import Endpoint
from aiex.llm.limits import LIMIT_TABLES

AT = datetime(2026, 11, 26, tzinfo=UTC)
ANN = Principal(user="ann", interface="http", team="core", key_id="k1")
GPT = Endpoint(provider="openai", model="gpt-5")
KEY = GatewayKey(
    id="k1", proof="", pepper="", user="ann", created=AT, created_by="ann", tokens_per_minute=9
)


def test_the_store_has_the_tables_of_limits() -> None:
    assert LIMITS == LIMIT_TABLES


def test_one_table_of_settings_limits_what_it_names_and_nothing_else() -> None:
    found = list(
        limits_of(
            {
                "each": LimitSettings(scope="user:*", requests=60, concurrency=4),
                "all": LimitSettings(tokens=9, per="day", on_store_loss="deny"),
            }
        )
    )

    assert [(x.id, x.scope, x.what, x.amount, x.window, x.on_store_loss) for x in found] == [
        ("each/requests", "user:*", "requests", 60, 60.0, "local_share"),
        ("each/concurrency", "user:*", "concurrency", 4, 60.0, "local_share"),
        ("all/tokens", "all", "tokens", 9, "day", "deny"),
    ]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("requests = -1", "limits.each.requests"),
        ('scope = "usr:ann"\nrequests = 1', "usr:ann"),
        ('scope = "all"', "limits nothing"),
        ("request = 1", "limits.each.requests"),
        ('requests = 1\nper = "year"', "minute"),
    ],
)
def test_a_limit_that_cannot_be_is_told_by_its_place(tmp_path: Path, table: str, said: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[limits.each]\n{table}\n")

    with pytest.raises(ConfigurationError) as refused:
        load({"AIEX_CONFIG": str(file), "HOME": str(tmp_path)}, root=None)

    assert said in f"{refused.value.message} {refused.value.hint}"
    assert "limits.each" in refused.value.message


def test_a_project_sets_no_limits(tmp_path: Path) -> None:
    (tmp_path / "aiex.toml").write_text("[limits.mine]\nrequests = 1\n")

    with pytest.raises(ConfigurationError, match="limits"):
        load({"AIEX_CONFIG": str(tmp_path / "none.toml")}, root=tmp_path)


def test_a_call_counts_under_settings_its_key_and_budgets_that_mean_it() -> None:
    source = LimitsInForce(limits_of({"each": LimitSettings(scope="user:*", requests=2)}))
    source.key_of = {"k1": KEY}.get
    source.budgeted(
        Budget(scope=scope, per="day", amount=5, set_at=AT, set_by="eve")
        for scope in ("team:core", "team:web", "provider:openai")
    )

    found = source.limits_for(ANN, GPT)

    assert [limit.id for limit in found] == [
        "each/requests",
        "key/k1/tokens",
        "budget/day/team:core",
        "budget/day/provider:openai",
    ]
    assert source.limits_for(ANN, GPT) is found
    assert {limit.id for limit in source.limits()} == {limit.id for limit in found} | {
        "budget/day/team:web"
    }


def test_budgets_that_change_count_at_the_next_call() -> None:
    source = LimitsInForce(())
    budget = Budget(scope="all", per="month", amount=5, set_at=AT, set_by="eve")
    assert not source.limits_for(ANN, GPT)

    source.budgeted([budget])
    assert [limit.amount for limit in source.limits_for(ANN, GPT)] == [5]
    source.budgeted([])
    assert not source.limits_for(ANN, GPT)
