"""What is said to a model and what comes back, the same for every provider."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "CitationDelta",
    "Delta",
    "Embedding",
    "FilePart",
    "Finish",
    "FinishReason",
    "ImagePart",
    "Message",
    "ModelCall",
    "ModelReply",
    "OpaqueDelta",
    "OpaquePart",
    "Part",
    "ReasoningDelta",
    "ReasoningPart",
    "RefusalDelta",
    "RefusalPart",
    "ResponseFormat",
    "Role",
    "TextDelta",
    "TextPart",
    "Tool",
    "ToolCallDelta",
    "ToolCallPart",
    "ToolResultPart",
    "Usage",
]

Role = Literal["system", "developer", "user", "assistant", "tool"]
FinishReason = Literal[
    "stop", "length", "tool_calls", "content_filter", "refusal", "pause", "error", "unknown"
]


class OpaquePart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="opaque"):
    """A part that only its own wire understands, kept so that it is lost nowhere.

    Attributes:
        wire: Wire that it came from, such as `anthropic_messages`.
        json: The part as JSON: a whole block if it has a `type`, else an object of further
            keys of the part before it.
    """

    wire: str
    json: msgspec.Raw


class TextPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="text"):
    """Text.

    Attributes:
        text: The text itself.
        cache: Ask the provider to cache the prompt up to and including this part.
    """

    text: str
    cache: bool = False


class ImagePart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="image"):
    """A picture, by address or by value.

    Attributes:
        url: Address to fetch; `None` when *data* is given.
        data: Base64 of the bytes; `None` when *url* is given.
        media_type: Such as `image/png`; `None` if unknown.
        detail: OpenAI's detail level; `None` for the provider's default.
    """

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None


class FilePart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="file"):
    """A document or another file: as text, by value, by address, or kept at the provider.

    Attributes:
        text: Its text; `None` unless it is given as text.
        data: Base64 of its bytes; `None` unless it is given by value.
        url: Address to fetch; `None` unless it is given by address.
        file_id: Its name at the provider; `None` unless it is kept there.
        media_type: Such as `application/pdf`; `None` if unknown.
        name: Its name or title; `None` if it has none.
        about: What is said of it and is no part of it; `None` for nothing.
    """

    text: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    media_type: str | None = None
    name: str | None = None
    about: str | None = None


class ToolCallPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tool_call"):
    """A call of a tool that the model asked for.

    Attributes:
        id: Identifier that the result must name; made by us where a provider gives none.
        name: Name of the tool.
        arguments: JSON text of the arguments, exactly as the model wrote it.
    """

    id: str
    name: str
    arguments: str


class ToolResultPart(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tool_result"
):
    """What a tool gave.

    Attributes:
        id: Identifier of the call.
        text: The result as text.
        name: Name of the tool, which Ollama wants; `None` if unknown.
        is_error: Whether the tool failed.
        images: Pictures that belong to the result.
        files: Documents that belong to it.
        others: What else belongs to it, which only its own wire understands.
    """

    id: str
    text: str
    name: str | None = None
    is_error: bool = False
    images: tuple[ImagePart, ...] = ()
    files: tuple[FilePart, ...] = ()
    others: tuple[OpaquePart, ...] = ()


class ReasoningPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="reasoning"):
    """Thinking that a model showed, with what its provider needs to get it back unchanged.

    Attributes:
        text: The thinking or its summary; empty when it is hidden.
        id: Provider's identifier (OpenAI responses); `None` elsewhere.
        signature: Provider's signature (Anthropic); `None` elsewhere.
        encrypted: Hidden thinking as the provider wrote it; `None` if it gave none.
    """

    text: str = ""
    id: str | None = None
    signature: str | None = None
    encrypted: str | None = None


class RefusalPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="refusal"):
    """The model's own words of refusal."""

    text: str


