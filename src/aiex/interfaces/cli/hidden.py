"""Asking the person at the terminal for what must not be shown."""

from __future__ import annotations

import sys
from contextlib import suppress

from aiex.core import InterruptedByUserError

__all__ = ["Asker", "Terminal", "asker"]


def _can_ask() -> bool:
    """Return whether there is a person to ask."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def asker() -> Asker | None:
    """Return what asks; `None` if there is nobody to ask."""
    return Asker() if _can_ask() else None


class Asker:
    """Asks on the terminal, without echo. Blocks."""

    def __call__(self, question: str) -> str:
        """Return what is typed.

        Raises:
            InterruptedByUserError: Nothing will be.
        """
        from getpass import getpass

        try:
            return getpass(question)
        except (EOFError, KeyboardInterrupt) as error:
            raise InterruptedByUserError("nothing was typed") from error


class Terminal:
    """How the terminal stood, so that it can be put back where a question is cut short."""

    def __init__(self) -> None:
        self._stood = None
        with suppress(ImportError, OSError, ValueError):
            import termios

            self._stood = termios.tcgetattr(sys.stdin.fileno()) if _can_ask() else None

    def restore(self) -> None:
        """Let what is typed be shown again."""
        if self._stood is not None:
            import termios

            with suppress(OSError, termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self._stood)
