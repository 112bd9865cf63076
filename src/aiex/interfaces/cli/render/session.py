"""Sessions, for a terminal, and one as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from aiex.core import (
    Finished,
    Message,
    Session,
    SessionResult,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Turn,
)
from aiex.interfaces.cli.console import Console, safe

__all__ = ["FORMS_OF", "export_markdown", "show", "show_session_export"]

_LONGEST_RESULT = 400


def show(finished: Finished, console: Console) -> None:
    """Write what `session` answered."""
    result = msgspec.json.decode(finished.data, type=SessionResult)
    match result.action:
        case "list":
            _list(result, console)
        case "show":
            _show(result, console)
        case _:
            console.line(_done(result))


def show_session_export(finished: Finished, console: Console) -> None:
    """Write the document alone, so that it can be sent to a file."""
    result = msgspec.json.decode(finished.data, type=SessionResult)
    raw = msgspec.json.encode(result.document)
    console.write_data(msgspec.json.format(raw, indent=2) + b"\n")


def _done(result: SessionResult) -> str:
    (session,) = result.sessions
    would = "would be " if result.would else "is "
    readers = ", ".join(session.shared_with) or "nobody else"
    match result.action:
        case "delete":
            return f"session {session.id} {would}deleted"
        case "share":
            return f"session {session.id} {would}readable by {session.owner} and {readers}"
        case "handoff":
            return f"session {session.id} {would}{session.owner}'s"
        case _ if result.would:
            return f"would import a session of {session.turns} turns"
        case _:
            return session.id


def _list(result: SessionResult, console: Console) -> None:
    if not result.sessions:
        console.note('no sessions; aiex chat "TEXT" begins one')
    for session in result.sessions:
        console.line(_about(session), label=f"{session.id}  ")


def _about(session: Session) -> str:
    turns = "1 turn" if session.turns == 1 else f"{session.turns} turns"
    parts = [
        f"{session.updated:%Y-%m-%d %H:%M}",
        turns,
        _cost(session),
        session.owner,
        f"shared with {', '.join(session.shared_with)}" if session.shared_with else "",
        session.title,
    ]
    return "  ".join(part for part in parts if part)


def _cost(session: Session) -> str:
    cost = session.usage.cost_usd_micros
    return "unpriced" if cost is None else f"${cost / 1_000_000:.4f}"


def _show(result: SessionResult, console: Console) -> None:
    (session,) = result.sessions
    console.line(session.title or session.id, "bold")
    for label, text in _facts(session):
        console.line(text, label=f"{label:<9}")
    if not result.is_readable:
        console.note(f"what was said is {session.owner}'s to read", "yellow")
    for turn in result.turns:
        console.line()
        _turn(turn, console)


def _facts(session: Session) -> Iterator[tuple[str, str]]:
    yield "id", session.id
    yield "owner", session.owner
    if session.shared_with:
        yield "readers", ", ".join(session.shared_with)
    if session.root:
        yield "project", session.root
    yield "begun", f"{session.created:%Y-%m-%d %H:%M} UTC"
    if session.parent is not None:
        yield "of", f"{session.parent.id} ({session.parent.kind}, {session.parent.turns} turns)"
    if session.answered_by:
        yield "model", session.answered_by
    usage = session.usage
    tokens = f"{usage.input_tokens} tokens in, {usage.output_tokens} out"
    yield "used", f"{usage.calls} calls, {tokens}, {_cost(session)}"


def _turn(turn: Turn, console: Console) -> None:
    for entry in turn.entries:
        for text, label in _lines(entry.message):
            console.line(text, label=f"{label}  ", tone="green" if label == "you" else "cyan")
    if turn.state != "done":
        why = f": {turn.note}" if turn.note else ""
        console.line(f"(turn {turn.number} is {turn.state}{why})", "yellow")


def _lines(message: Message) -> Iterator[tuple[str, str]]:
    for part in message.parts:
        match part:
            case TextPart():
                yield part.text.strip(), "you" if message.role == "user" else "aiex"
            case ToolCallPart():
                yield f"{part.name} {part.arguments}", "tool"
            case ToolResultPart() if part.is_error:
                yield part.text, "tool"


def export_markdown(finished: Finished) -> str:
    """Return an exported session as Markdown, to be read."""
    result = msgspec.json.decode(finished.data, type=SessionResult)
    document = result.document
    if document is None:
        return ""
    session = document.session
    lines = [f"# {_flat(session.title) or session.id}", ""]
    lines += [f"- {label}: {_flat(text)}" for label, text in _facts(session)]
    for turn in document.turns:
        lines += ["", f"## Turn {turn.number}", ""]
        for entry in turn.entries:
            lines += _paragraphs(entry.message)
        if turn.state != "done":
            lines += [f"*This turn is {turn.state}: {_flat(turn.note)}*", ""]
    return "\n".join(lines).rstrip() + "\n"


def _paragraphs(message: Message) -> Iterator[str]:
    who = "You" if message.role == "user" else "Assistant"
    for part in message.parts:
        match part:
            case TextPart():
                yield from (f"**{who}**", "", safe(part.text).strip(), "")
            case ToolCallPart():
                yield from (f"**Tool** `{_flat(part.name)}`", "", *_fence(part.arguments), "")
            case ToolResultPart():
                text = part.text[:_LONGEST_RESULT]
                more = "\n(cut)" if len(part.text) > len(text) else ""
                yield from (*_fence(f"{text}{more}"), "")


def _fence(text: str) -> Iterator[str]:
    fence = "`" * 3
    while fence in text:
        fence += "`"
    yield from (fence, safe(text), fence)


def _flat(text: str) -> str:
    return " ".join(safe(text).split())


FORMS_OF: dict[str, dict[str, Callable[[Finished], str]]] = {
    "session export": {"md": export_markdown}
}
"""Only what is exported has a form to read."""
