"""`analyze`: facts about a project, found without a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from aiex.assistant.verbs import Run
from aiex.core import AnalyzeArguments, Finished, UsageError

__all__ = ["Analysis", "Analyze"]


class Analysis(Protocol):
    """One kind of analysis."""

    async def run(self, arguments: AnalyzeArguments, run: Run) -> Finished:
        """Do it and return the last event's body; failures are raised."""


class Analyze:
    """The verb.

    Args:
        kinds: What does each kind of analysis, by `AnalyzeArguments.kind`.
    """

    name = "analyze"
    arguments_type = AnalyzeArguments

    def __init__(self, kinds: Mapping[str, Analysis]) -> None:
        self._kinds = kinds

    async def run(self, arguments: AnalyzeArguments, run: Run) -> Finished:
        """Do the analysis that is asked for."""
        analysis = self._kinds.get(arguments.kind)
        if analysis is None:
            raise UsageError(
                f"there is no analysis {arguments.kind}", hint=f"one of {', '.join(self._kinds)}"
            )
        return await analysis.run(arguments, run)
