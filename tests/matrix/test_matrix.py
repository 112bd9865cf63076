"""The official SDKs through a real server: every client wire over every wire of a provider.

The provider refuses what real ones refuse, and what a client sees is held against what the
provider said, told as the client's wire can tell it. What two wires cannot tell each other is
listed here, and in the documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import anthropic
import msgspec
import openai
import pytest
from tests.matrix.asks import QUESTIONS
from tests.matrix.clients import MODES, Answer, Clients, ClientWire, Mode, Seen, Tokens
from tests.matrix.expected import said, seen
from tests.matrix.questions import OF, Question, WireName
from tests.matrix.scenarios import BROKEN, ERRORS, EVERY, REPLIES
from tests.testing.test_upstream import STATUSES, can_ask, meant

from aiex.testing.serving import serving
from aiex.testing.upstream import ScriptedUpstream, Think

CLIENTS: tuple[ClientWire, ...] = ("chat", "responses", "messages")
UPSTREAMS: tuple[WireName, ...] = ("chat", "responses", "messages", "ollama")
PAIRS = [(client, upstream) for client in CLIENTS for upstream in UPSTREAMS]
OWN = [(client, client) for client in CLIENTS]
BAD_REQUESTS = (openai.BadRequestError, anthropic.BadRequestError)
KEY = "sk-of-the-provider-alone"

CONFIG = """
[model]
order = []
[providers.up_chat]
kind = "openai"
url = "{url}/v1"
api = "chat"
key_variable = "UPSTREAM_KEY"
[providers.up_responses]
kind = "openai"
url = "{url}/v1"
api = "responses"
key_variable = "UPSTREAM_KEY"
[providers.up_messages]
kind = "anthropic"
url = "{url}"
key_variable = "UPSTREAM_KEY"
[providers.up_ollama]
kind = "ollama"
url = "{url}"
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(EVERY) as server:
        yield server


@pytest.fixture(scope="module")
def clients(
    upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clients]:
    config = CONFIG.format(url=upstream.url)
    with (
        serving(tmp_path_factory.mktemp("server"), config, {"UPSTREAM_KEY": KEY}) as server,
        Clients(server.url, server.token) as found,
    ):
        yield found


@pytest.fixture(autouse=True)
def nothing_is_violated(upstream: ScriptedUpstream) -> Iterator[None]:
    upstream.forget()
    yield
    assert upstream.violations == []


def relayed(it: Seen, client: ClientWire, upstream: WireName) -> Seen:
    """Return what is left of *it* between two wires: the losses, one a line."""
    replace = msgspec.structs.replace
    if upstream == "ollama":  # it names no calls, so that names are made up
        it = replace(it, calls=tuple(("", name, text) for _, name, text in it.calls))
    if client == "responses" and upstream == "messages":  # its signatures are Anthropic's own
        it = replace(it, signature="")
    if client == "messages" and upstream != "messages":
        # A call has an object for arguments, and an answer has a usage, whatever was said.
        calls = tuple((id_, name, text or "{}") for id_, name, text in it.calls)
        it = replace(it, calls=calls, usage=it.usage or Tokens(input=0, output=0))
    return it


