"""What a request's events become: text for a person, one JSON document, or a line an event."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from types import ModuleType
from typing import Any, cast

import msgspec

from aiex.core import (
    ChangeSummary,
    ContextShown,
    Event,
    Facts,
    Failed,
    Finished,
    ModelChosen,
    ModelEnded,
    Notice,
    Progress,
    ReasoningText,
    Restarted,
    Text,
    UsageError,
    outcome_of,
)
from aiex.interfaces.cli.console import Console, safe
from aiex.interfaces.cli.envelope import envelope_of_failure, envelope_of_result
from aiex.interfaces.cli.faults import fault_file
from aiex.interfaces.cli.options import Globals

__all__ = ["View", "check_form", "exit_code_of", "report_failure"]

_MOST_NOT_CHECKED = 12


def exit_code_of(body: Finished | Failed) -> int:
    """Return the exit status for a request's last event."""
    if isinstance(body, Failed):
        return outcome_of(body.error.code).exit_code
    return 1 if body.status == "findings" else 0


def _renderer(command: str) -> ModuleType:
    return import_module(f"aiex.interfaces.cli.render.{command.partition(' ')[0]}")


def _forms(command: str) -> dict[str, Callable[[Finished], str]]:
    """Return what writes a result of *command* in each form besides text and JSON."""
    renderer = _renderer(command)
    forms = getattr(renderer, "FORMS_OF", {}).get(command) or getattr(renderer, "FORMS", {})
    return cast("dict[str, Callable[[Finished], str]]", forms)


def check_form(command: str, asked: Globals) -> None:
    """Refuse a form that the command's result does not have, before anything is done.

    Raises:
        UsageError: It has no such form.
    """
    if asked.json is not None and asked.format not in {None, "json"}:
        raise UsageError(f"--json and --format {asked.format} contradict each other")
    if asked.jsonl and (asked.json is not None or asked.format is not None):
        raise UsageError("--jsonl and another form contradict each other")
    if asked.form in {"text", "json"}:
        return
    forms = _forms(command)
    if asked.form not in forms:
        raise UsageError(
            f"{command} has no form {asked.form}",
            hint=f"--format {' | '.join(['text', 'json', *forms])}",
        )


