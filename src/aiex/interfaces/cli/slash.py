"""What can be said at the prompt that is not for the model: `/model`, `/cost` and the like."""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec.structs import replace

from aiex.core import AiexError, UsageError, nearest
from aiex.interfaces.cli.console import Console
from aiex.interfaces.cli.talk import Talk

__all__ = ["Slash"]

_COMMAND = re.compile(r"/([a-z]+)(?:\s+(.*))?", re.DOTALL)
_HELP = {
    "model": "/model [PROVIDER:MODEL]  ask this model from now on; without one, say who answers",
    "context": "/context                 what of the project the last answer was shown",
    "cost": "/cost                    what the session used so far",
    "new": "/new                     begin a new session",
    "fork": "/fork                    go on in a copy of the session",
    "help": "/help                    this list",
    "exit": "/exit                    leave, as Ctrl-D does",
}
_KEYS = "Enter sends; Alt-Enter or a \\ at the end of a line begins another; Ctrl-C ends an answer"


class Slash:
    """Does what is said to the prompt itself.

    Args:
        talk: The conversation.
        console: Where to write.
    """

    def __init__(self, talk: Talk, console: Console) -> None:
        self._talk = talk
        self._console = console
        self._commands: dict[str, Callable[[str], None]] = {
            "model": self._model,
            "context": self._context,
            "cost": self._cost,
            "new": self._new,
            "fork": self._fork,
            "help": self._help,
        }

    def do(self, line: str) -> bool | None:
        """Return whether to leave; `None` if *line* is something to say to the model."""
        found = _COMMAND.fullmatch(line.strip())
        if found is None:
            return None
        name, rest = found[1], (found[2] or "").strip()
        if name in {"exit", "quit"}:
            return True
        command = self._commands.get(name)
        try:
            if command is None:
                near = nearest(name, list(_HELP))
                raise UsageError(
                    f"there is no command /{name}",
                    hint=f"did you mean /{near}?" if near else "/help lists them",
                )
            command(rest)
        except AiexError as error:
            self._console.error(f"error: {error.message}", "red")
            if error.hint:
                self._console.error(f"next:  {error.hint}")
        return False

    def _help(self, rest: str) -> None:
        del rest
        for text in (*_HELP.values(), _KEYS):
            self._console.error(text)

    def _model(self, rest: str) -> None:
        talk = self._talk
        if rest:
            talk.asked = replace(talk.asked, model=rest, provider=None)
            self._console.error(f"{rest} is asked from now on")
            return
        session = talk.session
        named = talk.asked.model or (None if session is None else session.model)
        last = None if session is None else session.answered_by
        self._console.error(f"asked: {named or 'whoever can answer'}")
        if last:
            self._console.error(f"answered last: {last}")
        self._console.error("aiex model list shows all; /model PROVIDER:MODEL names one")

    def _context(self, rest: str) -> None:
        del rest
        last = self._talk.last
        if last is None:
            raise UsageError("nothing was answered yet", hint="say something first")
        for shown in last.context:
            self._console.error(
                f"{shown.path}:{shown.start_line}  {shown.tokens} tokens  {shown.form}: "
                f"{shown.reason}"
            )
        if not last.context:
            self._console.error("nothing of the project")
        turns = 0 if last.session is None else last.session.turns
        left_out = f", {last.left_out} of them left out" if last.left_out else ""
        self._console.error(f"turns of this session: {turns}{left_out}")

    def _cost(self, rest: str) -> None:
        del rest
        session = self._talk.session
        if session is None:
            raise UsageError("nothing was answered yet", hint="say something first")
        usage = session.usage
        cost = usage.cost_usd_micros
        price = "unpriced" if cost is None else f"${cost / 1_000_000:.4f}"
        self._console.error(
            f"{usage.calls} calls, {usage.input_tokens} tokens in, {usage.output_tokens} out, "
            f"{price}"
        )

    def _new(self, rest: str) -> None:
        del rest
        self._talk.tell_where()
        self._talk.start_anew()
        self._console.error("a new session begins with what you say next")

    def _fork(self, rest: str) -> None:
        del rest
        self._talk.fork()
        self._console.error("what you say next goes on in a copy")