def answer(clients: Clients, client: ClientWire, mode: Mode, upstream: WireName, name: str) -> Seen:
    found = clients.ask(client, mode, f"up_{upstream}:{name}", Question())
    if upstream == "ollama":
        ids = [id_ for id_, _, _ in found.calls]
        assert all(ids)
        assert len(set(ids)) == len(ids)
        calls = tuple(("", call, text) for _, call, text in found.calls)
        found = msgspec.structs.replace(found, calls=calls)
    return msgspec.structs.replace(found, model="")


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize(("client", "upstream_wire"), PAIRS)
def test_a_client_sees_what_the_provider_said(
    clients: Clients, client: ClientWire, upstream_wire: WireName, name: str
) -> None:
    expected = relayed(seen(said(REPLIES[name], upstream_wire), client), client, upstream_wire)
    modes: tuple[Mode, ...] = ("sync stream", "sync whole")
    if client == upstream_wire:
        modes = MODES

    found = {mode: answer(clients, client, mode, upstream_wire, name) for mode in modes}

    assert found == dict.fromkeys(modes, expected)


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (client, name)
        for client in CLIENTS
        for name in QUESTIONS
        if can_ask(QUESTIONS[name], client)
    ],
)
def test_a_question_arrives_as_it_was_asked(
    clients: Clients, upstream: ScriptedUpstream, client: ClientWire, name: str
) -> None:
    least = 16 if client == "responses" else 1
    question = msgspec.structs.replace(
        QUESTIONS[name], max_tokens=max(QUESTIONS[name].max_tokens or 0, least)
    )

    found = clients.ask(client, "sync whole", f"up_{client}:text", question)

    assert found.trouble is None
    [asked] = [one for one in upstream.asked if one.body]  # beside a look at the models
    assert meant(OF[client](asked.body)) == meant(question)


def refusal(name: str, client: ClientWire, upstream: WireName) -> str | None:
    """Return what the refusal names where a question is refused; `None` where it is not."""
    image = {"chat": "image_url", "responses": "input_image", "messages": "image"}[client]
    file = {"chat": "file", "responses": "input_file", "messages": "document"}[client]
    match name:
        case "audio":
            return "input_audio"
        case "picture-kept":
            return image
        case "picture-address" if upstream == "ollama":
            return f"{image} by its address"
        case "pdf-kept" if {client, upstream} != {"chat", "responses"}:
            return "file_id"  # only the wires of OpenAI have it from one provider
        case "pdf-address" if upstream in {"chat", "ollama"}:
            return file
        case "pdf" | "result-document" if upstream == "ollama":
            return file
        case _:
            return None


def loss_of(question: Question, name: str, upstream: WireName) -> Question:
    """Return what is left of *question* for a provider that is not told of *name*."""
    replace = msgspec.structs.replace
    rounds = question.rounds
    match name.rpartition(".")[2]:
        case "stop" if upstream == "messages":
            return replace(question, stop=tuple(one for one in question.stop if one.strip()))
        case "stop":
            return replace(question, stop=())
        case "temperature":
            return replace(question, temperature=1.0)
        case "reasoning_budget":
            return replace(question, budget=None)
        case "response_format":
            return replace(question, any_json=False)
        case "parallel_tool_calls":
            return replace(question, parallel=None)
        case "strict":
            tools = tuple(replace(tool, strict=None) for tool in question.tools)
            return replace(question, tools=tools)
        case "is_error":
            rounds = tuple(
                replace(one, results=tuple(replace(r, is_error=False) for r in one.results))
                for one in rounds
            )
            return replace(question, rounds=rounds)
        case "thinking" | "reasoning" if upstream == "ollama" and rounds[0].thought:
            # Its words are told; what proves them to their own provider is not.
            words = Think(rounds[0].thought.pieces)
            return replace(question, rounds=(replace(rounds[0], thought=words),))
        case "thinking" | "reasoning" | "redacted_thinking":
            rounds = tuple(replace(one, thought=None, hidden=None) for one in rounds)
            return replace(question, rounds=rounds)
        case plain:
            assert plain in {"seed", "tool_choice", "user"}
            return replace(question, **{plain: None})


EFFORTS: dict[WireName, dict[str, str | None]] = {
    "chat": {},
    "responses": {},
    "messages": {"none": None, "minimal": "low"},
    "ollama": {"none": None, "minimal": "low", "xhigh": "high"},
}


def across(question: Question, client: ClientWire, upstream: WireName) -> Question:
    """Return how the words of *upstream* say what those of *client* say otherwise."""
    replace = msgspec.structs.replace
    effort = EFFORTS[upstream].get(question.effort or "", question.effort)
    question = replace(question, effort=effort)
    if upstream == "responses":  # what it means to say nothing differs
        tools = tuple(replace(tool, strict=tool.strict or False) for tool in question.tools)
        question = replace(question, tools=tools)
    if upstream == "ollama" and question.tool_choice == "auto":
        question = replace(question, tool_choice=None)  # it has no other
    return question


