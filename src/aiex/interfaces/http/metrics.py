"""What the door counts of itself, in Prometheus's text form (version 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class _Histogram:
    """How many of what was seen lay below each bound."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_SECONDS) + 1)
        self.total = 0.0

    def see(self, seconds: float) -> None:
        """Count *seconds*."""
        self.counts[bisect_left(_SECONDS, seconds)] += 1
        self.total += seconds

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Yield its samples."""
        so_far = 0
        for bound, count in zip((*_SECONDS, "+Inf"), self.counts, strict=True):
            so_far += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {so_far}'
        yield f"{name}_sum{{{labels}}} {self.total:.6f}"
        yield f"{name}_count{{{labels}}} {so_far}"


class Metrics:
    """Counts of requests, and of what they used.

    Attributes:
        in_flight: Requests of models that are being answered.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self._requests: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self._latency: defaultdict[str, _Histogram] = defaultdict(_Histogram)
        self._first: defaultdict[str, _Histogram] = defaultdict(_Histogram)

    def answered(self, verb: str, wire: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            verb: Verb that was asked for.
            wire: Wire of the client.
            status: HTTP status; 499 where the client left before there was one.
            seconds: From the request's head to the end of the answer.
        """
        self._requests[verb, wire, status] += 1
        self._latency[wire].see(seconds)

    def began(self, wire: str, seconds: float) -> None:
        """Count the first content of an answer, *seconds* after the request's head."""
        self._first[wire].see(seconds)

    def text(self, *, connections: int, refused: int) -> str:
        """Return all samples.

        Args:
            connections: Connections that are open.
            refused: Connections that were refused since the start, for their number.
        """
        return "\n".join(self._lines(connections, refused)) + "\n"

    def _lines(self, connections: int, refused: int) -> Iterator[str]:
        yield from _head("aiex_http_requests_total", "counter", "Answers given.")
        for (verb, wire, status), count in sorted(self._requests.items()):
            labels = f'verb="{verb}",wire="{wire}",status="{status}"'
            yield f"aiex_http_requests_total{{{labels}}} {count}"
        named: Iterable[tuple[str, str, dict[str, _Histogram]]] = (
            ("aiex_http_request_seconds", "Seconds to the end of an answer.", self._latency),
            ("aiex_http_first_content_seconds", "Seconds to the first content.", self._first),
        )
        for name, text, histograms in named:
            yield from _head(name, "histogram", text)
            for wire, histogram in sorted(histograms.items()):
                yield from histogram.lines(name, f'wire="{wire}"')
        for name, kind, text, value in (
            ("aiex_http_in_flight", "gauge", "Requests being answered.", self.in_flight),
            ("aiex_http_connections", "gauge", "Open connections.", connections),
            ("aiex_http_refused_connections_total", "counter", "Connections refused.", refused),
        ):
            yield from _head(name, kind, text)
            yield f"{name} {value}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
