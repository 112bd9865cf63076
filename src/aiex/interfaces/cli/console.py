"""Writing to the terminal, or to whatever stands in its place."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Literal

from aiex.core import AiexError
from aiex.interfaces.cli.front import abandon_stdout

__all__ = ["Console", "ReaderLeftError", "Style", "safe"]

Style = Literal["bold", "dim", "red", "yellow", "green", "cyan"]

_CODES: dict[str, str] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "yellow": "33",
    "green": "32",
    "cyan": "36",
}
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def safe(text: str) -> str:
    r"""Return *text* with everything escaped that could act on a terminal; tabs and lines stay.

    Example:
        >>> safe("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return _UNSAFE.sub(lambda m: m[0].encode("unicode_escape", "surrogatepass").decode(), text)


class ReaderLeftError(Exception):
    """Nobody reads standard output any more: the command ends, and nothing went wrong."""


class Console:
    """Data goes to standard output, everything else to standard error.

    Args:
        color: When to use colour; `auto` means on a terminal, and not where NO_COLOR is set.
        quiet: Whether notices and progress are left out.
        verbose: Whether more is said about what happens.
        env: Environment variables.
    """

    def __init__(
        self,
        *,
        color: Literal["auto", "always", "never"] = "auto",
        quiet: bool = False,
        verbose: bool = False,
        env: dict[str, str] | None = None,
    ) -> None:
        env = dict(os.environ) if env is None else env
        self.quiet = quiet
        self.verbose = verbose
        self.is_terminal = sys.stdout.isatty()
        self.can_progress = sys.stderr.isatty() and not quiet and env.get("TERM") != "dumb"
        plain = bool(env.get("NO_COLOR")) or env.get("TERM") == "dumb"
        self._color = {"always": True, "never": False, "auto": not plain}[color]
        self._always = color == "always"
        self._progress_shown = False

    @property
    def has_color(self) -> bool:
        """Whether standard output is a terminal that takes colour."""
        return self._color and (self._always or self.is_terminal)

    def styled(self, text: str, *styles: Style, stream: IO[str] | None = None) -> str:
        """Return *text* in *styles* where the stream (standard output) takes them."""
        stream = stream or sys.stdout
        if not styles or not self._color or not (self._always or stream.isatty()):
            return text
        codes = ";".join(_CODES[style] for style in styles)
        return f"\x1b[{codes}m{text}\x1b[0m"

    def line(self, text: str = "", *styles: Style, label: str = "", tone: Style = "cyan") -> None:
        """Write a line of data, behind a *label* with a *tone* of its own."""
        head = self.styled(label, tone) if label else ""
        self.write(head + self.styled(safe(text), *styles) + "\n")

    def write(self, text: str) -> None:
        """Write data for a person, in the encoding of the terminal.

        Raises:
            ReaderLeftError: Whoever read has left.
            AiexError: Standard output takes no more.
        """
        self.clear_progress()
        with _output_errors():
            sys.stdout.write(text)
            sys.stdout.flush()

    def write_data(self, data: bytes) -> None:
        """Write data for a program, which counts on its bytes: UTF-8 whatever the terminal's.

        Raises:
            ReaderLeftError: Whoever read has left.
            AiexError: Standard output takes no more.
        """
        self.clear_progress()
        with _output_errors():
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def note(self, text: str, *styles: Style) -> None:
        """Write a line that is no data; left out when quiet."""
        if not self.quiet:
            self.error(text, *styles)

    def error(self, text: str, *styles: Style) -> None:
        """Write a line that is no data, quiet or not."""
        self.message(self.styled(safe(text), *styles, stream=sys.stderr) + "\n")

    def message(self, text: str) -> None:
        """Write what is no data, as it is; lost where standard error takes no more."""
        self.clear_progress()
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()

    def progress(self, stage: str, done: int, total: int | None, unit: str) -> None:
        """Show how far a long piece of work is, on a terminal only; rewrites its own line."""
        if not self.can_progress:
            return
        width = 24
        if total:
            filled = min(width, width * done // total)
            bar = "█" * filled + "░" * (width - filled)
            text = f"{stage} {bar} {_amount(done, unit)} of {_amount(total, unit)}"
        else:
            text = f"{stage} {_amount(done, unit)}"
        with suppress(OSError):
            sys.stderr.write(f"\r\x1b[2K{safe(text)}")
            sys.stderr.flush()
        self._progress_shown = True

    def clear_progress(self) -> None:
        """Take the line of progress away before something else is written."""
        if self._progress_shown:
            with suppress(OSError):
                sys.stderr.write("\r\x1b[2K")
                sys.stderr.flush()
            self._progress_shown = False


@contextmanager
def _output_errors() -> Iterator[None]:
    """Say what keeps standard output from taking more."""
    try:
        yield
    except BrokenPipeError as error:
        abandon_stdout()
        raise ReaderLeftError from error
    except OSError as error:
        abandon_stdout()
        raise AiexError(
            f"standard output cannot be written: {error.strerror}",
            hint="make room, or write it elsewhere",
        ) from error


def _amount(number: int, unit: str) -> str:
    if unit == "bytes":
        return f"{number / 1e6:.1f} MB"
    return f"{number} {unit}"
