"""A scripted provider that speaks four wires, and refuses what the real ones refuse.

It needs the official SDKs `openai` and `anthropic`, whose types it checks requests against.
"""

from aiex.testing.upstream.scenario import (
    Billed,
    CallTool,
    Delivery,
    Fault,
    FaultKind,
    FinishKind,
    Hide,
    Refuse,
    Say,
    Saying,
    Scenario,
    Think,
)
from aiex.testing.upstream.server import Asked, ScriptedUpstream, Violation

__all__ = [
    "Asked",
    "Billed",
    "CallTool",
    "Delivery",
    "Fault",
    "FaultKind",
    "FinishKind",
    "Hide",
    "Refuse",
    "Say",
    "Saying",
    "Scenario",
    "ScriptedUpstream",
    "Think",
    "Violation",
]
