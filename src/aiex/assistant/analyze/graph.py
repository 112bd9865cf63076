"""`analyze graph`: which file imports which."""

from __future__ import annotations

import anyio.to_thread

from aiex.assistant.analyze.finished import finished
from aiex.assistant.analyze.measures import deferred_cycles
from aiex.assistant.project import Project, ProjectReader
from aiex.assistant.verbs import Run
from aiex.code import cycles, import_graph
from aiex.core import AnalyzeArguments, Finished, GraphEdge, GraphNode, GraphResult

__all__ = ["GraphAnalysis"]


class GraphAnalysis:
    """Finds the imports between the files of a project.

    Args:
        reader: Reads the project.
    """

    def __init__(self, *, reader: ProjectReader) -> None:
        self._reader = reader

    async def run(self, arguments: AnalyzeArguments, run: Run) -> Finished:
        """Return what was found."""
        project = await self._reader.read(run, arguments.paths or (".",), brief=True)
        result = await anyio.to_thread.run_sync(_result, project)
        return finished(result, not_checked=project.not_checked)


def _result(project: Project) -> GraphResult:
    graph = import_graph(project.files)
    eager = cycles(graph.eager)
    return GraphResult(
        nodes=tuple(
            GraphNode(
                path=path,
                language=facts.language,
                lines=facts.lines.total,
                outside=graph.outside[path],
            )
            for path, facts in project.files.items()
        ),
        edges=tuple(
            GraphEdge(
                source=path,
                target=target,
                when="eager" if target in graph.eager[path] else "deferred",
            )
            for path, targets in graph.edges.items()
            for target in sorted(targets)
        ),
        cycles=tuple(eager),
        deferred_cycles=deferred_cycles(graph, eager),
    )
