from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from aiex.app.compose import House
from aiex.app.config import load
from aiex.app.telemetry import Telemetry, exporters
from aiex.core import (
    CompleteArguments,
    ConfigurationError,
    Message,
    Passthrough,
    Redactor,
    TextPart,
    Usage,
)
from aiex.llm import CallRecord, Pricing, TokenCounter, load_table
from aiex.llm.relay import Relay
from aiex.runtime import SystemClock
from aiex.testing.collector import Collector

pytestmark = pytest.mark.anyio

AT = datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC)
AT_NS = int(AT.timestamp()) * 10**9
PROMPT = [Message(role="user", parts=(TextPart(text="my secret is hunter2"),))]


def call(**more: Any) -> CallRecord:
    given: dict[str, Any] = {
        "id": "call_1",
        "request_id": "req_1",
        "at": AT,
        "user": "ann",
        "interface": "http",
        "verb": "complete",
        "provider": "work",
        "model": "gpt-5",
        "answered_by": "gpt-5-2026",
        "attempt": 1,
        "outcome": "ok",
        "finish": "stop",
        "estimated_input_tokens": 10,
        "duration_ms": 1500,
        "usage": Usage(
            input_tokens=100,
            output_tokens=20,
            cached_input_tokens=40,
            cache_write_5m_tokens=3,
            cache_write_1h_tokens=4,
            reasoning_tokens=5,
        ),
        "cost_usd_micros": 7,
    }
    return CallRecord(**{**given, **more})


class Kept:
    """A sink that has what it was given."""

    def __init__(self) -> None:
        self.calls: list[CallRecord] = []

    async def record(self, call: CallRecord) -> None:
        self.calls.append(call)


class Told:
    """What OpenTelemetry was told of some calls, after their sink was closed."""

    def __init__(self) -> None:
        self.spans: tuple[ReadableSpan, ...] = ()
        self.points: dict[str, list[HistogramDataPoint]] = {}

    def attributes(self, which: int = 0) -> dict[str, Any]:
        return dict(self.spans[which].attributes or {})


