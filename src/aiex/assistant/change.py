"""`change`: lists, shows and applies stored proposals."""

from __future__ import annotations

import msgspec

from aiex.assistant.proposals import Proposals, summary_of
from aiex.assistant.verbs import Run
from aiex.core import ChangeArguments, ChangesResult, Finished, UsageError

__all__ = ["ChangeVerb"]


class ChangeVerb:
    """The verb.

    Args:
        proposals: Makes, shows and applies stored changes.
    """

    name = "change"
    arguments_type = ChangeArguments

    def __init__(self, proposals: Proposals) -> None:
        self._proposals = proposals

    async def run(self, arguments: ChangeArguments, run: Run) -> Finished:
        """Do what was asked for."""
        if arguments.action == "list":
            return await self._list(run)
        if arguments.id is None:
            raise UsageError("which change?", hint="aiex change list")
        change = await self._proposals.changes.get(arguments.id)
        would_apply: bool | None = None
        if arguments.action == "apply" and arguments.check_only:
            await self._proposals.check(change, run, overwrite=arguments.overwrite)
            would_apply = True
        elif arguments.action == "apply":
            change = await self._proposals.apply(change, run, overwrite=arguments.overwrite)
        view = await self._proposals.view(change)
        result = ChangesResult(action=arguments.action, changes=(view,), would_apply=would_apply)
        return Finished(
            status="ok",
            data=msgspec.Raw(msgspec.json.encode(result)),
            termination_reason="applied" if change.status == "applied" else "shown",
            change=summary_of(change),
            checked=change.checks,
            not_checked=change.not_checked,
        )

    async def _list(self, run: Run) -> Finished:
        changes = await self._proposals.changes.list(root=run.request.root)
        views = tuple([await self._proposals.view(c, with_diff=False) for c in changes])
        result = ChangesResult(action="list", changes=views)
        return Finished(status="ok", data=msgspec.Raw(msgspec.json.encode(result)))
