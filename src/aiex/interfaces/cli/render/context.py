"""What the index of a project answers, for a terminal."""

from __future__ import annotations

import msgspec

from aiex.core import ContextResult, Finished, HitView, IndexView
from aiex.interfaces.cli.console import Console

__all__ = ["show"]

_SURE = {
    "strong": "",
    "fair": "not sure: the best piece has only a part of what was asked",
    "weak": "unlikely: little of what was asked stands in any piece",
    "none": "nothing of what was asked stands in the project",
}
_MOST_SYMBOLS = 4


def show(finished: Finished, console: Console) -> None:
    """Write what `context` answered."""
    result = msgspec.json.decode(finished.data, type=ContextResult)
    match result.action:
        case "search":
            for hit in result.hits:
                _hit(hit, console)
            _sureness(result, console)
        case "pack" | "map":
            console.write(result.text)
            _sureness(result, console)
            what = "pieces" if result.action == "pack" else "definitions"
            console.note(f"about {result.tokens} tokens; {result.left_out} {what} had no place")
        case "forget":
            console.line("the index of this project is deleted; the next search builds it anew")
        case "index" | "status":
            _index(result, console)


def _hit(hit: HitView, console: Console) -> None:
    console.line(f"{hit.path}:{hit.start_line}-{hit.end_line}", "bold")
    about = hit.signature or ", ".join(hit.symbols[:_MOST_SYMBOLS])
    why = "" if hit.reason == "words" else f"  ({hit.reason})"
    kind = "" if hit.kind == "code" else f"[{hit.kind}] "
    if about or why or kind:
        console.line(f"  {kind}{about}{why}")


def _sureness(result: ContextResult, console: Console) -> None:
    if said := _SURE.get(result.confidence):
        console.note(said)
    if result.unknown and result.confidence != "strong":
        console.note(f"nowhere in the code: {', '.join(result.unknown)}")


def _index(result: ContextResult, console: Console) -> None:
    index = result.index
    if index is None:
        return
    if result.action == "index":
        console.line(_done(index), "bold")
    kinds = ", ".join(f"{many} {kind}" for kind, many in sorted(index.files.items()))
    console.line(f"files        {sum(index.files.values())}" + (f" ({kinds})" if kinds else ""))
    console.line(f"pieces       {index.chunks}")
    console.line(f"lines        {index.lines}")
    console.line(f"on disk      {index.bytes_on_disk / 1e6:.1f} MB in {index.folder}")
    if not index.files:
        console.note("nothing is indexed yet; aiex context index does it")


def _done(index: IndexView) -> str:
    if index.waiting:
        return f"{index.waiting} files wait: another process is indexing"
    if not index.read and not index.removed:
        return "nothing has changed"
    return f"{index.read} files read, {index.removed} removed"
