"""`create project`: a new folder with a small project whose own tests pass."""

from __future__ import annotations

import anyio.to_thread
import msgspec

from aiex.assistant.project import OpenFiles
from aiex.assistant.skeletons import project_files
from aiex.assistant.verbs import Run
from aiex.core import CreateProjectArguments, CreateProjectResult, Finished, UsageError

__all__ = ["CreateProject"]

_TESTS = {"python": "python3 -m uv run pytest", "elixir": "mix test"}


class CreateProject:
    """The verb; it needs no model.

    Args:
        open_files: Opens the files of a request's root.
    """

    name = "create_project"
    arguments_type = CreateProjectArguments

    def __init__(self, open_files: OpenFiles) -> None:
        self._open_files = open_files

    async def run(self, arguments: CreateProjectArguments, run: Run) -> Finished:
        """Write the skeleton below the request's root, unless something is there already."""
        edits = project_files(arguments.name, arguments.language)
        is_dry = run.request.options.dry_run

        def write() -> str:
            files = self._open_files(run.request)
            if files.exists(arguments.name):
                raise UsageError(
                    f"{arguments.name} exists already in {files.root}; nothing was written",
                    hint="choose another name, or another folder with -C DIR",
                )
            if not is_dry:
                files.apply(edits)
            return f"{files.root}/{arguments.name}"

        folder = await anyio.to_thread.run_sync(write)
        result = CreateProjectResult(
            name=arguments.name,
            language=arguments.language,
            folder=folder,
            files=tuple(edit.path.partition("/")[2] for edit in edits),
            written=not is_dry,
            next=f"cd {arguments.name} && {_TESTS[arguments.language]}",
        )
        return Finished(
            status="ok",
            data=msgspec.Raw(msgspec.json.encode(result)),
            termination_reason="dry_run" if is_dry else "created",
        )
