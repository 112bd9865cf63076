"""`chat`: answers in a session, with tools that read the project and never write."""

from __future__ import annotations

import platform
from contextlib import suppress
from pathlib import PurePath
from typing import Final

import anyio
import anyio.to_thread
import msgspec
from msgspec.structs import replace

from aiex.assistant import prompts
from aiex.assistant.chat.answering import LONGEST_REPLY, Answering
from aiex.assistant.chat.tools import TOOLS, ReadTools
from aiex.assistant.chat.writing import TurnWriter
from aiex.assistant.models import Chosen, Models, cost_of
from aiex.assistant.project import OpenFiles
from aiex.assistant.sessions.ports import AsksTurn
from aiex.assistant.summaries import Summaries
from aiex.assistant.verbs import Run
from aiex.context import conversation_of
from aiex.core import (
    AiexError,
    ChatArguments,
    ChatBegun,
    ChatResult,
    ConflictError,
    Entry,
    EventBody,
    Facts,
    Finished,
    Message,
    NotFoundError,
    Notice,
    PathRefusedError,
    Request,
    Session,
    ShownContext,
    TextPart,
    TurnArguments,
    TurnResult,
    UsageError,
    WantedSession,
    project_id,
)
from aiex.runtime import Clock

__all__ = ["Chat"]

_CONVENTIONS: Final = "AGENTS.md"
_CONVENTIONS_SHOWN: Final = ShownContext(
    path=_CONVENTIONS, start_line=1, reason="the project's conventions", form="whole"
)
_MOST_CONVENTIONS: Final = 32 * 1024  # bytes
_LONGEST_TITLE: Final = 80
_LAST_WAIT: Final = 5.0  # seconds that the end of a turn may take when the request is stopped


class Chat:
    """The verb.

    Args:
        models: Asks models.
        summaries: Make conversations fit in a model's window.
        files: Opens the files of a request; blocks.
        tools: What the model reads the project with.
        keep: What keeps sessions.
        writer: Name of this process.
        clock: Where time comes from.
    """

    name = "chat"
    arguments_type = ChatArguments

    def __init__(
        self,
        *,
        models: Models,
        summaries: Summaries,
        files: OpenFiles,
        tools: ReadTools,
        keep: AsksTurn,
        writer: str,
        clock: Clock,
    ) -> None:
        self._models = models
        self._summaries = summaries
        self._files = files
        self._tools = tools
        self._keep = keep
        self._writer = writer
        self._clock = clock

    async def run(self, arguments: ChatArguments, run: Run) -> Finished:
        """Answer what the user says, in the session that is meant."""
        if not arguments.text.strip():
            raise UsageError("nothing was said", hint='aiex chat "What does this project do?"')
        request = run.request
        wanted = _wanted(arguments, request)
        read = await self._keep(TurnArguments(action="read", wanted=wanted), request)
        run = _with_model(run, None if read.session is None else read.session.model)
        chosen = await self._models.choose(run.request.options)
        conventions = await self._conventions_of(run)
        system = prompts.chat(
            project=PurePath(request.root or "").name,
            conventions=conventions,
            reads=chosen.may_call_tools,
        )
        text = prompts.attached(arguments.text, arguments.attached)
        said = Entry(message=Message(role="user", parts=(TextPart(text=text),)))
        if request.options.dry_run:
            return await self._estimated(run, chosen, system, read, said)
        writer = f"{self._writer}.{request.id}"
        begun = await self._keep(
            TurnArguments(
                action="begin",
                writer=writer,
                wanted=wanted if read.session is None else replace(wanted, id=read.session.id),
                request_id=request.id,
                interface=request.principal.interface,
                title=_title(arguments.text),
                entries=(said,),
            ),
            request,
        )
        turn = TurnWriter(
            self._keep, begun, writer=writer, request=request, first=said, clock=self._clock
        )
        answering = Answering(
            models=self._models,
            summaries=self._summaries,
            tools=self._tools,
            run=run,
            chosen=chosen,
            system=system,
            past=begun.past,
            turn=turn,
        )
        if conventions:
            answering.show(_CONVENTIONS_SHOWN, conventions)
        forked = begun.session is not None and arguments.fork
        parent = begun.session.parent if begun.session is not None and forked else None
        told = ChatBegun(
            session="" if begun.session is None else begun.session.id,
            turn=begun.turn,
            parent=None if parent is None else parent.id,
        )
        await run.emit(Facts(data=msgspec.Raw(msgspec.json.encode(told))))
        session = await _kept(answering, turn)
        return _finished(session, begun.turn, answering)

    async def _conventions_of(self, run: Run) -> str:
        if run.request.root is None:
            return ""
        try:
            return await anyio.to_thread.run_sync(self._read_conventions, run.request)
        except NotFoundError:
            return ""
        except PathRefusedError as error:
            why = f"{_CONVENTIONS} is not shown to the model: {error.message}"
            await run.emit(Notice(text=why, level="warning"))
            return ""

    def _read_conventions(self, request: Request) -> str:
        lines = self._files(request).read_lines(_CONVENTIONS, limit=_MOST_CONVENTIONS)
        return lines.content.decode("utf-8", "replace")

    async def _estimated(
        self, run: Run, chosen: Chosen, system: Message, read: TurnResult, said: Entry
    ) -> Finished:
        past = conversation_of(read.past, with_tools=chosen.may_call_tools)
        asked = await self._models.ask(
            run,
            chosen,
            [system, *past, said.message],
            output_tokens=run.request.options.max_output_tokens or LONGEST_REPLY,
            tools=TOOLS if chosen.may_call_tools else (),
        )
        estimates = tuple(cost_of(estimate) for estimate in asked.estimates)
        turn = 1 if read.session is None else read.session.turns + 1
        result = ChatResult(session=read.session, turn=turn, estimates=estimates)
        return Finished(
            status="ok",
            data=msgspec.Raw(msgspec.json.encode(result)),
            termination_reason=asked.reason,
        )