@pytest.mark.parametrize(
    ("client", "upstream_wire", "name"),
    [
        (client, upstream, name)
        for client, upstream in PAIRS
        for name in QUESTIONS
        if client != upstream and can_ask(QUESTIONS[name], client)
    ],
)
def test_a_question_arrives_but_for_what_is_named(
    clients: Clients,
    upstream: ScriptedUpstream,
    client: ClientWire,
    upstream_wire: WireName,
    name: str,
) -> None:
    question = msgspec.structs.replace(
        QUESTIONS[name], max_tokens=max(QUESTIONS[name].max_tokens or 0, 16)
    )
    model = f"up_{upstream_wire}:text"
    refused = refusal(name, client, upstream_wire)
    if refused is not None:
        with pytest.raises(BAD_REQUESTS, match=rf"(messages|input)\.{refused} cannot be asked"):
            clients.notice(client, model, question)
        assert not any(one.body for one in upstream.asked)
        return

    notice = clients.notice(client, model, question)

    expected = across(question, client, upstream_wire)
    for lost in (notice or "").removeprefix("not passed on: ").split(", ") if notice else ():
        expected = loss_of(expected, lost, upstream_wire)
    [asked] = [one for one in upstream.asked if one.body]
    assert meant(OF[upstream_wire](asked.body)) == meant(expected)


@pytest.mark.parametrize("helper", ["parse", "stream"])
@pytest.mark.parametrize(("client", "upstream_wire"), PAIRS)
def test_the_helpers_of_the_sdks_find_what_they_asked_for(
    clients: Clients,
    upstream: ScriptedUpstream,
    client: ClientWire,
    upstream_wire: WireName,
    helper: Literal["parse", "stream"],
) -> None:
    found = clients.parsed(client, helper, f"up_{upstream_wire}:json")

    assert found == Answer(answer="zwölf", sure=True)
    [asked] = [one for one in upstream.asked if one.body]
    schema = OF[upstream_wire](asked.body).schema
    assert schema["required"] == ["answer", "sure"]


def check_error(clients: Clients, client: ClientWire, upstream: WireName, name: str) -> None:
    fault = ERRORS[name].fault
    assert fault is not None
    found = clients.ask(client, "sync stream", f"up_{upstream}:{name}", Question())

    assert found.trouble is not None
    # What a quota is used up of is told as that of a budget of our own.
    expected = {"quota": {402, 429}, "model": {404, 400}}.get(fault.kind, {STATUSES[fault.kind]})
    if upstream == "ollama" and fault.kind == "overloaded":
        expected = {503, 529}
    assert found.trouble.status in expected
    assert (found.trouble.retry_after is not None) >= (fault.retry_after is not None)
    assert KEY not in found.trouble.message


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize(("client", "upstream_wire"), OWN)
def test_an_error_keeps_its_status(
    clients: Clients, client: ClientWire, upstream_wire: WireName, name: str
) -> None:
    check_error(clients, client, upstream_wire, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize(("client", "upstream_wire"), [pair for pair in PAIRS if pair not in OWN])
def test_an_error_keeps_its_status_across_wires(
    clients: Clients, client: ClientWire, upstream_wire: WireName, name: str
) -> None:
    check_error(clients, client, upstream_wire, name)


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize(("client", "upstream_wire"), PAIRS)
def test_a_broken_stream_never_ends_well(
    clients: Clients, client: ClientWire, upstream_wire: WireName, name: str
) -> None:
    found = clients.ask(client, "sync stream", f"up_{upstream_wire}:{name}", Question())

    assert found.trouble is not None
    assert found.finish is None or (client, found.finish) == ("responses", "failed")
    # What had come before it broke is the beginning of what was said, and nothing else.
    if name != "cut-in-call":
        whole = "".join(piece for one in BROKEN[name].says for piece in getattr(one, "pieces", ()))
        assert whole.startswith(found.text)


TOOL = {"type": "web_search", "name": "web_search"}
AUTO, ANY = {"type": "auto"}, {"type": "any"}
CACHED = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
NAMED = [{"role": "user", "name": "ada", "content": "a"}]
SEARCHED = [{"type": "web_search_call", "id": "ws_1"}, {"role": "user", "content": "a"}]
CALL_OF: dict[ClientWire, tuple[str, dict[str, object]]] = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
    "responses": ("/v1/responses", {"input": "a"}),
    "messages": (
        "/v1/messages",
        {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2000},
    ),
}


