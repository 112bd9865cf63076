"""Writing down the commands of one request: before each runs, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

from aiex.core import Actor, AiexError, AuditRecord, RefusedError
from aiex.sandbox.audit.log import AuditLog
from aiex.sandbox.command import Command, CommandResult

__all__ = ["Account"]

_MOST_WORDS = 64
_LONGEST_WORD = 1024


class Account:
    """Records commands.

    Args:
        audit: The log.
        actor: Who has them run.
        op_id: Groups the records of one request.
    """

    def __init__(self, audit: AuditLog, *, actor: Actor, op_id: str) -> None:
        self._audit = audit
        self._actor = actor
        self._op_id = op_id

    def of(self, command: Command, run: Callable[[], CommandResult]) -> CommandResult:
        """Return what *run* returns, with a record before and one after. Blocks.

        Raises:
            RefusedError: The log cannot be written; nothing was run.
            AiexError: What *run* raises.
        """
        argv = _bounded(command.argv)
        intent = AuditRecord(
            op_id=self._op_id, kind="intent", actor=self._actor, op="exec", argv=argv
        )
        self._audit.record(intent)
        started = perf_counter_ns()

        def ended(result: CommandResult | None, error: AiexError | None) -> None:
            refused = isinstance(error, RefusedError)
            if result is not None:
                reason = "timed out" if result.timed_out else result.ended_for or None
            else:
                reason = "it was stopped" if error is None else error.message
            self._audit.record(
                AuditRecord(
                    op_id=self._op_id,
                    kind="op",
                    actor=self._actor,
                    op="exec",
                    argv=argv,
                    decision="deny" if refused else "allow",
                    reason=reason,
                    level=None if result is None else result.level,
                    exit=None if result is None else result.exit,
                    dur_us=(perf_counter_ns() - started) // 1000,
                )
            )

        try:
            result = run()
        except AiexError as error:
            ended(None, error)
            raise
        except BaseException:
            ended(None, None)
            raise
        ended(result, None)
        return result


def _bounded(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return the beginning of a long command line, and how much is not told."""
    words = tuple(
        word
        if len(word) <= _LONGEST_WORD
        else f"{word[:_LONGEST_WORD]}... ({len(word)} characters)"
        for word in argv[:_MOST_WORDS]
    )
    more = len(argv) - len(words)
    return (*words, f"... {more} more words") if more else words
