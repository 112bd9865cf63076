"""Traces and metrics of calls of models for OpenTelemetry, made of what is recorded of each.

The names are those of its conventions for generative AI. A call is handed over when it has ended
and costs an append; a worker thread makes a span and metrics of it. This module is imported only
where the settings name a collector.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version
from types import TracebackType
from typing import Any, Final, Self

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskGroup

from aiex.core import Message, TextPart, UnavailableError
from aiex.llm import CallRecord, CallSink

try:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ImportError as missing:
    raise UnavailableError(
        "OpenTelemetry is not installed, and the setting telemetry.endpoint asks for it",
        hint="pip install 'aiex[otel]', or remove the setting: aiex config path says from where",
    ) from missing

__all__ = ["Telemetry", "exporters"]

_LOG = logging.getLogger(__name__)
_WAITING = 5000
_LINGER = 0.2  # seconds in which calls are collected for one turn of the thread
_EXPORT_SECONDS = 2.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOKENS: Final = tuple(4**power for power in range(14))
_SECONDS: Final = tuple(0.01 * 2**power for power in range(14))


class Telemetry:
    """A sink that passes each call's record on, and tells OpenTelemetry of it.

    Making one blocks: it looks at what is installed.

    Args:
        sink: Takes the records besides.
        spans: Takes the spans.
        metrics: Reads the metrics.
        kinds: Kind of each provider that has a name of its own.
        redact: Takes secrets out of content; `None` to send no content at all.
    """

    def __init__(
        self,
        sink: CallSink,
        *,
        spans: SpanProcessor,
        metrics: MetricReader,
        kinds: Mapping[str, str],
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self._sink = sink
        self._kinds = kinds
        self._redact = redact
        self._waiting: deque[CallRecord] = deque()
        self._arrived: anyio.Event
        self._tasks: TaskGroup | None = None
        self._ids = _IdsOfRequests()
        self._lost = 0
        resource = _resource()
        self._traces = TracerProvider(
            resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )
        self._traces.add_span_processor(spans)
        self._meters = MeterProvider([metrics], resource=resource, shutdown_on_exit=False)
        self._tracer = self._traces.get_tracer("aiex", version("aiex"))
        meter = self._meters.get_meter("aiex", version("aiex"))
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._durations = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )

    @property
    def lost(self) -> int:
        """Calls that OpenTelemetry was not told of, because too many waited."""
        return self._lost

    async def __aenter__(self) -> Self:
        self._arrived = anyio.Event()
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._tell)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._tell_now)
            # At the same time: each gives a collector that does not answer `_EXPORT_SECONDS`.
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.to_thread.run_sync, self._traces.shutdown)
                tasks.start_soon(anyio.to_thread.run_sync, self._end_metrics)

    async def record(self, call: CallRecord) -> None:
        """Pass *call* on and keep it for the thread; never waits for a collector."""
        await self._sink.record(call)
        if len(self._waiting) >= _WAITING:
            self._lost += 1
            _LOG.warning("a call is missing in telemetry: too many wait")
            return
        self._waiting.append(call)
        self._arrived.set()

    async def _tell(self) -> None:
        while True:
            await self._arrived.wait()
            await anyio.sleep(_LINGER)
            self._arrived = anyio.Event()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._tell_now)

    def _tell_now(self) -> None:
        while self._waiting:
            call = self._waiting.popleft()
            try:
                self._tell_of(call)
            except Exception:  # noqa: BLE001 - what is told must not end what tells the next
                _LOG.exception("a call is missing in telemetry")

    def _end_metrics(self) -> None:
        self._meters.shutdown(timeout_millis=_EXPORT_SECONDS * 1000)

    def _tell_of(self, call: CallRecord) -> None:
        common: dict[str, Any] = {
            "gen_ai.operation.name": call.operation,
            "gen_ai.provider.name": self._kinds.get(call.provider, call.provider),
            "gen_ai.request.model": call.model,
        }
        if call.answered_by is not None:
            common["gen_ai.response.model"] = call.answered_by
        failed = {} if call.outcome == "ok" else {"error.type": call.outcome}
        self._durations.record(call.duration_ms / 1000, common | failed)
        if call.usage is not None and not call.usage_is_estimated:
            for which, count in (
                ("input", call.usage.input_tokens),
                ("output", call.usage.output_tokens),
            ):
                self._tokens.record(count, common | {"gen_ai.token.type": which})
        self._ids.request_id = call.request_id
        span = self._tracer.start_span(
            f"{call.operation} {call.model}",
            kind=SpanKind.CLIENT,
            start_time=_nanoseconds(call.at),
            attributes=common | failed | self._details(call),
        )
        if call.outcome not in ("ok", "cancelled"):
            span.set_status(Status(StatusCode.ERROR, call.outcome))
        span.end(_nanoseconds(call.at + timedelta(milliseconds=call.duration_ms)))

    def _details(self, call: CallRecord) -> dict[str, Any]:
        usage = call.usage
        given: dict[str, Any] = {
            "aiex.request.id": call.request_id,
            "aiex.call.id": call.id,
            "aiex.attempt": call.attempt,
            "aiex.provider": call.provider,
            "aiex.verb": call.verb,
            "aiex.interface": call.interface,
            "aiex.cost_usd_micros": call.cost_usd_micros,
            "aiex.first_token_ms": call.first_token_ms,
            "gen_ai.response.finish_reasons": None if call.finish is None else [call.finish],
        }
        if usage is not None:
            given |= {
                "aiex.usage.is_estimated": call.usage_is_estimated,
                "gen_ai.usage.input_tokens": usage.input_tokens,
                "gen_ai.usage.output_tokens": usage.output_tokens,
                "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
                "gen_ai.usage.cache_creation.input_tokens": (
                    usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
                ),
                "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
            }
        if self._redact is not None:
            given |= {
                "gen_ai.input.messages": _prompt_of(call, self._redact),
                "gen_ai.output.messages": _reply_of(call, self._redact),
            }
        return {name: value for name, value in given.items() if value is not None}


class _IdsOfRequests(RandomIdGenerator):
    """Gives the spans of one request one trace. For one thread at a time.

    Attributes:
        request_id: Request that the next span belongs to.
    """

    request_id = ""

    def generate_trace_id(self) -> int:
        """Return the number of the request's trace."""
        return int.from_bytes(sha256(self.request_id.encode()).digest()[:16], "big") or 1


