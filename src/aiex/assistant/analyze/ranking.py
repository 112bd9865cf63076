"""What to look at first: files by churn and complexity, findings by what to do about them. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from aiex.assistant.analyze.measures import complexities, is_test
from aiex.code import FileFacts
from aiex.core import SEVERITIES, Finding, Hotspot, Severity
from aiex.sandbox import Churn

__all__ = ["by_severity", "hotspots", "ranked"]


def hotspots(files: Mapping[str, FileFacts], churn: Mapping[str, Churn]) -> tuple[Hotspot, ...]:
    """Return the files that are both complex and often changed, the hottest first.

    Among the *n* files that changed, have functions and were not written by a program, places
    are given by commits and by complexity, 1 for the most; equal ones share a place. The score
    is `(n + 1 - churn place) / n * (n + 1 - complexity place) / n`.

    Args:
        files: Facts by path.
        churn: How much each file changed, by path.
    """
    totals = complexities(files)
    hot = [p for p in files if p in churn and totals[p] and not files[p].is_generated]
    churned = sorted(-churn[path].commits for path in hot)
    complex_ = sorted(-totals[path] for path in hot)
    count = len(hot)
    found = []
    for path in hot:
        changes = churn[path]
        churn_rank = bisect_left(churned, -changes.commits) + 1
        complexity_rank = bisect_left(complex_, -totals[path]) + 1
        score = (count + 1 - churn_rank) / count * (count + 1 - complexity_rank) / count
        found.append(
            Hotspot(
                path=path,
                score=round(score, 4),
                commits=changes.commits,
                changed_lines=changes.added + changes.deleted,
                authors=changes.authors,
                last=changes.last,
                complexity=totals[path],
                churn_rank=churn_rank,
                complexity_rank=complexity_rank,
            )
        )
    return tuple(sorted(found, key=lambda h: (-h.score, -h.commits * h.complexity, h.path)))


def ranked(
    findings: Iterable[Finding], files: Mapping[str, FileFacts], hot: Sequence[Hotspot] = ()
) -> tuple[Finding, ...]:
    """Return *findings* by what to do first.

    The most severe first; among those, what is in the product before what is in tests and in
    generated files; then files by their place among the hotspots, since a repair pays most where
    the next change will be; then by path and line.
    """
    places = {hotspot.path: place for place, hotspot in enumerate(hot)}
    aside = {path for path, facts in files.items() if facts.is_generated or is_test(path)}

    def key(finding: Finding) -> tuple[int, bool, int, str, int, int]:
        return (
            -SEVERITIES.index(finding.severity),
            finding.path in aside,
            places.get(finding.path, len(places)),
            finding.path,
            finding.line,
            finding.column,
        )

    return tuple(sorted(findings, key=key))


def by_severity(findings: Iterable[Finding]) -> dict[Severity, int]:
    """Return the number of findings of each severity that occurs, the worst first."""
    counts: dict[Severity, int] = dict.fromkeys(reversed(SEVERITIES), 0)
    for finding in findings:
        counts[finding.severity] += 1
    return {severity: count for severity, count in counts.items() if count}
