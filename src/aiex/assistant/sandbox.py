"""`sandbox`: says what keeps commands inside on this machine, and tries to get out."""

from __future__ import annotations

import msgspec

from aiex.assistant.verbs import Run
from aiex.core import (
    EscapeView,
    Finished,
    ProbeView,
    Progress,
    SandboxArguments,
    SandboxResult,
)
from aiex.sandbox import ESCAPES, Attempt, Isolation

__all__ = ["SandboxVerb"]


class SandboxVerb:
    """The verb.

    Args:
        isolation: Runs commands.
    """

    name = "sandbox"
    arguments_type = SandboxArguments

    def __init__(self, isolation: Isolation) -> None:
        self._isolation = isolation

    async def run(self, arguments: SandboxArguments, run: Run) -> Finished:
        """Look at the sandbox; an escape that was not refused is a finding."""
        if arguments.action == "status":
            return await self._status()
        return await self._test(arguments, run)

    async def _status(self) -> Finished:
        status = await self._isolation.status()
        result = SandboxResult(
            action="status",
            level=status.level,
            require=status.require,
            abi=status.abi,
            paths_by=status.paths_by,
            probes=tuple(
                ProbeView(level=p.level, passes=p.passes, detail=p.detail, errno=p.errno)
                for p in status.probes
            ),
            not_covered=status.not_covered,
            policy_sha256=status.policy_sha256,
        )
        return Finished(
            status="ok", data=msgspec.Raw(msgspec.json.encode(result)), termination_reason="looked"
        )

    async def _test(self, arguments: SandboxArguments, run: Run) -> Finished:
        tried: list[Attempt] = []

        async def told(attempt: Attempt) -> None:
            tried.append(attempt)
            done = len(tried)
            await run.emit(Progress(stage="escapes", done=done, total=len(ESCAPES), unit="escapes"))

        level = await self._isolation.escapes(arguments.level, told)
        result = SandboxResult(
            action="test",
            level=level,
            require=self._isolation.policy.require,
            escapes=tuple(
                EscapeView(
                    name=one.name,
                    tries=one.tries,
                    started=one.started,
                    refused=one.refused,
                    detail=one.detail,
                )
                for one in tried
            ),
        )
        out = [one.name for one in tried if not one.refused]
        return Finished(
            status="findings" if out else "ok",
            data=msgspec.Raw(msgspec.json.encode(result)),
            termination_reason=f"not refused: {', '.join(out)}" if out else "all were refused",
        )
