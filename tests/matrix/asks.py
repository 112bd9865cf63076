"""What clients ask in the matrix."""

from __future__ import annotations

from tests.matrix.questions import (
    ANSWER_SCHEMA,
    NOTES,
    PNG,
    REPORT,
    Document,
    Question,
    Result,
    Round,
    ToolSpec,
)
from tests.matrix.scenarios import ONE, THOUGHT, TWO

from aiex.testing.upstream import Hide

NOW = ToolSpec(name="now", description="", schema={"type": "object", "properties": {}})
ADDRESS = "https://example.com/a.png"

QUESTIONS: dict[str, Question] = {
    "plain": Question(),
    "odd-text": Question(text='zwölf · 数 🧪👩‍🔬 a\u2028b\u2029c\u0085d\x0b\x0ce\\"\n\t/\u00adf'),
    "system": Question(system="Sei kurz. 🧪"),
    "picture": Question(pictures=(PNG,)),
    "pictures": Question(pictures=(PNG, PNG)),
    "picture-address": Question(pictures=(ADDRESS,)),
    "picture-kept": Question(pictures=("file-picture1",)),
    "text-document": Question(documents=(Document(kind="text", value=NOTES, name="notes.txt"),)),
    "pdf": Question(documents=(REPORT,)),
    "pdf-address": Question(
        documents=(Document(kind="address", value="https://example.com/a.pdf"),)
    ),
    "pdf-kept": Question(documents=(Document(kind="kept", value="file-report1"),)),
    "audio": Question(audio="UklGRg=="),
    "tool": Question(tools=(ToolSpec(),)),
    "tool-strict": Question(tools=(ToolSpec(strict=True),)),
    "tools": Question(tools=(ToolSpec(), NOW)),
    "tools-auto": Question(tools=(ToolSpec(),), tool_choice="auto"),
    "tools-none": Question(tools=(ToolSpec(),), tool_choice="none"),
    "tools-required": Question(tools=(ToolSpec(),), tool_choice="required"),
    "tools-named": Question(tools=(ToolSpec(), NOW), tool_choice="tool:now"),
    "tools-single": Question(tools=(ToolSpec(),), tool_choice="auto", parallel=False),
    "tools-parallel": Question(tools=(ToolSpec(),), tool_choice="auto", parallel=True),
    "result": Question(tools=(ToolSpec(),), rounds=(Round(calls=(ONE,), results=(Result(),)),)),
    "result-after-text": Question(
        tools=(ToolSpec(),),
        rounds=(Round(calls=(ONE,), results=(Result(),), said="Let me look."),),
    ),
    "results": Question(
        tools=(ToolSpec(),),
        rounds=(Round(calls=(ONE, TWO), results=(Result(), Result(text="zwölf 🧪"))),),
    ),
    "result-empty": Question(
        tools=(ToolSpec(),), rounds=(Round(calls=(ONE,), results=(Result(text=""),)),)
    ),
    "result-rounds": Question(
        tools=(ToolSpec(),),
        rounds=(
            Round(calls=(ONE,), results=(Result(),)),
            Round(calls=(TWO,), results=(Result(text="more"),), said="And again."),
        ),
    ),
    "result-error": Question(
        tools=(ToolSpec(),),
        rounds=(Round(calls=(ONE,), results=(Result(text="no such file", is_error=True),)),),
    ),
    "result-picture": Question(
        tools=(ToolSpec(),),
        rounds=(Round(calls=(ONE,), results=(Result(text="here", has_picture=True),)),),
    ),
    "result-document": Question(
        tools=(ToolSpec(),),
        rounds=(Round(calls=(ONE,), results=(Result(text="here", has_document=True),)),),
    ),
    "thought": Question(
        tools=(ToolSpec(),),
        rounds=(Round(calls=(ONE,), results=(Result(),), thought=THOUGHT),),
    ),
    "thought-hidden": Question(
        tools=(ToolSpec(),),
        rounds=(Round(calls=(ONE,), results=(Result(),), hidden=Hide()),),
    ),
    "schema": Question(schema=ANSWER_SCHEMA),
    "any-json": Question(text="Answer in JSON.", any_json=True),
    "sampling": Question(temperature=0.25, top_p=0.5),
    "warm": Question(temperature=1.5),
    "stop": Question(stop=("END", "\n\n")),
    "stop-words": Question(stop=("END", "STOP")),
    "seed": Question(seed=7),
    "few-tokens": Question(max_tokens=5),
    "effort": Question(effort="low"),
    "effort-none": Question(effort="none"),
    "effort-minimal": Question(effort="minimal"),
    "effort-highest": Question(effort="xhigh"),
    "effort-most": Question(effort="max"),
    "budget": Question(budget=2048),
    "user": Question(user="u-1"),
}
