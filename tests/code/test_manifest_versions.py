"""Versions are ordered, and requirements read, as each ecosystem does."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.code.manifests import Ecosystem, allows, is_behind, is_major_step, newest

NUMBERS = st.tuples(*[st.integers(0, 12)] * 3).map(lambda v: ".".join(map(str, v)))
PRE = st.sampled_from(["", "-alpha", "-alpha.1", "-beta.2", "-rc.11", "-rc.2"])
SEMVER = st.builds("{}{}".format, NUMBERS, PRE)


def test_pre_releases_are_ordered_as_the_specification_of_semver_has_it() -> None:
    # semver.org 2.0.0, section 11.4
    chain = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11"
    ordered = [*chain.split(), "1.0.0-rc.1", "1.0.0", "1.0.1", "1.10.0", "2.0.0"]

    assert all(is_behind("npm", old, new) for old, new in pairwise(ordered))
    assert not any(is_behind("npm", new, old) for old, new in pairwise(ordered))


@given(a=SEMVER, b=SEMVER, c=SEMVER)
def test_being_behind_is_an_order(a: str, b: str, c: str) -> None:
    assert not is_behind("cargo", a, a)
    assert not (is_behind("cargo", a, b) and is_behind("cargo", b, a))
    if is_behind("cargo", a, b) and is_behind("cargo", b, c):
        assert is_behind("cargo", a, c)


@given(versions=st.lists(SEMVER, min_size=1), current=st.none() | SEMVER)
def test_the_newest_is_behind_none_that_counts(versions: list[str], current: str | None) -> None:
    best = newest("hex", versions, current)

    assert best is not None
    stable = [v for v in versions if "-" not in v]
    counts = stable if stable and (current is None or "-" not in current) else versions
    assert best in counts
    assert not any(is_behind("hex", best, version) for version in counts)


@pytest.mark.parametrize(
    ("ecosystem", "requirement", "version", "verdict"),
    [
        ("npm", "^1.2.3", "1.9.0", True),
        ("npm", "^1.2.3", "2.0.0", False),
        ("npm", "^0.2.3", "0.2.9", True),
        ("npm", "^0.2.3", "0.3.0", False),
        ("npm", "^0.0.3", "0.0.4", False),
        ("npm", "~1.2.3", "1.2.9", True),
        ("npm", "~1.2.3", "1.3.0", False),
        ("npm", "~1", "1.9.0", True),
        ("npm", "1.2.x", "1.2.7", True),
        ("npm", "1.2.x", "1.3.0", False),
        ("npm", "1.0.0 - 2.0.0", "2.0.0", True),
        ("npm", "1.0.0 - 2", "2.9.0", True),
        ("npm", ">=1 <3 || 5.x", "4.0.0", False),
        ("npm", ">=1 <3 || 5.x", "5.1.0", True),
        ("npm", ">= 1.0.0 < 2.0.0", "1.5.0", True),
        ("npm", "*", "9.0.0", True),
        ("npm", "", "9.0.0", True),
        ("npm", "next", "9.0.0", None),
        ("npm", "1.2.3", "1.2.4", False),
        ("cargo", "1.2.3", "1.9.0", True),
        ("cargo", "0.2", "0.3.0", False),
        ("cargo", "=1.2.3", "1.2.4", False),
        ("cargo", ">=1.0, <2.0", "1.9.0", True),
        ("hex", "~> 1.7", "1.8.0", True),
        ("hex", "~> 1.7.1", "1.8.0", False),
        ("hex", "~> 1.7 or ~> 2.0", "2.1.0", True),
        ("hex", ">= 1.0.0 and < 2.0.0", "2.0.0", False),
        ("pypi", ">=1,<2", "2.0", False),
        ("pypi", "~=1.4.2", "1.4.9", True),
        ("pypi", "^1.2", "1.9", True),
        ("pypi", "~1.2", "1.3", False),
        ("pypi", "what", "1.3", None),
        ("go", "v1.0.0", "v1.1.0", None),
    ],
)
def test_requirements_allow_what_their_tool_would_install(
    ecosystem: Ecosystem, requirement: str, version: str, verdict: bool | None
) -> None:
    assert allows(ecosystem, requirement, version) is verdict


def test_versions_of_python_go_by_pep_440() -> None:
    assert is_behind("pypi", "1.0rc1", "1.0")
    assert is_behind("pypi", "1.0", "1.0.post1")
    assert is_behind("pypi", "2026.1", "1!0.1")
    assert newest("pypi", ["1.0", "2.0a1", "no version"]) == "1.0"
    assert newest("pypi", ["1.0", "2.0a1"], "2.0a0") == "2.0a1"


def test_versions_of_go_have_their_own_marks() -> None:
    pseudo = "v0.0.0-20230101000000-abcdefabcdef"

    assert is_behind("go", pseudo, "v0.1.0")
    assert is_behind("go", "v2.0.0+incompatible", "v2.0.1+incompatible")


@given(text=st.text(max_size=40))
def test_any_text_is_compared_without_failing(text: str) -> None:
    for ecosystem in ("pypi", "npm", "go", "cargo", "hex"):
        is_behind(ecosystem, text, "1.0.0")
        is_major_step(ecosystem, text, "1.0.0")
        allows(ecosystem, text, "1.0.0")
        newest(ecosystem, [text], text)
