"""Which endpoints can be asked, learned from what came of asking: breakers, loads and latencies.

A breaker stands before each provider, which is one key at one address, and before each model of
it. They are fed by what calls come to:

- too many requests (429): that model is left alone for as long as the provider says;
- a wrong or disabled key (401), or a quota that is used up: the provider, until a probe says that
  something changed, or for some minutes;
- overload, server errors, resets and time-outs: the provider, once they come in a row or make up
  half of the latest calls;
- an unknown model (404), or one that the key may not ask (403): that model alone.

What is stopped is tried again by a probe that costs nothing, and not by somebody's call; a rate
that is over needs none. Everything here is a pure state machine: time is told to it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Literal

import msgspec

from aiex.core import (
    AiexError,
    AuthenticationError,
    BreakerChanged,
    BudgetError,
    IncompleteStreamError,
    ModelNotFoundError,
    OverloadedError,
    RateLimitError,
)
from aiex.llm.ports import Announce, Endpoint

__all__ = ["Health", "Place", "Standing", "Stop"]

_MOST_PLACES = 4096
_IN_A_ROW = 5
_LATEST = 20
_LEAST_SEEN = 10
_SECONDS_SEEN = 60.0
_SHORTEST_STOP = 5.0
_LONGEST_STOP = 300.0
_RATE_STOP = 1.0
_LONGEST_RATE_STOP = 3600.0
_KEY_STOP = 30.0
_QUOTA_STOP = 60.0
_MODEL_STOP = 60.0
_DECAY_SECONDS = 10.0
_FORBIDDEN = 403

State = Literal["closed", "open", "half_open"]


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Why something is left alone.

    Attributes:
        reason: Code of the error that stopped it.
        since: Monotonic seconds at which it was stopped.
        until: Monotonic seconds until which it is left alone at least.
        needs_probe: Whether it must answer a probe before it is asked again.
    """

    reason: str
    since: float
    until: float
    needs_probe: bool


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint stands, for who looks at it.

    Attributes:
        state: `closed` while it is asked, `open` while it is left alone, `half_open` while a probe
            is to find out.
        stop: Why it is left alone; `None` if it is not.
        in_flight: Calls under way.
        first_token: Seconds to its first token of late; `None` if none was seen.
    """

    state: State
    stop: Stop | None
    in_flight: int
    first_token: float | None


class _Breaker:
    """Stops calls. Failures of one kind in a row make the stops longer."""

    __slots__ = ("is_probed", "row", "stop")

    def __init__(self) -> None:
        self.stop: Stop | None = None
        self.row = 0
        self.is_probed = False

    def state(self, now: float) -> State:
        stop = self.stop
        if stop is None:
            return "closed"
        if now < stop.until:
            return "open"
        return "half_open" if stop.needs_probe else "closed"

    def open(
        self,
        reason: str,
        *,
        now: float,
        shortest: float,
        longest: float = _LONGEST_STOP,
        needs_probe: bool,
    ) -> float:
        """Stop calls and return for how many seconds."""
        seconds = min(longest, shortest * 2.0 ** min(self.row, 32))
        self.row += 1
        self.stop = Stop(reason=reason, since=now, until=now + seconds, needs_probe=needs_probe)
        self.is_probed = False
        return seconds

    def close(self) -> None:
        """Let calls flow; the next stop is as short as the first."""
        self.stop = None
        self.row = 0
        self.is_probed = False


class _Provider:
    """One key at one address: its breaker, and what its latest calls came to."""

    __slots__ = ("breaker", "failures_in_a_row", "is_local", "latest", "touched")

    def __init__(self) -> None:
        self.breaker = _Breaker()
        self.latest: deque[tuple[float, bool]] = deque(maxlen=_LATEST)
        self.failures_in_a_row = 0
        self.is_local = False
        self.touched = -math.inf

    def is_failing(self, now: float) -> bool:
        """Return whether calls fail in a row, or half of those of late."""
        if self.failures_in_a_row >= _IN_A_ROW:
            return True
        seen = [ok for at, ok in self.latest if now - at <= _SECONDS_SEEN]
        return len(seen) >= _LEAST_SEEN and 2 * seen.count(False) >= len(seen)


class Place:
    """What is known of one model of one provider; `Health` writes it.

    Attributes:
        in_flight: Calls under way.
        first_token: Seconds to its first token: the highest of late, which fades.
        turn: Number of the last call that it was chosen for.
    """

    __slots__ = ("breaker", "first_token", "in_flight", "model", "provider", "seen_at", "turn")

    def __init__(self, provider: _Provider, model: str) -> None:
        self.provider = provider
        self.model = model
        self.breaker = _Breaker()
        self.in_flight = 0
        self.first_token: float | None = None
        self.seen_at = 0.0
        self.turn = 0

    @property
    def is_free(self) -> bool:
        """Whether nothing stops it: the quick look, without a clock."""
        return self.breaker.stop is None and self.provider.breaker.stop is None


class Health:
    """Keeps watch over endpoints.

    Args:
        announce: Told when a breaker opens, is tried and closes; `None` to tell nobody.
    """

    def __init__(self, *, announce: Announce | None = None) -> None:
        self._announce = announce
        self._providers: dict[str, _Provider] = {}
        self._places: dict[tuple[str, str], Place] = {}
        self._turn = 0

    def place(self, endpoint: Endpoint) -> Place:
        """Return what is known of *endpoint*."""
        found = self._places.get((endpoint.provider, endpoint.model))
        return found if found is not None else self._new_place(endpoint)

    def _new_place(self, endpoint: Endpoint) -> Place:
        if len(self._places) >= _MOST_PLACES:  # clients name what they like
            for key, place in list(self._places.items()):
                if place.in_flight == 0 and place.breaker.stop is None:
                    del self._places[key]
        provider = self._providers.setdefault(endpoint.provider, _Provider())
        provider.is_local = endpoint.is_loopback
        place = Place(provider, endpoint.model)
        self._places[endpoint.provider, endpoint.model] = place
        return place

    def standing(self, provider: str, model: str | None, *, now: float) -> Standing:
        """Return how *model* of *provider* stands; `None` for all its models together."""
        places = [
            place
            for (name, other), place in self._places.items()
            if name == provider and model in {None, other}
        ]
        whole = self._providers.get(provider)
        breakers = [] if whole is None else [whole.breaker]
        if model is not None:
            breakers += [place.breaker for place in places]
        stopped = [b for b in breakers if b.state(now) != "closed"]
        longest = max(stopped, key=lambda b: b.stop.until if b.stop else now, default=None)
        seen = [place.first_token for place in places if place.first_token is not None]
        return Standing(
            state="closed" if longest is None else longest.state(now),
            stop=None if longest is None else longest.stop,
            in_flight=sum(place.in_flight for place in places),
            first_token=max(seen, default=None),
        )

    def allows(self, endpoint: Endpoint, *, now: float) -> bool:
        """Return whether nothing stops *endpoint*."""
        place = self.place(endpoint)
        if place.is_free:
            return True
        states = place.breaker.state(now), place.provider.breaker.state(now)
        return states == ("closed", "closed")

    def wants_probe(self, endpoint: Endpoint, *, now: float) -> bool:
        """Return whether *endpoint* may be asked once its provider has answered a probe.

        Not while somebody else probes it.
        """
        place = self.place(endpoint)
        breaker = place.provider.breaker
        return (
            breaker.state(now) == "half_open"
            and not breaker.is_probed
            and place.breaker.state(now) == "closed"
        )

    def probing(self, name: str) -> None:
        """Note that the provider *name* is being probed; `probed` is to follow."""
        breaker = self._providers[name].breaker
        if breaker.stop is not None:
            self._tell(BreakerChanged(provider=name, state="half_opened"))
        breaker.is_probed = True

    def unprobed(self, name: str) -> None:
        """Note that whoever probed the provider *name* went away before it answered."""
        self._providers[name].breaker.is_probed = False

    def cooling(self, endpoint: Endpoint, *, now: float) -> float:
        """Return the seconds that *endpoint*'s provider asked to be left alone still; 0 if none."""
        stop = self.place(endpoint).breaker.stop
        if stop is None or stop.reason != RateLimitError.code:
            return 0.0
        return max(0.0, stop.until - now)

    def begin(self, place: Place) -> None:
        """Note that a call of it begins."""
        self._turn += 1
        place.turn = self._turn
        place.in_flight += 1

    def succeeded(
        self, endpoint: Endpoint, place: Place, *, now: float, first_token: float | None
    ) -> None:
        """Note that a call came to its end."""
        place.in_flight -= 1
        provider = place.provider
        provider.touched = now
        provider.failures_in_a_row = 0
        provider.latest.append((now, True))
        if first_token is not None:
            self._learn(place, first_token, now)
        if not place.is_free:
            if place.breaker.stop is not None:
                self._close(place.breaker, endpoint.provider, endpoint.model)
            if provider.breaker.stop is not None:
                self._close(provider.breaker, endpoint.provider, None)
        place.breaker.row = provider.breaker.row = 0

    def left(self, place: Place) -> None:
        """Note that whoever asked went away, or that nothing was sent: it says nothing."""
        place.in_flight -= 1

    def failed(self, endpoint: Endpoint, place: Place, error: AiexError, *, now: float) -> None:
        """Note that a call failed with *error*."""
        place.in_flight -= 1
        provider = place.provider
        provider.touched = now
        name, model = endpoint.provider, endpoint.model
        match error:
            case RateLimitError():
                seconds = min(error.retry_after or _RATE_STOP, _LONGEST_RATE_STOP)
                self._open(
                    place.breaker, error, name, model, now=now, shortest=seconds, longest=seconds
                )
            case BudgetError():
                self._open(provider.breaker, error, name, None, now=now, shortest=_QUOTA_STOP)
            case AuthenticationError() if error.status != _FORBIDDEN:
                self._open(
                    provider.breaker, error, name, None, now=now, shortest=_KEY_STOP, probe=True
                )
            case AuthenticationError() | ModelNotFoundError():
                self._open(place.breaker, error, name, model, now=now, shortest=_MODEL_STOP)
            case OverloadedError() | IncompleteStreamError():
                self._count_failure(provider, error, name, now)
            case _:
                return  # it is the call that was wrong, or our own limits

    def _count_failure(self, provider: _Provider, error: AiexError, name: str, now: float) -> None:
        provider.failures_in_a_row += 1
        provider.latest.append((now, False))
        if provider.breaker.state(now) == "open" or not provider.is_failing(now):
            return
        shortest = max(_SHORTEST_STOP, error.retry_after or 0.0)
        self._open(provider.breaker, error, name, None, now=now, shortest=shortest, probe=True)

    def due(self, *, now: float, idle: float) -> list[str]:
        """Return the providers to probe: stopped ones whose time is over, and idle local ones.

        Each is named once, until `probed` tells what came of it.

        Args:
            now: Monotonic seconds.
            idle: Seconds without a call after which a provider on this machine is asked whether
                it is still there.
        """
        found = []
        for name, provider in self._providers.items():
            breaker = provider.breaker
            if breaker.is_probed:
                continue
            if breaker.stop is not None:
                if breaker.state(now) != "half_open":
                    continue
            elif not provider.is_local or now - provider.touched < idle:
                continue
            self.probing(name)
            found.append(name)
        return found

    def probed(self, name: str, error: AiexError | None, *, now: float) -> None:
        """Note what a probe of the provider *name* came to."""
        provider = self._providers.get(name)
        if provider is None:
            return
        breaker = provider.breaker
        breaker.is_probed = False
        provider.touched = now
        if error is None:
            provider.failures_in_a_row = 0
            provider.latest.clear()
            if breaker.stop is not None:
                row = breaker.row
                self._close(breaker, name, None)
                breaker.row = row  # until a call proves that it is well, it is on probation
            return
        reason = breaker.stop.reason if breaker.stop is not None else error.code
        shortest = _KEY_STOP if isinstance(error, AuthenticationError) else _SHORTEST_STOP
        was_open = breaker.stop is not None
        seconds = breaker.open(reason, now=now, shortest=shortest, needs_probe=True)
        self._tell_opened(name, None, reason, seconds, is_news=not was_open)

    def forget(self, name: str) -> None:
        """Let calls of the provider *name* flow: its key or its address was changed."""
        provider = self._providers.get(name)
        if provider is not None:
            provider.failures_in_a_row = 0
            provider.latest.clear()
            if provider.breaker.stop is not None:
                self._close(provider.breaker, name, None)

    def places(self) -> Iterator[tuple[str, str, Place]]:
        """Yield provider, model and what is known of it, of everything that was asked."""
        for (provider, model), place in self._places.items():
            yield provider, model, place

    def _learn(self, place: Place, seconds: float, now: float) -> None:
        """Peak EWMA: a slower one counts at once, a quicker one little by little."""
        known = place.first_token
        if known is None or seconds >= known:
            place.first_token = seconds
        else:
            weight = math.exp(-max(0.0, now - place.seen_at) / _DECAY_SECONDS)
            place.first_token = known * weight + seconds * (1.0 - weight)
        place.seen_at = now

    def _open(
        self,
        breaker: _Breaker,
        error: AiexError,
        name: str,
        model: str | None,
        *,
        now: float,
        shortest: float,
        longest: float = _LONGEST_STOP,
        probe: bool = False,
    ) -> None:
        was_open = breaker.state(now) == "open"
        if was_open and breaker.stop is not None:
            is_longer = breaker.stop.until < now + shortest
            if not is_longer or not isinstance(error, RateLimitError):
                return  # calls that were under way when it was stopped say nothing new
        seconds = breaker.open(
            error.code, now=now, shortest=shortest, longest=longest, needs_probe=probe
        )
        self._tell_opened(name, model, error.code, seconds, is_news=not was_open)

    def _close(self, breaker: _Breaker, name: str, model: str | None) -> None:
        breaker.close()
        self._tell(BreakerChanged(provider=name, model=model, state="closed"))

    def _tell_opened(
        self, name: str, model: str | None, reason: str, seconds: float, *, is_news: bool
    ) -> None:
        if is_news:
            self._tell(
                BreakerChanged(
                    provider=name, model=model, state="opened", reason=reason, seconds=seconds
                )
            )

    def _tell(self, change: BreakerChanged) -> None:
        if self._announce is not None:
            self._announce(change)
