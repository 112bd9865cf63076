"""Pure codecs between wire bytes and core types, both ways.

Each wire is a module, imported by its name so that nobody pays for the others: `openai_chat`,
`openai_responses`, `anthropic_messages`, `ollama`. They offer the same functions where the wire
has the thing: `encode_request`, `decode_request`, `StreamDecoder`, `StreamEncoder`,
`decode_reply`, `encode_reply`, `decode_error`, `encode_error`.
"""

from aiex.wires.fields import UNREADABLE
from aiex.wires.ratelimits import RateLimit, rate_limits
from aiex.wires.replies import ReplyBuilder, collect, deltas_of
from aiex.wires.streams import Spoken, StreamDecoder, WireRequest

__all__ = [
    "UNREADABLE",
    "RateLimit",
    "ReplyBuilder",
    "Spoken",
    "StreamDecoder",
    "WireRequest",
    "collect",
    "deltas_of",
    "rate_limits",
]
