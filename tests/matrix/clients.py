"""The official SDKs, asked alike, and what each of them made of the answer."""

from __future__ import annotations

import json
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Literal, Self, get_args

import anthropic
import anyio.from_thread
import httpx2
import msgspec
import openai
import pydantic
from tests.matrix.questions import Question, as_chat, as_messages, as_responses

ClientWire = Literal["chat", "responses", "messages"]
Mode = Literal["sync stream", "async stream", "sync whole", "async whole"]
MODES: tuple[Mode, ...] = get_args(Mode)


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """An error as the SDK told of it.

    Attributes:
        status: HTTP status; `None` for an error inside a stream, or of the connection.
        kind: The wire's type of it.
        code: The wire's code of it.
        message: Its words.
        retry_after: The header `retry-after`.
    """

    status: int | None
    kind: str | None = None
    code: str | None = None
    message: str = ""
    retry_after: str | None = None


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Usage as the client's wire names it; input counts what was cached and written too."""

    input: int
    output: int
    cached: int = 0
    written: int = 0
    reasoning: int = 0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a client made of an answer."""

    text: str = ""
    refusal: str = ""
    thinking: str = ""
    signature: str = ""
    hidden: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    finish: str | None = None
    usage: Tokens | None = None
    trouble: Trouble | None = None
    model: str = ""


class Answer(pydantic.BaseModel):
    """What the scenario `json` says."""

    answer: str
    sure: bool


class Clients:
    """One client of each SDK, synchronous and not, for one address. A plain context manager.

    Args:
        url: Address without a path.
        key: Key that they show.
    """

    def __init__(self, url: str, key: str = "sk-test") -> None:
        self._url = url
        self._key = key
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        told: dict[str, Any] = {"api_key": self._key, "max_retries": 0, "timeout": 60}
        portal = self._exits.enter_context(anyio.from_thread.start_blocking_portal())
        self._portal = portal
        self._openai = openai.OpenAI(base_url=f"{self._url}/v1", **told)
        self._anthropic = anthropic.Anthropic(base_url=self._url, **told)
        self._exits.callback(self._openai.close)
        self._exits.callback(self._anthropic.close)
        self._async_openai = openai.AsyncOpenAI(base_url=f"{self._url}/v1", **told)
        self._async_anthropic = anthropic.AsyncAnthropic(base_url=self._url, **told)
        self._exits.callback(portal.call, self._async_openai.close)
        self._exits.callback(portal.call, self._async_anthropic.close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.close()

    def ask(self, wire: ClientWire, mode: Mode, model: str, question: Question) -> Seen:
        """Return what the client of *wire* made of the answer."""
        reader: _Reader = _READERS[wire]()
        try:
            if mode.startswith("async"):
                self._portal.call(self._later, wire, mode, model, question, reader)
            else:
                self._now(wire, mode, model, question, reader)
        except json.JSONDecodeError as error:
            return reader.seen(Trouble(status=None, kind="garbage", message=str(error)))
        except (openai.APIError, anthropic.APIError, httpx2.HTTPError) as error:
            return reader.seen(_trouble(error))
        return reader.seen(None)

    def notice(self, wire: ClientWire, model: str, question: Question) -> str | None:
        """Return what the answer says that the provider was not told.

        Raises:
            openai.APIStatusError: It is refused.
            anthropic.APIStatusError: The same.
        """
        found = _call(
            _Raw(self._openai), _Raw(self._anthropic), wire, "sync whole", model, question
        )
        notice = found.headers.get("x-aiex-notice")
        return None if notice is None else str(notice)

    def parsed(self, wire: ClientWire, helper: Literal["parse", "stream"], model: str) -> object:
        """Return what a helper of the SDK makes of an answer that has to be an `Answer`."""
        messages: Any = [{"role": "user", "content": "Answer in JSON."}]
        asked: dict[str, Any] = {"model": model, "messages": messages}
        if wire == "chat":
            completions = self._openai.chat.completions
            if helper == "parse":
                whole: Any = completions.parse(**asked, response_format=Answer)
            else:
                with completions.stream(**asked, response_format=Answer) as chunks:
                    whole = chunks.get_final_completion()
            return whole.choices[0].message.parsed
        if wire == "responses":
            responses: Any = self._openai.responses
            if helper == "parse":
                return responses.parse(
                    model=model, input=messages, text_format=Answer
                ).output_parsed
            with responses.stream(model=model, input=messages, text_format=Answer) as events:
                return events.get_final_response().output_parsed
        asked["max_tokens"] = 4096
        if helper == "parse":
            return self._anthropic.messages.parse(**asked, output_format=Answer).parsed_output
        with self._anthropic.messages.stream(**asked, output_format=Answer) as pieces:
            return pieces.get_final_message().parsed_output

    def post(self, path: str, body: object) -> httpx2.Response:
        """Return the answer to a POST of *body*, without an SDK."""
        headers = {"authorization": f"Bearer {self._key}", "anthropic-version": "2023-06-01"}
        return httpx2.post(f"{self._url}{path}", json=body, headers=headers, timeout=60)

    def _now(
        self, wire: ClientWire, mode: Mode, model: str, question: Question, reader: _Reader
    ) -> None:
        found = _call(self._openai, self._anthropic, wire, mode, model, question)
        if mode.endswith("stream"):
            with found:
                for event in found:
                    reader.event(event)
        else:
            reader.whole(found)

    async def _later(
        self, wire: ClientWire, mode: Mode, model: str, question: Question, reader: _Reader
    ) -> None:
        found = await _call(self._async_openai, self._async_anthropic, wire, mode, model, question)
        if mode.endswith("stream"):
            async with found:
                async for event in found:
                    reader.event(event)
        else:
            reader.whole(found)


class _Raw:
    """A client of an SDK that gives whole answers, headers too."""

    def __init__(self, client: Any) -> None:
        for name in ("responses", "messages"):
            if hasattr(client, name):
                setattr(self, name, getattr(client, name).with_raw_response)
        self.chat = client.chat.with_raw_response if hasattr(client, "chat") else None


def _call(
    openai_client: Any,
    anthropic_client: Any,
    wire: ClientWire,
    mode: Mode,
    model: str,
    question: Question,
) -> Any:
    stream: dict[str, Any] = {"stream": True} if mode.endswith("stream") else {}
    match wire:
        case "chat":
            if stream:
                stream["stream_options"] = {"include_usage": True}
            asked = as_chat(question)
            return openai_client.chat.completions.create(model=model, **asked, **stream)
        case "responses":
            return openai_client.responses.create(model=model, **as_responses(question), **stream)
        case "messages":
            return anthropic_client.messages.create(model=model, **as_messages(question), **stream)


def _trouble(error: Exception) -> Trouble:
    if isinstance(error, openai.APIStatusError):
        return Trouble(
            status=error.status_code,
            kind=error.type,
            code=error.code,
            message=_message_in(error.body) or error.message,
            retry_after=error.response.headers.get("retry-after"),
        )
    if isinstance(error, anthropic.APIStatusError):
        said = error.body if isinstance(error.body, dict) else {}
        inner = said.get("error") or {}
        is_whole = error.status_code != 200
        return Trouble(
            status=error.status_code if is_whole else None,
            kind=inner.get("type"),
            message=inner.get("message", ""),
            retry_after=error.response.headers.get("retry-after"),
        )
    if isinstance(error, openai.APIConnectionError | anthropic.APIConnectionError):
        return Trouble(status=None, kind="connection", message=repr(error))
    if isinstance(error, openai.APIError):
        return Trouble(status=None, kind=error.type, code=error.code, message=error.message)
    return Trouble(status=None, kind="connection", message=repr(error))


def _message_in(body: object) -> str:
    return str(body.get("message", "")) if isinstance(body, dict) else ""


def _plain(arguments: str) -> str:
    """Return JSON without the spaces that nobody promises; other text as it is."""
    try:
        return json.dumps(json.loads(arguments), ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        return arguments


class _Reader:
    """Puts one answer together, and holds it against the grammar of its wire."""

    without_arguments = ""  # what a call means of whose arguments nothing came

    def __init__(self) -> None:
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._thinking: list[str] = []
        self._signature = ""
        self._hidden = ""
        self._calls: dict[object, list[str]] = {}
        self._finish: str | None = None
        self._usage: Tokens | None = None
        self._trouble: Trouble | None = None
        self._model = ""

    def event(self, event: Any) -> None:
        """Take the next event of a stream."""
        raise NotImplementedError

    def whole(self, reply: Any) -> None:
        """Take a reply that was not streamed."""
        raise NotImplementedError

    def seen(self, trouble: Trouble | None) -> Seen:
        """Return what there was, with the error that ended it."""
        return Seen(
            text="".join(self._text),
            refusal="".join(self._refusal),
            thinking="".join(self._thinking),
            signature=self._signature,
            hidden=self._hidden,
            calls=tuple(
                (i, name, _plain(text or self.without_arguments))
                for i, name, text in self._calls.values()
            ),
            finish=self._finish,
            usage=self._usage,
            trouble=trouble or self._trouble,
            model=self._model,
        )


class _ChatReader(_Reader):
    def __init__(self) -> None:
        super().__init__()
        self._ids: set[str] = set()
        self._has_role = False

    def event(self, event: Any) -> None:
        assert event.object == "chat.completion.chunk"
        self._ids.add(event.id)
        assert len(self._ids) == 1, "the identifier changed within a stream"
        self._model = event.model
        if event.usage is not None:
            assert self._finish is not None, "usage came before the finish reason"
            self._usage = _openai_tokens(event.usage, "prompt_tokens", "completion_tokens")
        for choice in event.choices:
            delta = choice.delta
            assert delta.role in ("assistant", None)
            assert self._has_role or delta.role == "assistant", "the first delta has no role"
            self._has_role = True
            self._take(delta)
            for call in delta.tool_calls or []:
                self._call(call)
            if choice.finish_reason is not None:
                assert self._finish is None, "a second finish reason"
                self._finish = choice.finish_reason

    def _call(self, call: Any) -> None:
        if call.index not in self._calls:
            assert call.index == len(self._calls), "the indexes of calls have a gap"
            assert call.id, "a call begins without its identifier"
            assert call.type == "function"
            self._calls[call.index] = [call.id, call.function.name, ""]
        else:
            assert call.id in (None, self._calls[call.index][0]), "a call changed its identifier"
        self._calls[call.index][2] += call.function.arguments or ""

    def _take(self, said: Any) -> None:
        self._text.append(said.content or "")
        self._refusal.append(said.refusal or "")
        self._thinking.append(getattr(said, "reasoning_content", None) or "")

    def whole(self, reply: Any) -> None:
        assert reply.object == "chat.completion"
        [choice] = reply.choices
        self._take(choice.message)
        for number, call in enumerate(choice.message.tool_calls or []):
            self._calls[number] = [call.id, call.function.name, call.function.arguments]
        self._finish = choice.finish_reason
        self._model = reply.model
        if reply.usage is not None:
            self._usage = _openai_tokens(reply.usage, "prompt_tokens", "completion_tokens")


def _openai_tokens(usage: Any, read: str, written: str) -> Tokens:
    told = usage.model_dump()
    before, after = told.get(f"{read}_details") or {}, told.get(f"{written}_details") or {}
    assert told["total_tokens"] == told[read] + told[written]
    return Tokens(
        input=told[read],
        output=told[written],
        cached=before.get("cached_tokens") or 0,
        written=before.get("cache_write_tokens") or 0,
        reasoning=after.get("reasoning_tokens") or 0,
    )


class _ResponsesReader(_Reader):
    def __init__(self) -> None:
        super().__init__()
        self._sequence = -1
        self._items: dict[int, str] = {}
        self._said: dict[tuple[str, int], str] = {}
        self._done: dict[int, Any] = {}

    def event(self, event: Any) -> None:
        assert self._finish is None, f"{event.type} after the end"
        assert event.sequence_number > self._sequence, "sequence_number does not rise"
        self._sequence = event.sequence_number
        match event.type:
            case "response.output_item.added":
                assert event.output_index == len(self._items), "the outputs have a gap"
                self._items[event.output_index] = event.item.id
            case "response.output_item.done":
                assert self._items[event.output_index] == event.item.id
                self._done[event.output_index] = event.item
            case "response.completed" | "response.incomplete":
                self._end(event.response)
            case "response.failed":
                error = event.response.error
                self._partly()
                self._trouble = Trouble(status=None, code=error.code, message=error.message)
            case "error":
                self._partly()
                self._trouble = Trouble(status=None, code=event.code, message=event.message)
            case kind if kind.endswith(".delta"):
                assert self._items[event.output_index] == event.item_id
                part = getattr(event, "content_index", getattr(event, "summary_index", 0))
                key = (event.item_id, part)
                self._said[key] = self._said.get(key, "") + event.delta
            case _:
                pass

    def _partly(self) -> None:
        """What was streamed before it broke."""
        self._text = list(self._said.values())

    def _end(self, response: Any) -> None:
        done = [item.model_dump() for _, item in sorted(self._done.items())]
        final = [item.model_dump() for item in response.output]
        assert done == final, "the last event says something else than those before it"
        for item in response.output:
            for number, text in enumerate(_texts_of(item)):
                streamed = self._said.get((item.id, number))
                assert streamed in (None, text), "the deltas are not what the item is"
                assert streamed is not None or not text or item.type == "reasoning"
        self.whole(response)

    def whole(self, reply: Any) -> None:
        assert reply.object == "response"
        ids = [item.id for item in reply.output]
        assert len(set(ids)) == len(ids), "two items have the same identifier"
        for item in reply.output:
            match item.type:
                case "message":
                    for part in item.content:
                        if part.type == "refusal":
                            self._refusal.append(part.refusal)
                        else:
                            self._text.append(part.text)
                case "reasoning":
                    self._thinking.append("\n\n".join(one.text for one in item.summary))
                    encrypted = item.encrypted_content or ""
                    if item.summary:
                        self._signature = encrypted
                    else:
                        self._hidden = encrypted
                case "function_call":
                    self._calls[item.id] = [item.call_id, item.name, item.arguments]
                case _:
                    pass
        self._finish = reply.status
        if reply.incomplete_details is not None:
            self._finish = reply.incomplete_details.reason
        self._model = reply.model
        if reply.error is not None:
            error = reply.error
            self._trouble = Trouble(status=None, code=error.code, message=error.message)
        if reply.usage is not None:
            self._usage = _openai_tokens(reply.usage, "input_tokens", "output_tokens")


def _texts_of(item: Any) -> list[str]:
    match item.type:
        case "message":
            return [
                str(getattr(p, "text", None) or getattr(p, "refusal", "")) for p in item.content
            ]
        case "reasoning":
            return [one.text for one in item.summary]
        case "function_call":
            return [item.arguments]
        case _:
            return []


class _MessagesReader(_Reader):
    without_arguments = "{}"

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[int, str] = {}
        self._blocks = 0
        self._has_begun = self._is_over = False

    def event(self, event: Any) -> None:
        assert not self._is_over, f"{event.type} after the end"
        assert self._has_begun == (event.type != "message_start"), f"{event.type} out of order"
        match event.type:
            case "message_start":
                self._has_begun = True
                self._model = event.message.model
                assert event.message.content == []
            case "content_block_start":
                assert event.index == self._blocks, "the indexes of blocks have a gap"
                self._blocks += 1
                self._open[event.index] = event.content_block.type
                self._begin(event.index, event.content_block)
            case "content_block_delta":
                self._delta(event.index, event.delta)
            case "content_block_stop":
                del self._open[event.index]
            case "message_delta":
                assert not self._open, "a block is still open at the end"
                self._finish = event.delta.stop_reason
                self._usage = _anthropic_tokens(event.usage)
            case "message_stop":
                self._is_over = True
            case _:
                pass

    def _begin(self, index: int, block: Any) -> None:
        if block.type == "tool_use":
            assert block.input == {}, "a call's input is not streamed"
            self._calls[index] = [block.id, block.name, ""]
        elif block.type == "redacted_thinking":
            self._hidden = block.data

    def _delta(self, index: int, delta: Any) -> None:
        kind = self._open[index]
        match delta.type:
            case "text_delta":
                assert kind == "text"
                self._text.append(delta.text)
            case "thinking_delta":
                assert kind == "thinking"
                self._thinking.append(delta.thinking)
            case "signature_delta":
                assert kind == "thinking"
                self._signature = delta.signature
            case "input_json_delta":
                assert kind == "tool_use"
                self._calls[index][2] += delta.partial_json
            case _:
                raise AssertionError(delta.type)

    def whole(self, reply: Any) -> None:
        assert reply.type == "message"
        for number, block in enumerate(reply.content):
            match block.type:
                case "text":
                    self._text.append(block.text)
                case "thinking":
                    self._thinking.append(block.thinking)
                    self._signature = block.signature
                case "redacted_thinking":
                    self._hidden = block.data
                case "tool_use":
                    self._calls[number] = [block.id, block.name, json.dumps(block.input)]
                case _:
                    raise AssertionError(block.type)
        self._finish = reply.stop_reason
        self._model = reply.model
        self._usage = _anthropic_tokens(reply.usage)


def _anthropic_tokens(usage: Any) -> Tokens:
    told = usage.model_dump()
    cached = told.get("cache_read_input_tokens") or 0
    written = told.get("cache_creation_input_tokens") or 0
    return Tokens(
        input=(told["input_tokens"] or 0) + cached + written,
        output=told["output_tokens"],
        cached=cached,
        written=written,
        reasoning=(told.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
    )


_READERS: dict[ClientWire, type[_Reader]] = {
    "chat": _ChatReader,
    "responses": _ResponsesReader,
    "messages": _MessagesReader,
}