async def _kept(answering: Answering, turn: TurnWriter) -> Session | None:
    """Let the turn be answered; whatever happens, what was said by then is kept."""
    failed: Exception | None = None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turn.keep_on)
            await answering.answer()
            tasks.cancel_scope.cancel()
    except ExceptionGroup as group:
        failed = group.exceptions[0] if len(group.exceptions) == 1 else group
    except anyio.get_cancelled_exc_class():
        with anyio.move_on_after(_LAST_WAIT, shield=True), suppress(AiexError):
            await turn.end(is_done=False, note="it was stopped", shown=answering.shown)
        raise
    if failed is None:
        return await turn.end(is_done=True, model=answering.model, shown=answering.shown)
    if not isinstance(failed, ConflictError):  # then it is not ours to end
        note = (
            failed.message
            if isinstance(failed, AiexError)
            else f"a fault of Aiex: {type(failed).__name__}"
        )
        with suppress(AiexError):
            await turn.end(is_done=False, note=note, shown=answering.shown)
    raise failed


def _finished(session: Session | None, turn: int, answering: Answering) -> Finished:
    result = ChatResult(
        session=session,
        turn=turn,
        text=answering.text,
        tools=tuple(answering.said),
        context=tuple(answering.shown),
        left_out=answering.left_out,
    )
    return Finished(
        status="ok",
        data=msgspec.Raw(msgspec.json.encode(result)),
        termination_reason=answering.reason,
        usage=answering.usage,
    )


def _wanted(arguments: ChatArguments, request: Request) -> WantedSession:
    root = request.root or ""
    return WantedSession(
        id=arguments.session,
        latest=arguments.latest,
        fork=arguments.fork,
        after=arguments.after,
        project=project_id(platform.node(), root),
        root=root,
        model=request.options.model,
    )


def _title(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_TITLE else f"{line[: _LONGEST_TITLE - 1]}…"


class _Named:
    """A request as if it named the model that its session was told to use."""

    def __init__(self, run: Run, model: str) -> None:
        self._run = run
        options = replace(run.request.options, model=model)
        self.request = replace(run.request, options=options)

    async def emit(self, body: EventBody) -> None:
        """Send one event."""
        await self._run.emit(body)


def _with_model(run: Run, model: str | None) -> Run:
    options = run.request.options
    if model is None or options.model is not None or options.provider is not None:
        return run
    return _Named(run, model)