class _Reader(InMemoryMetricReader):
    """Reads once more when it is shut down, as one that exports does."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told = told

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        data = self.get_metrics_data()
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self._told.points[metric.name] = [
                        point
                        for point in metric.data.data_points
                        if isinstance(point, HistogramDataPoint)
                    ]
        super().shutdown(timeout_millis, **kwargs)


async def tell(*calls: CallRecord, redact: Callable[[str], str] | None = None) -> Told:
    told, spans, kept = Told(), InMemorySpanExporter(), Kept()

    def made() -> Telemetry:
        return Telemetry(
            kept,
            spans=SimpleSpanProcessor(spans),
            metrics=_Reader(told),
            kinds={"work": "openai"},
            redact=redact,
        )

    async with await anyio.to_thread.run_sync(made) as telemetry:
        for one in calls:
            await telemetry.record(one)
    assert kept.calls == list(calls)
    told.spans = spans.get_finished_spans()
    return told


async def test_a_call_is_a_span_with_the_names_of_the_conventions() -> None:
    told = await tell(call())

    (span,) = told.spans
    assert span.name == "chat gpt-5"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert (span.start_time, span.end_time) == (AT_NS, AT_NS + 1_500_000_000)
    assert told.attributes() == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.response.model": "gpt-5-2026",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.cache_creation.input_tokens": 7,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "aiex.usage.is_estimated": False,
        "aiex.request.id": "req_1",
        "aiex.call.id": "call_1",
        "aiex.attempt": 1,
        "aiex.provider": "work",
        "aiex.verb": "complete",
        "aiex.interface": "http",
        "aiex.cost_usd_micros": 7,
    }


async def test_vectors_are_another_operation() -> None:
    told = await tell(call(operation="embeddings"))

    assert [span.name for span in told.spans] == ["embeddings gpt-5"]
    assert told.attributes()["gen_ai.operation.name"] == "embeddings"


async def test_the_tries_of_one_request_are_one_trace() -> None:
    told = await tell(call(outcome="overloaded"), call(attempt=2), call(request_id="req_2"))

    first, second, other = [span.context for span in told.spans]
    assert first is not None
    assert second is not None
    assert other is not None
    assert first.trace_id == second.trace_id != other.trace_id
    assert first.span_id != second.span_id


async def test_a_failed_call_says_why_and_one_that_was_left_is_no_error() -> None:
    told = await tell(call(outcome="rate_limited", usage=None), call(outcome="cancelled"))

    assert [span.status.status_code for span in told.spans] == [
        StatusCode.ERROR,
        StatusCode.UNSET,
    ]
    assert [told.attributes(n)["error.type"] for n in (0, 1)] == ["rate_limited", "cancelled"]
    durations = told.points["gen_ai.client.operation.duration"]
    assert {(point.attributes or {})["error.type"] for point in durations} == {
        "rate_limited",
        "cancelled",
    }


async def test_tokens_and_seconds_are_counted_by_model_and_kind() -> None:
    told = await tell(call(), call())

    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.response.model": "gpt-5-2026",
    }
    (seconds,) = told.points["gen_ai.client.operation.duration"]
    assert (dict(seconds.attributes or {}), seconds.count, seconds.sum) == (common, 2, 3.0)
    assert tuple(seconds.explicit_bounds)[:3] == (0.01, 0.02, 0.04)
    tokens = {
        str((point.attributes or {})["gen_ai.token.type"]): (point.count, point.sum)
        for point in told.points["gen_ai.client.token.usage"]
    }
    assert tokens == {"input": (2, 200), "output": (2, 40)}


async def test_tokens_of_our_own_count_are_in_no_metric() -> None:
    told = await tell(call(usage_is_estimated=True))

    assert "gen_ai.client.token.usage" not in told.points
    assert told.attributes()["aiex.usage.is_estimated"] is True


RECORDED = {"prompt": msgspec.json.encode(PROMPT).decode(), "reply": "so hunter2 it is"}


async def test_content_is_sent_only_where_it_is_asked_for() -> None:
    told = await tell(call(**RECORDED))

    assert "hunter2" not in repr(told.attributes())
    assert not {"gen_ai.input.messages", "gen_ai.output.messages"} & set(told.attributes())


async def test_content_that_is_sent_has_the_form_of_the_conventions_and_no_secret() -> None:
    told = await tell(call(**RECORDED), redact=lambda text: text.replace("hunter2", "[x]"))

    attributes = told.attributes()
    assert json.loads(attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "my secret is [x]"}]}
    ]
    assert json.loads(attributes["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "so [x] it is"}],
            "finish_reason": "stop",
        }
    ]


@pytest.fixture
def collector() -> Iterator[tuple[str, dict[str, list[bytes]]]]:
    with Collector() as made:
        yield made.url, made.received


async def test_a_collector_gets_what_was_told_before_the_end(
    collector: tuple[str, dict[str, list[bytes]]],
) -> None:
    address, received = collector

    def made() -> Telemetry:
        spans, metrics = exporters(address + "/")
        return Telemetry(Kept(), spans=spans, metrics=metrics, kinds={})

    async with await anyio.to_thread.run_sync(made) as telemetry:
        await telemetry.record(call())

    (body,) = received["/v1/traces"]
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert {"service.name": "aiex"}.items() <= {
        one.key: one.value.string_value for one in resource.resource.attributes
    }.items()
    assert [span.name for span in resource.scope_spans[0].spans] == ["chat gpt-5"]
    names = {
        metric.name
        for body in received["/v1/metrics"]
        for resource_metrics in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in resource_metrics.scope_metrics
        for metric in scope.metrics
    }
    assert names == {"gen_ai.client.token.usage", "gen_ai.client.operation.duration"}


async def test_the_setting_makes_calls_go_to_the_collector_and_to_the_store(
    collector: tuple[str, dict[str, list[bytes]]], tmp_path: Path
) -> None:
    address, received = collector
    env = {
        "HOME": str(tmp_path),
        "AIEX_STATE_DIRECTORY": str(tmp_path / "state"),
        "AIEX_TELEMETRY_ENDPOINT": address,
    }
    house = House(await anyio.to_thread.run_sync(lambda: load(env, root=None)), env)

    async with await house.open():
        await house.calls.record(call(**RECORDED))
        await house.interactions.flush()
        assert (await house.interactions.get("call_1")).model == "gpt-5"

    (body,) = received["/v1/traces"]
    assert b"chat gpt-5" in body
    assert b"hunter2" not in body


@pytest.mark.parametrize(
    ("path", "kind", "operation"),
    [
        ("openai_chat", "complete", "chat"),
        ("openai_embeddings", "embed", "embeddings"),
        ("anthropic_messages", "count", "count_tokens"),
    ],
)
def test_what_a_client_asks_for_is_known(path: str, kind: Any, operation: str) -> None:
    relay = Relay(
        counter=TokenCounter(),
        pricing=Pricing(load_table()),
        clock=SystemClock(),
        entropy=bytes,
        redact=Redactor(),
    )
    asked = relay.of(
        CompleteArguments(model="gpt-5", kind=kind),
        Passthrough(wire=path, body=b'{"model":"gpt-5"}'),
    )

    assert asked.operation == operation


def test_without_the_extra_it_is_said_how_to_get_it() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import aiex.app.telemetry"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "OpenTelemetry is not installed" in done.stderr


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="endpoint"):
        load({"AIEX_TELEMETRY_ENDPOINT": "collector:4318", "HOME": str(tmp_path)}, root=None)


def test_nothing_of_opentelemetry_is_imported_without_the_setting(tmp_path: Path) -> None:
    code = (
        "import sys, anyio\n"
        "from aiex.app.compose import House\n"
        "from aiex.app.config import load\n"
        "async def main():\n"
        "    house = House(load(env, root=None), env)\n"
        "    async with await house.open():\n"
        "        house.coordinator()\n"
        "        assert house.calls is house.interactions\n"
        "env = {'HOME': sys.argv[1], 'AIEX_STATE_DIRECTORY': sys.argv[1] + '/state'}\n"
        "anyio.run(main)\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert (done.stderr, done.stdout) == ("", "[]\n")
