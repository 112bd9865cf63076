"""A real node on a real socket, and a client of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio.to_thread

from aiex.app import Loaded, OwnToken, load, open_node
from aiex.core import Principal, Redactor
from aiex.testing.served import Served, served

API = "/api/v1"
NOWHERE = "http://127.0.0.1:9"


class Client:
    """Asks the API with one token."""

    def __init__(self, server: Served, session: aiohttp.ClientSession, token: str) -> None:
        self.server = server
        self.session = session
        self.token = token

    def headers(self, **more: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}", **more}

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body)
        asked = self.session.request(method, API + path, data=data, headers=self.headers())
        async with asked as said:
            return said.status, json.loads(await said.read())

    async def as_role(self, *roles: str, user: str = "bea") -> Client:
        """Return one with a new key of *user*."""
        status, said = await self.ask("POST", "/keys", {"user": user, "roles": roles})
        assert status == 201, said
        return Client(self.server, self.session, said["key"])


def _prepared(folder: Path, openai: str) -> tuple[dict[str, str], Loaded, OwnToken]:
    env = {
        "AIEX_STATE_DIRECTORY": str(folder / "state"),
        "AIEX_CONFIG": str(folder / "none.toml"),
        "HOME": str(folder),
        "AIEX_MODEL_OLLAMA_URL": NOWHERE,
        "AIEX_MODEL_LM_STUDIO_URL": NOWHERE,
        "AIEX_MODEL_OPENAI_URL": openai,
        "OPENAI_API_KEY": "sk-a-secret-of-the-node-0123456789",
    }
    (folder / "none.toml").write_text("")
    loaded = load(env, root=None)
    return env, loaded, OwnToken(folder / "token")


@asynccontextmanager
async def node(folder: Path, *, openai: str = NOWHERE) -> AsyncIterator[Client]:
    """Serve a node whose state is in *folder*, with OpenAI at *openai*."""
    env, loaded, own = await anyio.to_thread.run_sync(_prepared, folder, openai)
    tokens: list[str] = []
    own.hold(tokens.append)
    opened = await open_node(loaded, env, own, redact=Redactor(), ask=None)
    async with opened.gateway as gateway:

        def let_in(token: str | None, /) -> Principal:
            return gateway.operations.authenticate(token, interface="http")

        async with (
            served(gateway, let_in=let_in, drain_seconds=60) as server,
            aiohttp.ClientSession(server.url) as session,
        ):
            yield Client(server, session, tokens[0])
