"""`aiex chat`: one turn, a turn a line, or a prompt; all of them in one session."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import msgspec
from msgspec.structs import replace

from aiex.app import open_gateway
from aiex.core import (
    ChatArguments,
    ChatBegun,
    ChatResult,
    Event,
    Facts,
    Failed,
    Finished,
    Session,
    Text,
    UsageError,
)
from aiex.gateway import Gateway
from aiex.interfaces.cli.drive import Setup, follow, made
from aiex.interfaces.cli.hidden import asker
from aiex.interfaces.cli.options import Globals
from aiex.interfaces.cli.page import Page
from aiex.interfaces.cli.stdin import Lines, is_terminal, piped_text
from aiex.interfaces.cli.view import View, check_form

__all__ = ["Start", "Talk", "talk"]


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Where a conversation begins.

    Attributes:
        session: Session to go on with, or a beginning of its id; empty for none.
        latest: Whether to go on with the newest one of the project.
        fork: Whether to go on in a copy.
    """

    session: str = ""
    latest: bool = False
    fork: bool = False


class _ChatView(View):
    """Writes one turn, and keeps what the next one needs to know of it."""

    def __init__(self, setup: Setup, asked: Globals) -> None:
        super().__init__("chat", asked, setup.console)
        self._page = Page() if setup.console.has_color else None
        self.begun: ChatBegun | None = None
        self.result: ChatResult | None = None
        self.failed: Failed | None = None

    def take(self, event: Event) -> int | None:
        """Write *event*."""
        match event.body:
            case Facts(data=data):
                self.begun = msgspec.json.decode(data, type=ChatBegun)
            case Finished(data=data):
                self.result = msgspec.json.decode(data, type=ChatResult)
            case Failed():
                self.failed = event.body
        return super().take(event)

    def _words(self, body: object) -> None:
        """Write words; at a terminal as the Markdown that they are, paragraph by paragraph."""
        if self._page is None or not isinstance(body, Text):
            super()._words(body)
            return
        self._console.write(self._page.add(body.text))
        if self._page.waiting:
            self._console.progress("the model writes", self._page.waiting, None, "characters")

    def _close_line(self) -> None:
        if self._page is not None:
            self._console.write(self._page.end())
        super()._close_line()


class Talk:
    """A conversation, turn by turn, in the session that it began or goes on with.

    Args:
        setup: What the command stands on.
        gateway: Answers.
        start: Where it begins.

    Attributes:
        asked: The global options; a model that is named later stands in them.
        session: The session as the last answer left it; `None` before.
        last: What the last turn that was answered was; `None` before.
    """

    def __init__(self, setup: Setup, gateway: Gateway, start: Start) -> None:
        self._setup = setup
        self._gateway = gateway
        self._start = start
        self._id = ""
        self._after: int | None = None
        self.asked = setup.asked
        self.session: Session | None = None
        self.last: ChatResult | None = None

    @property
    def id(self) -> str:
        """Identifier of the session; empty before it has begun."""
        return self._id

    def start_anew(self) -> None:
        """Let the next turn begin a new session."""
        self._start, self._id, self._after = Start(), "", None
        self.session, self.last = None, None

    def fork(self) -> None:
        """Let the next turn go on in a copy.

        Raises:
            UsageError: There is nothing to copy yet.
        """
        if not self._id:
            raise UsageError("there is nothing to copy yet", hint="say something first")
        self._start = replace(self._start, fork=True)

    async def turn(self, text: str, attached: str | None = None) -> int:
        """Say *text*, write the answer and return the exit status."""
        start = self._start
        arguments = ChatArguments(
            text=text,
            attached=attached,
            session=self._id or start.session,
            latest=start.latest and not self._id,
            fork=start.fork,
            after=None if start.fork else self._after,
        )
        view = _ChatView(self._setup, self.asked)
        code = await follow(
            self._gateway, made(self._setup, "chat", arguments, asked=self.asked), view
        )
        if view.begun is not None:
            self._start = Start()
            self._id, self._after = view.begun.session, view.begun.turn
        elif view.failed is not None and view.failed.error.code == "conflict":
            self._after = None  # the user was told: what is said next goes on after all of it
        if view.result is not None and view.result.text is not None:
            self.last, self.session = view.result, view.result.session
        return code

    def tell_where(self) -> None:
        """Say how to go on with the session later."""
        if self._id:
            self._setup.console.note(
                f"session {self._id}; go on: aiex chat --resume {self._id}", "dim"
            )


def talk(setup: Setup, start: Start, *, text: str | None) -> int:
    """Hold a conversation and return the exit status.

    Args:
        setup: What the command stands on.
        start: Where it begins.
        text: The one thing that is said; `None` for each line of standard input, or what is typed.
    """
    check_form("chat", setup.asked)
    if text is not None:
        attached = piped_text()
        return _hold(setup, start, lambda talk: talk.turn(text, attached))
    if not is_terminal() or not sys.stdout.isatty() or setup.asked.form != "text":
        if sys.stdin is None:
            raise UsageError("nothing is said", hint='aiex chat "TEXT", or pipe lines into it')
        return _hold(setup, start, _line_by_line)
    from aiex.interfaces.cli.prompt import at_prompt

    return _hold(setup, start, partial(at_prompt, setup))


async def _line_by_line(talk: Talk) -> int:
    """Say each line; the first that is not answered ends it."""
    lines = Lines(sys.stdin.fileno())
    said = False
    while (line := await lines.next()) is not None:
        if not line.strip():
            continue
        said = True
        code = await talk.turn(line)
        if code:
            return code
    if not said:
        raise UsageError("standard input is empty", hint='aiex chat "TEXT", or a line a turn')
    return 0


def _hold(setup: Setup, start: Start, converse: Callable[[Talk], Awaitable[int]]) -> int:
    return anyio.run(partial(_held, setup, start, converse))


async def _held(setup: Setup, start: Start, converse: Callable[[Talk], Awaitable[int]]) -> int:
    gateway = await open_gateway(setup.loaded, setup.env, redact=setup.redact, ask=asker())
    async with gateway:
        talk = Talk(setup, gateway, start)
        try:
            return await converse(talk)
        except Exception as error:  # noqa: BLE001 - raised again, outside of the gateway's tasks
            problem = error
        finally:
            talk.tell_where()
    raise problem
