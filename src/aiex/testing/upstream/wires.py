"""Which wire is spoken at which path."""

from __future__ import annotations

from collections.abc import Mapping

from aiex.testing.upstream.chat import Chat
from aiex.testing.upstream.messages import Messages
from aiex.testing.upstream.ollama import Ollama
from aiex.testing.upstream.responses import Responses
from aiex.testing.upstream.wire import Wire

__all__ = ["WIRES"]

WIRES: Mapping[str, Wire] = {
    "/v1/chat/completions": Chat(),
    "/v1/responses": Responses(),
    "/v1/responses/input_tokens": Responses(),
    "/v1/messages": Messages(),
    "/v1/messages/count_tokens": Messages(),
    "/api/chat": Ollama(),
}
