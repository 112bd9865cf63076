"""Providers that the user named, aliases with their fallback chains, and what `model` tells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from aiex.testing.collector import Collector
from aiex.testing.fake_openai import FakeOpenAI, Scripted

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

BUSY = Scripted(status=503, error={"type": "server_error", "message": "busy"})
WORDS = Scripted(text="one two three four five six seven eight")


@pytest.fixture
def two(cli: Cli) -> Iterator[tuple[FakeOpenAI, FakeOpenAI]]:
    """Two servers of one kind under names of the user's own; the first one is busy."""
    with FakeOpenAI([BUSY], models=["tiny"]) as one, FakeOpenAI([WORDS], models=["tiny"]) as other:
        file = Path(cli.env["HOME"]) / "config.toml"
        cli.env["AIEX_CONFIG"] = str(file)
        del cli.env["AIEX_MODEL_ORDER"]
        cli.env["SECOND_KEY"] = "sk-of-the-second"
        file.write_text(
            f"""
[model]
order = ["second"]

[model.aliases]
fast = ["first:tiny", "second:tiny"]

[providers.first]
kind = "openai"
url = "{one.url}"
node = "shelf"

[providers.second]
kind = "openai"
url = "{other.url}"
key_variable = "SECOND_KEY"

[providers.second.models.tiny]
context_tokens = 4000
input_price = 1.5
output_price = 2
capabilities = ["tools"]
"""
        )
        yield one, other


def test_a_chain_goes_on_where_one_is_busy(cli: Cli, two: tuple[FakeOpenAI, FakeOpenAI]) -> None:
    ended = cli("model", "test", "fast", "--json")
    assert ended.code == 0, ended.err
    data = ended.json["data"]
    assert (data["name"], data["text"]) == ("second:tiny", WORDS.text)
    assert data["first_token_ms"] >= 0
    assert data["tokens_per_second"] > 0
    assert ended.json["usage"]["cost_usd"] == 0.000033, "11 tokens at 1.5 and 8 at 2"
    assert len(two[0].bodies) == 3


def test_what_was_named_is_the_only_one_asked(cli: Cli, two: tuple[FakeOpenAI, FakeOpenAI]) -> None:
    ended = cli("model", "test", "first:tiny", "--json")
    assert (ended.code, ended.json["error"]["code"]) == (3, "overloaded")
    assert two[1].bodies == []
    assert cli("explain", "shop/cart.py", "--provider", "second").code == 0
    assert len(two[1].bodies) == 1


def test_a_bare_name_is_everybodys_who_serves_it(
    cli: Cli, two: tuple[FakeOpenAI, FakeOpenAI]
) -> None:
    ended = cli("model", "test", "tiny", "--json", "--strategy", "cost")
    assert ended.json["data"]["name"] == "second:tiny"
    assert two[0].bodies == [], "what has no price comes after what has one"


def test_models_are_listed_with_how_they_stand(
    cli: Cli, two: tuple[FakeOpenAI, FakeOpenAI]
) -> None:
    data = cli("model", "list", "--json").json["data"]
    assert [p["name"] for p in data["providers"]] == ["second", "first"]
    second, first = data["providers"]
    assert first["node"] == "shelf"
    [model] = second["models"]
    assert model["name"] == "second:tiny"
    assert model["context_tokens"] == 4000
    assert (model["input_usd_per_million"], model["output_usd_per_million"]) == ("1.5", "2")
    assert model["capabilities"] == ["tools"]
    assert model["health"] == {
        "state": "closed",
        "reason": "",
        "since": None,
        "until": None,
        "in_flight": 0,
        "first_token_ms": None,
    }
    assert data["aliases"] == {"fast": [["first:tiny"], ["second:tiny"]]}
    shown = cli("model", "list").out
    assert "first  on shelf" in shown
    assert "second:tiny  4000 tokens  $1.5 in, $2 out a million" in shown
    assert "fast stands for first:tiny, then second:tiny" in shown


def test_the_key_of_a_named_provider_is_looked_for_where_its_setting_says(
    cli: Cli, two: tuple[FakeOpenAI, FakeOpenAI]
) -> None:
    keys = {k["provider"]: k for k in cli("config", "key", "list", "--json").json["data"]["keys"]}
    assert keys["second"]["variable"] == "SECOND_KEY"
    assert "SECOND_KEY" in keys["second"]["origin"]
    assert keys["first"]["variable"] == "FIRST_API_KEY"
    del cli.env["SECOND_KEY"]
    ended = cli("model", "test", "second:tiny")
    assert ended.code == 3
    assert "SECOND_KEY is not set" in ended.err


def test_tables_are_shown_and_their_values_set(
    cli: Cli, two: tuple[FakeOpenAI, FakeOpenAI]
) -> None:
    assert json.loads(cli("config", "get", "providers.first").out)["node"] == "shelf"
    written = cli("config", "set", "model.aliases.slow", "second:tiny, first:tiny")
    assert written.out.startswith("model.aliases.slow = second:tiny, first:tiny  in ")
    assert json.loads(cli("config", "get", "model.aliases").out)["slow"] == [
        "second:tiny",
        "first:tiny",
    ]
    refused = cli("config", "set", "providers.first.knd", "openai")
    assert refused.code == 2
    shown = cli("config", "show", "--origin").out
    line = next(line for line in shown.split("\n") if line.startswith("providers.first"))
    assert line.endswith("config.toml")


def test_a_strategy_that_there_is_not_is_refused(cli: Cli) -> None:
    ended = cli("explain", "shop/cart.py", "--strategy", "fastest")
    assert ended.code == 2
    assert "load_balanced" in ended.err


@pytest.mark.usefixtures("two")
def test_a_collector_is_told_of_each_try_at_a_chain_as_of_one_trace(cli: Cli) -> None:
    with Collector() as collector:
        cli.env["AIEX_TELEMETRY_ENDPOINT"] = collector.url
        ended = cli("model", "test", "fast", "--json")
    assert ended.code == 0, ended.err

    spans = [
        span
        for body in collector.received["/v1/traces"]
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    said = [{one.key: one.value for one in span.attributes} for span in spans]
    assert {span.name for span in spans} == {"chat tiny"}
    assert len({span.trace_id for span in spans}) == 1
    names = [attributes["aiex.provider"].string_value for attributes in said]
    assert (set(names[:-1]), names[-1]) == ({"first"}, "second")
    assert {attributes["gen_ai.provider.name"].string_value for attributes in said} == {"openai"}
    assert ["error.type" in attributes for attributes in said] == [
        name == "first" for name in names
    ]
    assert b"one two three" not in b"".join(collector.received["/v1/traces"])
