"""`analyze hotspots`: files that are both complex and often changed."""

from __future__ import annotations

import anyio

from aiex.assistant.analyze.finished import finished
from aiex.assistant.analyze.history import SINCE, History, HistoryReader
from aiex.assistant.analyze.ranking import hotspots
from aiex.assistant.project import ProjectReader
from aiex.assistant.verbs import Run
from aiex.core import AnalyzeArguments, Finished, HotspotsResult

__all__ = ["HotspotsAnalysis"]


class HotspotsAnalysis:
    """Ranks files by churn and complexity.

    Args:
        reader: Reads the project.
        history: Knows how often files changed.
    """

    def __init__(self, *, reader: ProjectReader, history: HistoryReader) -> None:
        self._reader = reader
        self._history = history

    async def run(self, arguments: AnalyzeArguments, run: Run) -> Finished:
        """Return what was found."""
        root = self._reader.open(run.request).root
        use_cache = run.request.options.use_cache
        history = History(churn={})

        async def look_back() -> None:
            nonlocal history
            history = await self._history.read(root, arguments.since, use_cache=use_cache)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look_back)
            project = await self._reader.read(run, arguments.paths or (".",), brief=True)
        found = hotspots(project.files, history.churn)
        result = HotspotsResult(
            since=arguments.since or SINCE, files=len(found), hotspots=found[: arguments.most]
        )
        return finished(result, not_checked=(*project.not_checked, *history.not_checked))