@pytest.mark.parametrize(
    ("client", "upstream_wire", "more", "told"),
    [
        ("chat", "messages", {"seed": 7, "logit_bias": {"5": 1}}, "logit_bias, seed"),
        ("chat", "messages", {"temperature": 1.5}, "temperature"),
        ("chat", "messages", {"unheard_of": 1}, "unheard_of"),
        ("chat", "messages", {"n": 1, "logprobs": False, "store": False}, None),
        ("chat", "messages", {"safety_identifier": "u1", "reasoning_effort": "low"}, None),
        ("chat", "ollama", {"parallel_tool_calls": False}, "parallel_tool_calls"),
        ("messages", "chat", {"top_k": 5}, "top_k"),
        ("messages", "responses", {"stop_sequences": ["a"]}, "stop"),
        ("messages", "chat", {"tools": [TOOL]}, "tools.web_search"),
        ("messages", "chat", {"tools": [TOOL], "tool_choice": AUTO}, "tools.web_search"),
        (
            "messages",
            "chat",
            {"tools": [TOOL], "tool_choice": ANY},
            "tool_choice, tools.web_search",
        ),
        ("messages", "chat", {"thinking": {"type": "disabled"}}, "thinking"),
        ("messages", "ollama", {"thinking": {"type": "disabled"}}, None),
        ("messages", "chat", {"system": [CACHED]}, "messages.cache_control"),
        ("responses", "chat", {"parallel_tool_calls": True}, None),
        ("responses", "ollama", {"input": SEARCHED}, "input.web_search_call"),
        ("chat", "responses", {"messages": NAMED}, "messages.name"),
        ("responses", "messages", {"truncation": "auto"}, "truncation"),
        ("responses", "messages", {"tools": [TOOL]}, "tools.web_search"),
        ("chat", "chat", {"seed": 7}, None),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_what_a_provider_is_not_told_is_told_to_the_client(
    clients: Clients,
    client: ClientWire,
    upstream_wire: WireName,
    more: dict[str, object],
    told: str | None,
    streams: bool,
) -> None:
    path, body = CALL_OF[client]
    asked = {"model": f"up_{upstream_wire}:text", **body, **more, "stream": streams}

    answered = clients.post(path, asked)

    assert answered.status_code == 200, answered.text
    notice = answered.headers.get("x-aiex-notice")
    assert notice == (None if told is None else f"not passed on: {told}")


@pytest.mark.parametrize(
    ("client", "upstream_wire", "more"),
    [
        ("chat", "messages", {"n": 2}),
        ("chat", "responses", {"logprobs": True}),
        ("chat", "ollama", {"modalities": ["text", "audio"]}),
        ("responses", "messages", {"previous_response_id": "resp_1"}),
        ("responses", "chat", {"background": True}),
        ("messages", "chat", {"container": "c1"}),
        ("chat", "messages", {"functions": [{"name": "f"}]}),
    ],
)
def test_what_would_be_another_answer_is_refused(
    clients: Clients,
    upstream: ScriptedUpstream,
    client: ClientWire,
    upstream_wire: WireName,
    more: dict[str, object],
) -> None:
    path, body = CALL_OF[client]

    answered = clients.post(path, {"model": f"up_{upstream_wire}:text", **body, **more})

    assert answered.status_code == 400
    assert next(iter(more)) in answered.json()["error"]["message"]
    assert not any(one.body for one in upstream.asked)
