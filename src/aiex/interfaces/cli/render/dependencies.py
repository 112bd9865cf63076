"""What `analyze deps` found, in words. Pure.

Nothing here says that nothing is known against the dependencies unless all of them were checked.
"""

from __future__ import annotations

from aiex.core import Coverage, Dependency, DepsResult

__all__ = ["dependency_row", "manifest_rows", "outdated_sentence", "security_sentence"]


def manifest_rows(result: DepsResult) -> list[str]:
    """Return a line for each file that names dependencies."""
    return [
        f"{one.path}: {_count(one.packages, 'package')} ({one.ecosystem}"
        f"{', lock file' if one.role == 'lock' else ''})"
        for one in result.manifests
    ]


def outdated_sentence(coverage: Coverage) -> str:
    """Return how much is known of newer versions."""
    if not coverage.is_asked:
        return "not checked: --outdated asks for newer versions"
    if coverage.checked == 0:
        return f"not checked: of {_count(coverage.packages, 'package')} none could be compared"
    checked = f"{coverage.checked} of {_count(coverage.packages, 'package')} compared"
    if coverage.found:
        return f"{coverage.found} behind; {checked}"
    return f"none behind; {checked}" if coverage.is_complete else f"none behind of the {checked}"


def security_sentence(coverage: Coverage) -> str:
    """Return how much is known of vulnerabilities."""
    if not coverage.is_asked:
        return "not checked: --security asks for known vulnerabilities"
    if coverage.checked == 0:
        return f"not checked: of {_count(coverage.packages, 'package')} none could be looked up"
    checked = f"{coverage.checked} of {_count(coverage.packages, 'package')} looked up"
    if coverage.found:
        return f"{_count(coverage.found, 'package')} with known vulnerabilities; {checked}"
    if coverage.is_complete:
        return f"no known vulnerabilities; {checked}"
    return f"nothing found so far, but only {checked}"


def dependency_row(one: Dependency) -> str:
    """Return one dependency on a line."""
    version = one.version or (f"from {one.source}" if one.source else "version unknown")
    newer = f" → {one.newest}" if one.is_outdated and one.newest else ""
    group = "" if one.group == "main" else f" [{one.group}]"
    known = len(one.vulnerabilities or ())
    unsafe = f"  {known} known against it" if known else ""
    required = f" {one.requirement}" if one.requirement and one.requirement != one.version else ""
    return f"{one.name}{required}  {version}{newer}{group}{unsafe}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
