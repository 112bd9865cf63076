"""What upstreams say in the matrix, by the name of the model that says it."""

from __future__ import annotations

from typing import get_args

from aiex.testing.upstream import (
    Billed,
    CallTool,
    Delivery,
    Fault,
    FaultKind,
    FinishKind,
    Hide,
    Refuse,
    Say,
    Scenario,
    Think,
)

# Every kind of character that a cut or a careless split can break: two, three and four bytes, a
# joined emoji, what `splitlines` takes for the end of a line, and JSON's own.
ODD = 'zwölf · 数 🧪👩‍🔬 a\u2028b\u2029c\u0085d\x0b\x0ce\\"\n\t/\u00adf'
WORDS = Say(("Hel", "lo", "", ", ", "zwölf 🧪", "."))
ONE = CallTool("call_a1", "grep", ('{"for"', ': "zw', 'ölf 🧪"', "", "}"))
TWO = CallTool("call_b2", "grep", ('{"for": "b"}',))
NONE = CallTool("call_c3", "now", ())
EMPTY = CallTool("call_d4", "now", ("{}",))
THOUGHT = Think(("Let me ", "think", " 🧪."))
SORRY = Refuse(("I will ", "not."))

FINISHES: dict[str, Scenario] = {
    f"finish-{kind.replace('_', '-')}": Scenario(says=(WORDS,), finish=kind)
    for kind in get_args(FinishKind)
    if kind != "tool_calls"
}
REPLIES: dict[str, Scenario] = {
    "text": Scenario(says=(WORDS,)),
    "text-bytes": Scenario(says=(Say((ODD,)),), delivery=Delivery(piece_bytes=1)),
    "text-many": Scenario(says=(Say(tuple(ODD)),), delivery=Delivery(piece_bytes=3)),
    "text-none": Scenario(says=(), billed=Billed(output=0)),
    "text-empty": Scenario(says=(Say(("",)),)),
    "text-two": Scenario(says=(Say(("one",)), ONE, Say(("two",))), finish="tool_calls"),
    "call": Scenario(says=(ONE,), finish="tool_calls"),
    "call-bytes": Scenario(says=(ONE,), finish="tool_calls", delivery=Delivery(piece_bytes=1)),
    "call-after-text": Scenario(says=(WORDS, ONE), finish="tool_calls"),
    "calls": Scenario(says=(ONE, TWO), finish="tool_calls"),
    "calls-three": Scenario(says=(ONE, TWO, EMPTY), finish="tool_calls"),
    "call-without-arguments": Scenario(says=(NONE,), finish="tool_calls"),
    "call-empty-arguments": Scenario(says=(EMPTY,), finish="tool_calls"),
    "thought": Scenario(says=(THOUGHT, WORDS), billed=Billed(output=40, reasoning=31)),
    "thought-call": Scenario(says=(THOUGHT, WORDS, ONE), finish="tool_calls"),
    "thought-hidden": Scenario(says=(Hide(), WORDS), billed=Billed(output=40, reasoning=31)),
    "refusal": Scenario(says=(SORRY,), finish="refusal"),
    "json": Scenario(says=(Say(('{"answer": "zw', 'ölf", ', '"sure": true}')),)),
    "usage-caches": Scenario(
        says=(WORDS,),
        billed=Billed(input=1532, output=33, cached=1111, written_5m=400, written_1h=18),
    ),
    "usage-none": Scenario(says=(WORDS,), billed=None),
    **FINISHES,
}
LOOP = Scenario(says=(THOUGHT, ONE), finish="tool_calls", then=Scenario(says=(WORDS,)))
ERRORS: dict[str, Scenario] = {
    f"error-{kind.replace('_', '-')}": Scenario(
        fault=Fault(
            kind=kind, retry_after="0.125" if kind in {"rate_limit", "unavailable"} else None
        )
    )
    for kind in get_args(FaultKind)
}
_PARTS = (Say(tuple("Half of all it")),)
LONG = CallTool("call_e5", "grep", tuple('{"for": "half of it"}'))
BROKEN: dict[str, Scenario] = {
    "cut-end": Scenario(says=_PARTS, delivery=Delivery(cut_after=10)),
    "cut-reset": Scenario(says=_PARTS, delivery=Delivery(cut_after=10, ending="reset")),
    "cut-in-call": Scenario(says=(WORDS, LONG), delivery=Delivery(cut_after=20)),
    "cut-at-once": Scenario(says=_PARTS, delivery=Delivery(cut_after=0)),
    "garbage": Scenario(
        says=_PARTS,
        delivery=Delivery(cut_after=10, garbage='data: {"what": [is this\n\n{"and": \n\n'),
    ),
    "fault-overloaded": Scenario(says=_PARTS, fault=Fault(kind="overloaded", in_stream=True)),
    "fault-server": Scenario(says=_PARTS, fault=Fault(kind="server", in_stream=True)),
    "fault-rate": Scenario(says=_PARTS, fault=Fault(kind="rate_limit", in_stream=True)),
    "fault-event": Scenario(says=_PARTS, fault=Fault(kind="server", in_stream=True, as_event=True)),
    "fault-at-once": Scenario(fault=Fault(kind="overloaded", in_stream=True)),
}
STALLED: dict[str, Scenario] = {
    "stall": Scenario(says=_PARTS, delivery=Delivery(cut_after=10, ending="hold")),
}
EVERY: dict[str, Scenario] = {**REPLIES, **ERRORS, **BROKEN, **STALLED, "loop": LOOP}