Part = (
    TextPart
    | ImagePart
    | FilePart
    | ToolCallPart
    | ToolResultPart
    | ReasoningPart
    | RefusalPart
    | OpaquePart
)


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of a conversation.

    Attributes:
        role: Who speaks.
        parts: What is said, in order.
        name: Name of the speaker where a provider takes one.
    """

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function that the model may call.

    Attributes:
        name: Name of the function.
        description: What it does, for the model.
        parameters: JSON Schema of its arguments, as JSON; empty where a wire gave none.
        strict: Whether arguments must match the schema; `None` for the provider's default.
        opaque: The whole tool as its wire wrote it, for tools that are not functions (their
            *parameters* are empty) and for functions with keys of their wire; `None` for plain
            functions.
    """

    name: str
    description: str = ""
    parameters: msgspec.Raw = msgspec.Raw()  # msgspec cannot decode `Raw | None`
    strict: bool | None = None
    opaque: OpaquePart | None = None


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the reply must look.

    Attributes:
        kind: `text`, any JSON object, or JSON of a schema.
        name: Name of the schema.
        schema: JSON Schema as JSON; empty unless *kind* is `json_schema`.
        strict: Whether the provider must enforce it; `None` for its default.
        description: What the schema is for; `None` if not given.
    """

    kind: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None
    description: str | None = None


class ModelCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call of a model, in nobody's wire format.

    Attributes:
        model: Model name as its provider knows it.
        messages: The conversation; system messages stand first.
        tools: Tools that the model may call.
        tool_choice: `auto`, `none`, `required`, or `tool:NAME`; `None` for the default.
        parallel_tool_calls: Whether several calls may come at once; `None` for the default.
        max_output_tokens: Most tokens of the reply; `None` for the provider's default.
        temperature: 0 to 2; `None` for the provider's default.
        top_p: Nucleus, 0 to 1; `None` for the provider's default.
        stop: Texts that end the reply.
        seed: Seed, where a provider takes one.
        response_format: Shape of the reply; `None` for plain text.
        reasoning_effort: Such as `low`; `None` for the default.
        reasoning_budget: Tokens allowed for thinking; `None` for the default.
        user: Opaque end-user identifier for the provider; `None` for none.
        context_tokens: Window to ask of a provider that takes one (Ollama's num_ctx); `None`
            to let the adapter compute it.
        extra: Further top-level keys of the wire body, as JSON by name: passed on untouched to
            a provider that speaks the wire they came from. Under the name of an object that a
            wire makes of other fields, they are the rest of its keys.
        wire: Wire that *extra* is written for, such as `openai_chat`; `None` for any.
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    reasoning_budget: int | None = None
    user: str | None = None
    context_tokens: int | None = None
    extra: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    wire: str | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens that one reply was billed for; every count includes what its details name.

    Attributes:
        input_tokens: All tokens of the prompt, cached and cache-written ones included (as
            OpenAI counts; Anthropic's three counts are added up).
        output_tokens: All tokens of the reply, reasoning included.
        cached_input_tokens: Part of the input that was read from the provider's cache.
        cache_write_5m_tokens: Part of the input written to a cache that lives 5 minutes.
        cache_write_1h_tokens: Part of the input written to a cache that lives an hour.
        reasoning_tokens: Part of the output that was thinking.
        input_audio_tokens: Part of the input that was sound, which has a price of its own.
        output_audio_tokens: Part of the output that was sound.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0


class TextDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="text"):
    """The next piece of the reply's text; *index* orders parts within the reply."""

    text: str
    index: int = 0


class ReasoningDelta(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="reasoning"
):
    """The next piece of thinking; *signature* and *encrypted* come once, whole."""

    text: str = ""
    index: int = 0
    id: str | None = None
    signature: str | None = None
    encrypted: str | None = None


class RefusalDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="refusal"):
    """The next piece of the model's refusal."""

    text: str
    index: int = 0


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tool_call"):
    """The next piece of a tool call.

    Attributes:
        index: Position of the part within the reply; the same for every piece of one call.
        id: Identifier; on the first piece of a call.
        name: Name of the tool; on the first piece of a call.
        arguments: Next characters of the arguments' JSON; may be empty.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class CitationDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="citation"):
    """A citation or annotation of the part at *index*, as its wire wrote it."""

    index: int
    part: OpaquePart


class OpaqueDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="opaque"):
    """A whole part that only its own wire understands."""

    index: int
    part: OpaquePart


class Finish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="finish"):
    """The end of a reply; exactly one ends every complete stream.

    Attributes:
        reason: Why the model stopped.
        raw_reason: The provider's own word for it; `None` if it gave none.
        usage: What was billed; `None` when the provider did not say (unknown, never zero).
        model: Model that answered, by the provider's word; `None` if it did not say.
        reply_id: Provider's identifier of the reply; `None` if it gave none.
        warnings: What is odd about the reply, such as a prompt that seems to have been cut.
    """

    reason: FinishReason
    raw_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    reply_id: str | None = None
    warnings: tuple[str, ...] = ()


Delta = (
    TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta | CitationDelta | OpaqueDelta | Finish
)


class ModelReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole reply.

    Attributes:
        parts: What the model said, in order.
        finish: How it ended.
    """

    parts: tuple[Part, ...]
    finish: Finish

    @property
    def text(self) -> str:
        """All text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


class Embedding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Vectors of several texts.

    Attributes:
        vectors: float[n][d], one vector a text, in the order of the texts.
        model: Model that made them.
        input_tokens: Tokens billed; `None` when the provider did not say.
    """

    vectors: tuple[tuple[float, ...], ...]
    model: str
    input_tokens: int | None = None
