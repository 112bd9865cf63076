"""The base score of a CVSS vector of version 3.

Source: first.org, "Common Vulnerability Scoring System v3.1: Specification Document", section 7.1
and appendix A for the rounding (read 2026-11-25). Versions 2 and 4 are not scored.
"""

from __future__ import annotations

from aiex.core import Severity

__all__ = ["base_score", "severity_of_score"]

_WEIGHTS = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
_PRIVILEGES = {"U": {"N": 0.85, "L": 0.62, "H": 0.27}, "C": {"N": 0.85, "L": 0.68, "H": 0.5}}


def base_score(vector: str) -> float | None:
    """Return the base score, 0 to 10; `None` if *vector* is none of version 3.

    Example:
        >>> base_score("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H")
        9.8
    """
    head, *metrics = vector.strip().split("/")
    if head not in {"CVSS:3.0", "CVSS:3.1"}:
        return None
    told = dict(metric.partition(":")[::2] for metric in metrics)
    try:
        scope = told["S"]
        weight = {name: weights[told[name]] for name, weights in _WEIGHTS.items()}
        privileges = _PRIVILEGES[scope][told["PR"]]
    except KeyError:
        return None
    base = 1 - (1 - weight["C"]) * (1 - weight["I"]) * (1 - weight["A"])
    changed = scope == "C"
    impact = 7.52 * (base - 0.029) - 3.25 * (base - 0.02) ** 15 if changed else 6.42 * base
    if impact <= 0:
        return 0.0
    exploitability = 8.22 * weight["AV"] * weight["AC"] * privileges * weight["UI"]
    return _rounded_up(min(10.0, (1.08 if changed else 1.0) * (impact + exploitability)))


def _rounded_up(score: float) -> float:
    """Return *score* rounded up to one digit, in whole numbers so that 8.6 stays 8.6."""
    whole = round(score * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (whole // 10_000 + 1) / 10


def severity_of_score(score: float) -> Severity:
    """Return the rating of a score, as table 14 of the specification has it; 0 is `info`."""
    if score >= 9.0:
        return "critical"
    if score >= 7.0:
        return "high"
    if score >= 4.0:
        return "medium"
    return "low" if score > 0 else "info"
