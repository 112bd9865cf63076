"""Reads along in a stream whose bytes are passed on as they are: its end, its usage, its errors.

Most events of a stream are pieces of text, which nobody here needs to decode. They are told from
the others by words that can stand nowhere else in JSON (inside a string every quote has a
backslash before it), and only the others are given to the wire's own decoder: so what is found is
what a full decoding finds. A word that matches for another reason costs time and nothing else.

Bytes are given back event by event: half an event that is followed by an error would be one
broken event for the client. An event too large to wait for is passed on in pieces.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from aiex.core import (
    Delta,
    Finish,
    IncompleteStreamError,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)
from aiex.wires import anthropic_messages, ollama, openai_chat, openai_responses
from aiex.wires.fields import ABSENT, UNREADABLE, given
from aiex.wires.streams import StreamDecoder

__all__ = ["SCANNERS", "Redact", "ResponsesScanner", "StreamScanner", "is_empty", "said_bytes"]

_LARGEST_HELD = 64 * 1024
_LARGEST_READ = 16 * 1024 * 1024
_HEAD = 64 * 1024
_TAIL = 256 * 1024
_TYPE = re.compile(rb'"type"\s*:\s*"(response\.(completed|incomplete|failed))"')
_REASON = re.compile(rb'"finish_reason"\s*:\s*("[a-z_]+")')
_DETAILS = re.compile(rb'"incomplete_details"\s*:\s*(\{[^{}]*\})')
_SEQUENCE = re.compile(rb'"sequence_number"\s*:\s*(\d+)')
_REPLY_ID = re.compile(rb'"id"\s*:\s*"([\w.-]+)"')
_USAGE = re.compile(rb'"usage"\s*:\s*(\{(?:[^{}]|\{[^{}]*\})*\})')

Redact = Callable[[str], str]
"""Takes secrets out of a text."""


def is_empty(delta: Delta) -> bool:
    """Return whether *delta* says nothing yet, so that somebody else could still answer."""
    match delta:
        case ReasoningDelta():
            return not (delta.text or delta.signature or delta.encrypted)
        case TextDelta() | RefusalDelta():
            return not delta.text
        case _:
            return False


def _as_it_is(text: str) -> str:
    return text


class StreamScanner(abc.ABC):
    """Reads along in one streamed reply.

    Args:
        drops_usage: Whether to take out the event that tells nothing but the usage, for a client
            that did not ask for it.
        needs_marker: Whether only the very last event ends the reply, because there are several.
        redact: Takes secrets out of an error before it is passed on.

    Attributes:
        has_content: Whether any of the reply has come, or all of a reply that says nothing.
        is_over: Whether nothing more of interest can come: the reply has ended, or failed.
        has_told: Whether an error of the provider was given back as an event of the stream.
        is_open: Whether the beginning of an event was given back, and not yet its end.
        progress: Grows whenever something was generated.
        finish: The end of the reply; `None` until it has come.
    """

    ends: tuple[bytes, ...] = (b"\n\n", b"\n\r\n")
    border: re.Pattern[bytes] = re.compile(rb"\n\r?\n")

    def __init__(
        self,
        *,
        drops_usage: bool = False,
        needs_marker: bool = False,
        redact: Redact = _as_it_is,
    ) -> None:
        self._decoder = self._new_decoder()
        self._drops_usage = drops_usage
        self._needs_marker = needs_marker
        self._redact = redact
        self._held: list[bytes] = []
        self._size = 0
        self._is_cut_short = False
        self._events = 0
        self._bytes = 0
        self._overhead = 0
        self._last = b""
        self.has_content = False
        self.is_over = False
        self.has_told = False
        self.is_open = False
        self.progress = 0
        self.finish: Finish | None = None

    @property
    def spoken_bytes(self) -> int:
        """About how many bytes of text the reply has had so far."""
        return max(self._bytes - self._events * self._overhead, self._events)

    def feed(self, data: bytes) -> bytes:
        """Return what of the stream may be passed on once *data* has come; may be empty."""
        if not self._held and data.endswith(self.ends):
            return self._take(data)
        last = self._border(data)
        if not last:
            return self._hold(data)
        if self.is_open:
            first = self._first_border(data)
            self._close(data[:first])
            passed = data[:first]
            if first < last:
                passed += self._take(data[first:last])
        else:
            whole = b"".join((*self._held, data[:last]))
            self._held.clear()
            passed = self._take(whole)
        self._size = 0
        rest = data[last:]
        return passed + self._hold(rest) if rest else passed

    def end(self) -> bytes:
        """Return what is left to pass on at the end of the stream; `finish` is there then.

        Raises:
            IncompleteStreamError: The terminal marker of the wire did not come.
            ProviderError: The provider sent an error inside the stream.
            LimitError: The same, when a limit or budget was the reason.
        """
        rest = b"".join(self._held)
        self._held.clear()
        if rest and not self.is_over and self._matters(rest):
            self._note(self._decoder.feed(rest))
        is_whole = self._decoder.is_over or b"[DONE]" in rest
        if self._needs_marker and not is_whole:
            raise IncompleteStreamError("the stream ended before its terminal marker")
        self._note(self._decoder.end())
        self.is_over = True
        if self.finish is None:
            raise IncompleteStreamError("the stream ended before its terminal marker")
        return b"" if self.is_open else rest

    # ------------------------------------------------------------ whole events

    def _take(self, whole: bytes) -> bytes:
        """Return what of *whole* events may be passed on."""
        self._last = whole
        if self.is_over:
            return whole if self.finish is not None else b""
        if self.has_content and not self._matters(whole):
            if self._is_generation(whole):
                self.progress += 1
                self._bytes += len(whole)
                self._events += whole.count(b"\n\n") or len(self.border.findall(whole))
            return whole
        return b"".join(self._look(whole))

    def _look(self, whole: bytes) -> Iterator[bytes]:
        for event in self._split(whole):
            if self.is_over:
                yield event
                continue
            if self.has_content and not self._matters(event):
                self.progress += self._is_generation(event)
                self._bytes += len(event)
                self._events += 1
                yield event
                continue
            if self._drops_usage and self._is_only_usage(event):
                self._note(self._decoder.feed(event))
                continue
            had_content = self.has_content
            if not had_content:
                self._begun(event)
            deltas = self._decoder.feed(event)
            self._note(deltas)
            if self.has_content and not had_content:
                self._events, self._bytes = 1, len(event)
                self._overhead = len(event) - said_bytes(deltas)
            if self._decoder.has_failed:
                self.has_told = True
                yield self._redact(event.decode("utf-8", "replace")).encode()
                return
            yield event

    def _note(self, deltas: list[Delta]) -> None:
        for delta in deltas:
            if isinstance(delta, Finish):
                self.finish = delta
                self.has_content = True
            elif not is_empty(delta):
                self.has_content = True
                self.progress += 1
                self._seen(delta)
        self.is_over = self.is_over or self._decoder.is_over

    def _split(self, whole: bytes) -> Iterator[bytes]:
        start = 0
        for end in self.border.finditer(whole):
            yield whole[start : end.end()]
            start = end.end()
        if start < len(whole):
            yield whole[start:]

    # ------------------------------------------------------------ pieces of events

    def _border(self, data: bytes) -> int:
        """Return where in *data* the last whole event ends; 0 if none does."""
        before = self._before()
        joined = before + data
        found = [joined.rfind(end) + len(end) for end in self.ends if end in joined]
        return max(found) - len(before) if found else 0

    def _first_border(self, data: bytes) -> int:
        before = self._before()
        found = self.border.search(before + data)
        return found.end() - len(before) if found else 0

    def _before(self) -> bytes:
        """Return the last bytes that are held, in which the end of an event may begin."""
        if not self._held:
            return b""
        last = self._held[-1]
        if len(last) < 2 and len(self._held) > 1:
            last = self._held[-2][-1:] + last
        return last[-2:]

    def _hold(self, data: bytes) -> bytes:
        """Keep *data*, which ends inside of an event; return what need not wait for its end."""
        was_open = self.is_open
        self._held.append(data)
        self._size += len(data)
        self.is_open = was_open or self._size > _LARGEST_HELD
        if not self.is_open:
            return b""
        self.progress += 1
        passed = data if was_open else b"".join(self._held)
        if self._size > _LARGEST_READ:
            self._cut_short()
        return passed

    def _cut_short(self) -> None:
        held = b"".join(self._held)
        head, tail = held[:_HEAD], held[-_TAIL:]
        self._is_cut_short = True
        self._held = [head, tail]
        self._size = len(head) + len(tail)

    def _close(self, data: bytes) -> None:
        """Read the event that *data* ends, and whose beginning was given back before."""
        event = b"".join((*self._held, data))
        self._held.clear()
        self.is_open = False
        if self._is_cut_short:
            self._is_cut_short = False
            event = _essence(event[:_HEAD], event[-_TAIL:])
        if not self.is_over and (not self.has_content or self._matters(event)):
            self._note(self._decoder.feed(event))

    # ------------------------------------------------------------ what a wire knows

    @staticmethod
    @abc.abstractmethod
    def _new_decoder() -> StreamDecoder:
        """Return a decoder of the wire."""

    @abc.abstractmethod
    def _matters(self, data: bytes) -> bool:
        """Return whether *data*, of several events, may hold more than pieces of the reply."""

    @abc.abstractmethod
    def _is_generation(self, data: bytes) -> bool:
        """Return whether *data* holds a piece of the reply, and not only signs of life."""

    def _seen(self, delta: Delta) -> None:  # noqa: B027 - most wires have nothing to note
        """Note what *delta* tells about the end to come."""

    def _begun(self, event: bytes) -> None:  # noqa: B027 - as above
        """Note what an *event* before the first content tells."""

    def _is_only_usage(self, event: bytes) -> bool:
        """Return whether *event* tells the usage and nothing else."""
        return False


def said_bytes(deltas: Iterable[Delta]) -> int:
    """Return the bytes of text in *deltas*."""
    size = 0
    for delta in deltas:
        if isinstance(delta, ToolCallDelta):
            size += len(delta.arguments.encode())
        elif isinstance(delta, TextDelta | RefusalDelta | ReasoningDelta):
            size += len(delta.text.encode("utf-8", "replace"))
    return size


def _essence(head: bytes, tail: bytes) -> bytes:
    """Return an event with what counts of one whose middle was not kept."""
    reason, usages, kind = _REASON.search(tail), _USAGE.findall(tail), _TYPE.search(head)
    usage = usages[-1] if usages else b"null"
    if kind is not None:
        details = _DETAILS.search(head)
        return (
            b'data: {"type":"%b","response":{"status":"%b","usage":%b,"incomplete_details":%b}}\n\n'
            % (kind[1], kind[2], usage, b"null" if details is None else details[1])
        )
    choice = b'{"index":0,"delta":{},"finish_reason":%b}' % (reason[1] if reason else b"null")
    return b'data: {"choices":[%b],"usage":%b}\n\n' % (choice, usage)


class _Chunk(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = ABSENT


_CHUNK = msgspec.json.Decoder(_Chunk)


class _ChatScanner(StreamScanner):
    """Chat completions: a `finish_reason`, then perhaps the usage, then `[DONE]`."""

    def __init__(
        self,
        *,
        drops_usage: bool = False,
        needs_marker: bool = False,
        redact: Redact = _as_it_is,
    ) -> None:
        super().__init__(drops_usage=drops_usage, needs_marker=needs_marker, redact=redact)
        self._has_calls = False
        self._has_refusal = False

    @staticmethod
    def _new_decoder() -> StreamDecoder:
        return openai_chat.StreamDecoder()

    def _matters(self, data: bytes) -> bool:
        found = data.count(b'finish_reason"')
        if found and found != (
            data.count(b'finish_reason":null') or data.count(b'finish_reason": null')
        ):
            return True
        found = data.count(b'"usage"')
        if found and found != (data.count(b'"usage":null') or data.count(b'"usage": null')):
            return True
        if b"[DONE]" in data or b'"error"' in data:
            return True
        # Some servers say `stop` all the same when there are calls, or a refusal.
        if not self._has_calls and b'"tool_calls"' in data:
            return True
        return not self._has_refusal and (b'"refusal":"' in data or b'"refusal": "' in data)

    def _is_generation(self, data: bytes) -> bool:
        return b'"delta"' in data

    def _seen(self, delta: Delta) -> None:
        self._has_calls = self._has_calls or isinstance(delta, ToolCallDelta)
        self._has_refusal = self._has_refusal or isinstance(delta, RefusalDelta)

    def _is_only_usage(self, event: bytes) -> bool:
        if b'"usage"' not in event:
            return False
        lines = [line.removesuffix(b"\r") for line in event.split(b"\n")]
        data = b"\n".join(line[5:] for line in lines if line.startswith(b"data:"))
        try:
            chunk = _CHUNK.decode(data)
        except UNREADABLE:
            return False
        return chunk.choices == [] and given(chunk.usage)


class ResponsesScanner(StreamScanner):
    """Responses: one of three last events, which hold the whole response once more.

    Attributes:
        reply_id: Identifier of the response; empty until it was told.
    """

    def __init__(
        self,
        *,
        drops_usage: bool = False,
        needs_marker: bool = False,
        redact: Redact = _as_it_is,
    ) -> None:
        super().__init__(drops_usage=drops_usage, needs_marker=needs_marker, redact=redact)
        self.reply_id = ""

    @property
    def sequence(self) -> int:
        """Number of the last event that was given back; -1 before the first."""
        numbers = _SEQUENCE.findall(self._last)
        return int(numbers[-1]) if numbers else -1

    def _begun(self, event: bytes) -> None:
        found = None if self.reply_id else _REPLY_ID.search(event)
        if found is not None:
            self.reply_id = found[1].decode()

    @staticmethod
    def _new_decoder() -> StreamDecoder:
        return openai_responses.StreamDecoder()

    def _matters(self, data: bytes) -> bool:
        return (
            b"response.completed" in data
            or b'"error"' in data
            or b"response.incomplete" in data
            or b"response.failed" in data
        )

    def _is_generation(self, data: bytes) -> bool:
        return b'"response.' in data


class _MessagesScanner(StreamScanner):
    """Messages: `message_delta` with reason and usage, then `message_stop`."""

    @staticmethod
    def _new_decoder() -> StreamDecoder:
        return anthropic_messages.StreamDecoder()

    def _matters(self, data: bytes) -> bool:
        return b'"message_' in data or b'"error"' in data

    def _is_generation(self, data: bytes) -> bool:
        return b'"content_block_' in data


class _OllamaScanner(StreamScanner):
    """Ollama's chat: a line that is done."""

    ends = (b"\n",)
    border = re.compile(rb"\n")

    @staticmethod
    def _new_decoder() -> StreamDecoder:
        return ollama.StreamDecoder()

    def _matters(self, data: bytes) -> bool:
        return (
            b'"done":true' in data
            or b'"done": true' in data
            or b'"error"' in data
            or b'"tool_calls"' in data
        )

    def _is_generation(self, data: bytes) -> bool:
        return b'"message"' in data


SCANNERS: dict[str, type[StreamScanner]] = {
    openai_chat.WIRE: _ChatScanner,
    openai_responses.WIRE: ResponsesScanner,
    anthropic_messages.WIRE: _MessagesScanner,
    ollama.WIRE: _OllamaScanner,
}
"""The scanner of each wire, by its name."""
