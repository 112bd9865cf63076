"""The API of Aiex itself, in front of a real node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.interfaces.http.nodes import API, Client, node

from aiex.testing.served import Raw, get

pytestmark = pytest.mark.anyio


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Client]:
    async with node(tmp_path) as client:
        yield client


async def test_a_key_is_made_shown_once_listed_and_revoked(admin: Client) -> None:
    status, made = await admin.ask("POST", "/keys", {"user": "bea", "roles": ["viewer"]})
    assert status == 201
    key = made["key"]
    assert key.startswith("aiex_")
    bea = Client(admin.server, admin.session, key)
    status, me = await bea.ask("GET", "")
    assert (status, me["user"], me["roles"]) == (200, "bea", ["viewer"])
    status, listed = await admin.ask("GET", "/keys")
    assert status == 200
    assert key not in json.dumps(listed)
    assert len(listed["keys"]) == 1
    status, _ = await admin.ask("DELETE", f"/keys/{made['keys'][0]['id']}")
    assert status == 200
    assert (await bea.ask("GET", ""))[0] == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "roles"),
    [
        ("GET", "/health", None, {"operator", "admin"}),
        ("GET", "/interactions", None, {"admin", "auditor"}),
        ("GET", "/config", None, {"admin", "auditor"}),
        ("POST", "/broadcast", {"text": "hello"}, {"operator", "admin"}),
        ("GET", "/interfaces", None, {"viewer", "developer", "operator", "admin", "auditor"}),
        ("GET", "/requests", None, {"viewer", "developer", "operator", "admin", "auditor"}),
        ("GET", "/models", None, {"viewer", "developer", "operator", "admin", "auditor"}),
        ("POST", "/keys", {"user": "somebody-else"}, {"admin"}),
    ],
)
async def test_a_role_may_what_it_grants_and_nothing_else(
    admin: Client, method: str, path: str, body: Any, roles: set[str]
) -> None:
    for role in ("viewer", "developer", "operator", "admin", "auditor"):
        client = await admin.as_role(role)
        status, said = await client.ask(method, path, body)
        assert (status < 300) == (role in roles), (role, said)
        if status >= 300:
            assert status == 403
            assert said["error"]["code"] == "refused"


async def test_what_is_wrong_is_said_with_what_was_expected(admin: Client) -> None:
    for method, path, body, status, word in (
        ("GET", "/nothing", None, 404, "/api/v1"),
        ("POST", "/health", {}, 405, "GET"),
        ("POST", "/keys", {"usr": "bea"}, 400, "usr"),
        ("POST", "/keys", [], 400, "object"),
        ("POST", "/broadcast", {"text": ""}, 400, "characters"),
        ("GET", "/interactions?limit=0", None, 400, "limit"),
        ("GET", "/interactions?since=yesterday", None, 400, "since"),
        ("GET", "/interactions?limt=3", None, 400, "limt"),
        ("GET", "/interactions?limit=3&limit=4", None, 400, "twice"),
        ("POST", "/requests", {"verb": "explain"}, 403, "files"),
        ("POST", "/requests", {"verb": "model", "id": "../../x"}, 400, "req_"),
        ("GET", "/requests/req_00000000000000000000000000", None, 404, "known"),
    ):
        got, said = await admin.ask(method, path, body)
        assert got == status, (path, said)
        error = said["error"]
        assert word in error["message"] + (error["hint"] or ""), (path, said)


async def test_config_and_health_carry_no_secret(admin: Client) -> None:
    status, said = await admin.ask("GET", "/config")
    assert status == 200
    assert {"key": "server.port", "value": 2439, "origin": "default"} in said["settings"]
    for path in ("/config", "/health", "/models", "/keys", "/interfaces"):
        text = json.dumps((await admin.ask("GET", path))[1])
        assert "sk-a-secret" not in text
        assert admin.token not in text


async def test_a_request_is_begun_attached_to_and_belongs_to_its_user(admin: Client) -> None:
    another = {"user": "another", "interface": "x"}  # who asks is who the token belongs to
    asked = {"verb": "key", "arguments": {"action": "list"}, "principal": another}
    status, begun = await admin.ask("POST", "/requests", asked)
    assert status == 202
    path = f"/requests/{begun['id']}"
    events = await _events(admin, f"{path}/events")
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["body"]["type"] == "finished"
    assert await _events(admin, f"{path}/events?after={len(events) - 1}") == events[-1:]
    status, state = await admin.ask("GET", path)
    assert state["state"] == "finished"
    assert state["user"] != "another"
    assert (await admin.ask("DELETE", path))[1]["was_running"] is False

    bea = await admin.as_role("developer")
    for method, rest in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
        assert (await bea.ask(method, path + rest))[0] == 404
    assert begun["id"] not in json.dumps((await bea.ask("GET", "/requests"))[1])
    assert begun["id"] in json.dumps((await admin.ask("GET", "/requests"))[1])


async def test_a_request_can_be_watched_from_its_beginning(admin: Client) -> None:
    data = json.dumps({"verb": "model", "arguments": {"action": "list"}})
    asked = admin.session.post(
        f"{API}/requests", data=data, headers=admin.headers(accept="text/event-stream")
    )
    async with asked as said:
        assert said.status == 200
        assert said.headers["x-request-id"].startswith("req_")
        events = _read_events(await said.read())
    assert events[-1]["body"]["type"] == "finished"


async def test_what_keeps_a_watched_request_from_beginning_has_its_own_status(
    admin: Client,
) -> None:
    viewer = await admin.as_role("viewer")
    data = json.dumps({"verb": "budget", "arguments": {"action": "set", "amount": 1}})
    asked = admin.session.post(
        f"{API}/requests", data=data, headers=viewer.headers(accept="text/event-stream")
    )
    async with asked as said:
        assert said.status in {400, 403}
        assert said.content_type == "application/json"


async def test_published_events_arrive_as_they_happen_and_end_with_the_server(
    admin: Client,
) -> None:
    raw = await Raw.open(admin.server.port)
    await raw.send(get(f"{API}/events?pattern=said.*", token=admin.token))
    status, headers = await raw.head()
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    await raw.reader.readuntil(b"listening\n\n")
    assert (await admin.ask("POST", "/broadcast", {"text": "lunch"}))[0] == 200
    said = await asyncio.wait_for(raw.reader.readuntil(b"lunch"), 10)
    assert b"event: said.broadcast" in said
    admin.server.stop.set()
    rest = await asyncio.wait_for(raw.reader.read(), 10)
    assert b"event: error" in rest
    assert b"about to stop" in rest
    raw.close()


async def test_who_may_not_see_all_sees_their_own_events(admin: Client) -> None:
    bea = await admin.as_role("developer")
    raw = await Raw.open(admin.server.port)
    await raw.send(get(f"{API}/events", token=bea.token))
    await raw.head()
    await raw.reader.readuntil(b"listening\n\n")
    await admin.ask("GET", "/keys")
    await admin.ask("POST", "/keys", {"user": "cem"})
    await bea.ask("GET", "/keys")
    await admin.ask("POST", "/broadcast", {"text": "the end"})
    said = await asyncio.wait_for(raw.reader.readuntil(b"the end"), 10)
    assert b'"user":"bea"' in said
    assert said.count(b'"user":') == said.count(b'"user":"bea"')
    raw.close()


async def test_nothing_is_left_of_a_listener_that_leaves(admin: Client) -> None:
    for _ in range(20):
        raw = await Raw.open(admin.server.port)
        await raw.send(get(f"{API}/events", token=admin.token))
        await raw.head()
        raw.reset()
    async with asyncio.timeout(10):
        while admin.server.connections.listening:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_models_and_metrics_of_a_real_node(admin: Client) -> None:
    async with admin.session.get("/v1/models", headers=admin.headers()) as said:
        assert said.status == 200
        assert (await said.json())["object"] == "list"
    async with admin.session.get("/metrics", headers=admin.headers()) as said:
        text = await said.text()
    names = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE")}
    wanted = {"aiex_http_requests_total", "aiex_model_calls_total", "aiex_breaker_state"}
    assert wanted | {"aiex_interactions_spilled_total", "aiex_events_dropped_total"} <= names
    assert "sk-a-secret" not in text


async def _events(client: Client, path: str) -> list[dict[str, Any]]:
    async with client.session.get(API + path, headers=client.headers()) as said:
        assert said.status == 200, await said.text()
        return _read_events(await said.read())


def _read_events(data: bytes) -> list[dict[str, Any]]:
    lines = [line for line in data.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line[6:]) for line in lines]
