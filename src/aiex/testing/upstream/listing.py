"""What providers tell besides answers: their models, and vectors of texts."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from aiex.testing.upstream.wire import Answer, encoded

__all__ = ["listed"]

_WINDOW = 131072


def listed(path: str, headers: Mapping[str, str], raw: bytes, models: Iterable[str]) -> Answer:
    """Return the answer of a path that is no conversation.

    Args:
        path: The path.
        headers: Headers of the request, names in lower case.
        raw: Body of the request.
        models: Names of the models that there are.
    """
    names = sorted(models)
    if path == "/v1/models":
        return _said(_anthropic(names) if "anthropic-version" in headers else _openai(names))
    if path.startswith("/v1/models/"):
        name = path.removeprefix("/v1/models/")
        return _said(_one(name, headers)) if name in names else _absent(name)
    body = msgspec.json.decode(raw, type=dict[str, Any]) if raw else {}
    match path:
        case "/api/tags":
            return _said({"models": [_tag(name) for name in names]})
        case "/api/ps":
            return _said({"models": []})
        case "/api/version":
            return _said({"version": "0.21.0"})
        case "/api/show" if str(body.get("model")).removesuffix(":latest") in names:
            return _said(
                {
                    "details": _tag("")["details"],
                    "model_info": {
                        "general.architecture": "llama",
                        "llama.context_length": _WINDOW,
                    },
                    "capabilities": ["completion", "tools", "vision", "thinking"],
                }
            )
        case "/v1/embeddings":
            return _said(_vectors(body, base64=body.get("encoding_format") == "base64"))
        case "/api/embed":
            vectors = [_vector(text) for text in _texts(body)]
            said = {"model": body["model"], "embeddings": vectors, "prompt_eval_count": 7}
            return _said(said)
        case _:
            return _absent(path)


def _said(body: object, status: int = 200) -> Answer:
    return Answer(events=[encoded(body)], status=status)


def _absent(name: str) -> Answer:
    message = f"{name!r} does not exist"
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return _said({"error": error}, 404)


def _one(name: str, headers: Mapping[str, str]) -> dict[str, Any]:
    if "anthropic-version" in headers:
        created = "2026-08-07T00:00:00Z"
        return {"type": "model", "id": name, "display_name": name, "created_at": created}
    return {"id": name, "object": "model", "created": 1790000000, "owned_by": "upstream"}


def _openai(names: Iterable[str]) -> dict[str, Any]:
    return {"object": "list", "data": [_one(name, {}) for name in names]}


def _anthropic(names: list[str]) -> dict[str, Any]:
    data = [_one(name, {"anthropic-version": "2023-06-01"}) for name in names]
    return {"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]}


def _tag(name: str) -> dict[str, Any]:
    return {
        "name": f"{name}:latest",
        "model": f"{name}:latest",
        "modified_at": "2026-08-07T00:00:00Z",
        "size": 1000000,
        "digest": "0" * 64,
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "llama",
            "families": ["llama"],
            "parameter_size": "8B",
            "quantization_level": "Q4_K_M",
        },
    }


def _texts(body: Mapping[str, Any]) -> list[str]:
    return [body["input"]] if isinstance(body["input"], str) else list(body["input"])


def _vector(text: str) -> list[float]:
    return [float(len(text)), 0.5, -0.25]


def _vectors(body: Mapping[str, Any], *, base64: bool) -> dict[str, Any]:
    data = []
    for index, text in enumerate(_texts(body)):
        vector: object = _vector(text)
        if base64:
            packed = struct.pack("<3f", *_vector(text))
            vector = b64encode(packed).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}
