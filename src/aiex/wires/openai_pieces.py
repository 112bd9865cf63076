"""What OpenAI's two wires write alike: pictures, files, schemas, the user, details of usage."""

from __future__ import annotations

from typing import Any

import msgspec

from aiex.core import FilePart, ImagePart, ResponseFormat, Usage
from aiex.wires.fields import ABSENT, Fields

__all__ = [
    "InputDetails",
    "OutputDetails",
    "file_keys",
    "input_details",
    "output_details",
    "picture_keys",
    "read_file",
    "read_format",
    "read_picture",
    "read_usage",
    "read_user",
    "schema_keys",
]


class InputDetails(msgspec.Struct):
    """Of which tokens a prompt was made."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class OutputDetails(msgspec.Struct):
    """Of which tokens a reply was made."""

    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


def read_usage(
    input_tokens: int,
    output_tokens: int,
    read: InputDetails | None,
    written: OutputDetails | None,
) -> Usage:
    """Return the usage that a reply names."""
    read, written = read or InputDetails(), written or OutputDetails()
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=read.cached_tokens or 0,
        cache_write_5m_tokens=read.cache_write_tokens or 0,
        reasoning_tokens=written.reasoning_tokens or 0,
        input_audio_tokens=read.audio_tokens or 0,
        output_audio_tokens=written.audio_tokens or 0,
    )


def input_details(usage: Usage) -> dict[str, int]:
    """Return the details of a prompt as a reply names them."""
    details = {"cached_tokens": usage.cached_input_tokens}
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    if written:
        details["cache_write_tokens"] = written
    if usage.input_audio_tokens:
        details["audio_tokens"] = usage.input_audio_tokens
    return details


def output_details(usage: Usage) -> dict[str, int]:
    """Return the details of a reply as it names them."""
    details = {"reasoning_tokens": usage.reasoning_tokens}
    if usage.output_audio_tokens:
        details["audio_tokens"] = usage.output_audio_tokens
    return details


def picture_keys(part: ImagePart, name: str) -> dict[str, Any]:
    """Return the address of a picture, under *name*, and its detail."""
    url = part.url
    if url is None:
        url = f"data:{part.media_type or 'image/png'};base64,{part.data}"
    return {name: url} | ({} if part.detail is None else {"detail": part.detail})


def read_picture(fields: Fields, name: str) -> ImagePart:
    """Return the picture whose address is under *name*.

    Raises:
        InvalidCallError: There is none.
    """
    url, detail = fields.need(name, str), fields.take("detail", str)
    media_type, data = _of_data_url(url)
    if media_type is not None:
        return ImagePart(data=data, media_type=media_type, detail=detail)
    return ImagePart(url=url, detail=detail)


def _of_data_url(url: str) -> tuple[str | None, str]:
    head, comma, data = url.partition(";base64,")
    if comma and head.startswith("data:"):
        return head.removeprefix("data:"), data
    return None, url


def file_keys(part: FilePart) -> dict[str, Any]:
    """Return the keys of a file that is given by value, by address or by its name at OpenAI."""
    found = {"file_id": part.file_id, "file_url": part.url, "filename": part.name}
    if part.data is not None:
        media_type = part.media_type or "application/octet-stream"
        found["file_data"] = f"data:{media_type};base64,{part.data}"
        found["filename"] = _filename(part)
    return {name: value for name, value in found.items() if value is not None}


def _filename(part: FilePart) -> str:
    """Return the name of a file; it must have one, and its end tells what the file is."""
    name = part.name or "document"
    return f"{name}.pdf" if part.media_type == "application/pdf" and "." not in name else name


def read_file(fields: Fields) -> FilePart:
    """Return a file; its data may stand there as an address of its own kind, or bare."""
    data = fields.take("file_data", str)
    media_type = None
    if data is not None:
        media_type, data = _of_data_url(data)
    return FilePart(
        data=data,
        media_type=media_type,
        url=fields.take("file_url", str),
        file_id=fields.take("file_id", str),
        name=fields.take("filename", str),
    )


def schema_keys(wanted: ResponseFormat) -> dict[str, Any]:
    """Return the keys of a format that is a JSON schema."""
    named = {
        "name": wanted.name or "reply",
        "schema": wanted.schema or None,
        "strict": wanted.strict,
        "description": wanted.description,
    }
    return {name: value for name, value in named.items() if value is not None}


def read_format(owner: Fields, name: str, *, schema_under: str | None) -> ResponseFormat | None:
    """Return the format that a call wants; `None` if it names none.

    Args:
        owner: The object that holds the format.
        name: Name of the format in it.
        schema_under: Key of the object that holds the keys of a schema; `None` if they stand
            beside the type.

    Raises:
        InvalidCallError: It is no such object.
    """
    if not owner.has(name):
        return None
    fields = owner.object(name)
    kind = fields.choice("type", ("text", "json_object", "json_schema"))
    if kind != "json_schema":
        return ResponseFormat(kind="text" if kind == "text" else "json_object")
    if schema_under is not None:
        fields = fields.object(schema_under)
    return ResponseFormat(
        kind="json_schema",
        name=fields.take("name", str),
        schema=fields.take("schema", msgspec.Raw) or ABSENT,
        strict=fields.take("strict", bool),
        description=fields.take("description", str),
    )


def read_user(fields: Fields) -> str | None:
    """Return the user of a call; the newer name of that key stays an extra one."""
    user = fields.take("user", str)
    if user is None and fields.peek("safety_identifier"):
        return fields.copy("safety_identifier", str)
    return user