def exporters(address: str) -> tuple[SpanProcessor, MetricReader]:
    """Return what sends spans and metrics to the collector at *address*, by OTLP over HTTP. Blocks.

    Args:
        address: Its address, without `/v1/traces`. What it takes to be let in is in the variable
            `OTEL_EXPORTER_OTLP_HEADERS`.
    """
    base = address.rstrip("/")
    return (
        BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=_EXPORT_SECONDS)),
        PeriodicExportingMetricReader(
            OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=_EXPORT_SECONDS)
        ),
    )


def _resource() -> Resource:
    own: dict[str, Any] = {"service.version": version("aiex")}
    if "OTEL_SERVICE_NAME" not in os.environ:
        own["service.name"] = "aiex"
    return Resource.create(own)


def _prompt_of(call: CallRecord, redact: Callable[[str], str]) -> str | None:
    """Return the prompt in the conventions' form: a list of messages as JSON, text as `content`."""
    if call.prompt is None:
        return None
    messages = [
        {"role": message.role, "parts": [_part_of(part, redact) for part in message.parts]}
        for message in msgspec.json.decode(call.prompt, type=list[Message])
    ]
    return msgspec.json.encode(messages).decode()


def _part_of(part: object, redact: Callable[[str], str]) -> dict[str, str]:
    """Return text as it is, and of anything else only what it is."""
    if isinstance(part, TextPart):
        return {"type": "text", "content": redact(part.text)}
    return {"type": type(part).__name__.removesuffix("Part").lower()}


def _reply_of(call: CallRecord, redact: Callable[[str], str]) -> str | None:
    """Return the reply in the conventions' form: a list of messages as JSON."""
    if call.reply is None:
        return None
    message = {
        "role": "assistant",
        "parts": [{"type": "text", "content": redact(call.reply)}],
        "finish_reason": call.finish or "error",
    }
    return msgspec.json.encode([message]).decode()


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
