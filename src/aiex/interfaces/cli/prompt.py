"""The prompt of `aiex chat` at a terminal: lines that can be edited, and what was said before."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from aiex.app import places_of
from aiex.interfaces.cli.drive import Setup
from aiex.interfaces.cli.slash import Slash
from aiex.interfaces.cli.talk import Talk

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

__all__ = ["at_prompt"]


async def at_prompt(setup: Setup, talk: Talk) -> int:
    """Say what is typed, until the user leaves; return the exit status."""
    console = setup.console
    typed = _session(_history(places_of(setup.loaded.settings.state).state))
    slash = Slash(talk, console)
    console.note("/help lists what can be said to the prompt; Ctrl-D leaves", "dim")
    while True:
        try:
            text = await typed.prompt_async("> ")
        except KeyboardInterrupt:
            console.note("Ctrl-D leaves", "dim")
            continue
        except EOFError:
            return 0
        if not text.strip():
            continue
        leaves = slash.do(text)
        if leaves is None:
            await talk.turn(text)
        elif leaves:
            return 0


def _history(state: Path) -> Path | None:
    """Return the file of what was typed, which nobody else can read; `None` if there is none."""
    path = state / "chat_history"
    with suppress(OSError):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        return path
    return None


def _session(history: Path | None) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    return PromptSession(
        history=InMemoryHistory() if history is None else FileHistory(history),
        key_bindings=_keys(),
        multiline=True,
        prompt_continuation="  ",
    )


def _keys() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.current_line_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _begin_a_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
