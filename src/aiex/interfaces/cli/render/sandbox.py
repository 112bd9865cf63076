"""What keeps commands inside, for a terminal."""

from __future__ import annotations

import msgspec

from aiex.core import Finished, SandboxResult
from aiex.interfaces.cli.console import Console

__all__ = ["show"]


def show(finished: Finished, console: Console) -> None:
    """Write what `sandbox` answered."""
    result = msgspec.json.decode(finished.data, type=SandboxResult)
    if result.action == "status":
        _status(result, console)
    else:
        _test(result, console)


def _status(result: SandboxResult, console: Console) -> None:
    if result.level is None:
        console.line(f"commands are refused: sandbox.require is {result.require}", "red")
    else:
        console.line(f"commands run at {result.level}", "bold")
    console.line(f"required     {result.require}")
    console.line(f"files        kept below the project by {result.paths_by}")
    console.line(f"Landlock     {f'version {result.abi}' if result.abi else 'none'}")
    console.line(f"policy       {result.policy_sha256[:16]}")
    for probe in result.probes:
        mark = "works" if probe.passes else "fails"
        console.line(
            f"{probe.level:<9} {probe.detail}",
            label=f"  {mark}  ",
            tone="green" if probe.passes else "yellow",
        )
    if result.not_covered:
        console.line("not covered", "bold")
        for text in result.not_covered:
            console.line(f"  {text}")


def _test(result: SandboxResult, console: Console) -> None:
    for escape in result.escapes:
        mark = "refused" if escape.refused else "OUT    " if escape.started else "no start"
        console.line(
            f"{escape.name:<22} {escape.detail}",
            label=f"  {mark}  ",
            tone="green" if escape.refused else "red",
        )
    refused = sum(escape.refused for escape in result.escapes)
    console.line(f"{refused} of {len(result.escapes)} escapes were refused at {result.level}")