class View:
    """Writes the events of one request.

    Args:
        command: Command that runs, as the envelope names it.
        asked: The global options.
        console: Where to write.

    Attributes:
        change: The proposal that the request made; `None` before its end and without one.
    """

    def __init__(self, command: str, asked: Globals, console: Console) -> None:
        self._command = command
        self._asked = asked
        self._console = console
        self._has_facts = False
        self._line_is_open = False
        self._reasons = False
        self.change: ChangeSummary | None = None

    def take(self, event: Event) -> int | None:
        """Write *event*; return the exit status after the last one."""
        body = event.body
        if isinstance(body, Finished):
            self.change = body.change
        if self._asked.jsonl:
            self._console.write_data(msgspec.json.encode(event) + b"\n")
            if isinstance(body, Failed):
                show_failure(body, self._console)
        elif isinstance(body, Finished):
            self._finished(body)
        elif isinstance(body, Failed):
            self._close_line()
            report_failure(body, self._command, self._asked, self._console)
        else:
            self._along_the_way(body)
        return exit_code_of(body) if isinstance(body, Finished | Failed) else None

    def _along_the_way(self, body: Any) -> None:
        match body:
            case Progress():
                self._console.progress(body.stage, body.done, body.total, body.unit)
            case Notice():
                self._note(body.text, "yellow" if body.level == "warning" else "dim")
            case ModelChosen():
                if self._asked.verbose:
                    self._note(f"asking {body.provider}:{body.model} ({body.reason})", "dim")
            case Restarted():
                self._note(f"begins anew with {body.provider}:{body.model}: {body.reason}", "dim")
            case ModelEnded():
                self._close_line()
            case ContextShown():
                self._note(f"{body.text}\n({body.tokens} tokens)", "dim")
                for one in body.left_out:
                    self._note(f"left out: {one.in_words}", "dim")
            case _ if self._asked.form == "text":
                self._words(body)

    def _words(self, body: Any) -> None:
        match body:
            case Facts():
                self._has_facts = True
                show = getattr(_renderer(self._command), "show_facts", None)
                if show is not None:
                    show(body.data, self._console)
            case ReasoningText():
                if self._asked.verbose:
                    dim = self._console.styled(safe(body.text), "dim", stream=sys.stderr)
                    self._console.message(dim)
                elif self._console.can_progress and not self._reasons:
                    self._console.progress("the model thinks", 0, None, "")
                self._reasons = True
            case Text():
                self._console.write(safe(body.text))
                self._line_is_open = not body.text.endswith("\n")

    def _finished(self, body: Finished) -> None:
        self._close_line()
        code = exit_code_of(body)
        form = self._asked.form
        if form == "json":
            document = envelope_of_result(
                self._command, body, exit_code=code, fields=self._asked.fields
            )
            self._console.write_data(document)
            self._note_unknown(body)
        elif form == "text":
            renderer = _renderer(self._command)
            show = getattr(renderer, f"show_{self._command.replace(' ', '_')}", renderer.show)
            show(body, self._console)
            self._not_checked(body)
            self._usage(body)
        else:
            self._console.write_data(_forms(self._command)[form](body).encode())

    def _note_unknown(self, body: Finished) -> None:
        """Say which of the fields that were asked for the data does not have."""
        if not self._asked.fields:
            return
        known = msgspec.json.decode(body.data, type=dict[str, msgspec.Raw])
        unknown = [name for name in self._asked.fields if name not in known]
        if unknown:
            self._console.error(
                f"the data has no {', '.join(unknown)}; it has {', '.join(known)}", "yellow"
            )

    def _not_checked(self, body: Finished) -> None:
        missing = body.not_checked
        for note in missing[:_MOST_NOT_CHECKED]:
            tool = f" ({note.tool})" if note.tool else ""
            self._console.error(f"not checked: {note.what}{tool}: {note.reason}", "dim")
        if len(missing) > _MOST_NOT_CHECKED:
            more = len(missing) - _MOST_NOT_CHECKED
            self._console.error(f"not checked: {more} more; --json names them all", "dim")

    def _usage(self, body: Finished) -> None:
        usage = body.usage
        if not usage.calls:
            return
        cost = usage.cost_usd_micros
        price = "unpriced" if cost is None else f"${cost / 1_000_000:.4f}"
        self._console.note(
            f"{usage.provider}:{usage.model}  {usage.input_tokens} tokens in, "
            f"{usage.output_tokens} out, {price}",
            "dim",
        )

    def _note(self, text: str, style: Any) -> None:
        self._close_line()
        self._console.note(text, style)

    def _close_line(self) -> None:
        if self._line_is_open:
            self._console.write("\n")
            self._line_is_open = False


def report_failure(body: Failed, command: str, asked: Globals, console: Console) -> None:
    """Write what went wrong, and what to do next."""
    body = _with_details(body)
    if asked.jsonl:
        event = Event(id=1, request_id="", at=datetime.now(UTC), body=body)
        console.write_data(msgspec.json.encode(event) + b"\n")
    elif asked.form == "json":
        code = exit_code_of(body)
        console.write_data(envelope_of_failure(command, body, exit_code=code))
    show_failure(body, console)


def show_failure(body: Failed, console: Console) -> None:
    """Write what went wrong, and what to do next, for a person."""
    body = _with_details(body)
    console.error(f"error: {body.error.message}", "red")
    if body.error.hint:
        console.error(f"next:  {body.error.hint}")


def _with_details(body: Failed) -> Failed:
    """Return *body* with the place where the details of a fault of Aiex are."""
    file = fault_file()
    if body.error.code != "internal" or file is None:
        return body
    hint = f"this is a fault of Aiex: please report it, with the details that are in {file}"
    error = msgspec.structs.replace(body.error, hint=hint)
    return msgspec.structs.replace(body, error=error)
