"""Estimates of recorded prompts come near their bills, and nearer once bills were seen."""

from __future__ import annotations

import importlib.util
import os
from functools import partial
from pathlib import Path
from types import ModuleType

import anyio
import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORDED = Path(os.environ.get("AIEX_TEST_SHARED", ROOT.parent / "shared")) / "recorded"


def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_tokens", ROOT / "bench" / "tokens.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "sharp", "most"), [("bytes", False, 0.2), ("body", False, 0.8), ("o200k", True, 0.15)]
)
def test_what_was_learned_brings_estimates_near_the_bills(
    name: str, sharp: bool, most: float
) -> None:
    tokens = bench()
    cases = tokens.cases_in(RECORDED)
    if not cases:
        pytest.skip("the recorded exchanges are not beside the project")
    measure = tokens.by_body if name == "body" else tokens.by_text
    found = anyio.run(partial(tokens.measured, cases, measure, sharp=sharp))
    if found is None:
        pytest.skip("the extra tokens is not installed")

    assert found["learned"]["median"] < found["known"]["median"]
    assert found["learned"]["median"] <= most


def test_a_long_prompt_is_never_far_under_its_bill() -> None:
    tokens = bench()
    long = [case for case in tokens.cases_in(RECORDED) if case.billed >= 400]
    if not long:
        pytest.skip("the recorded exchanges are not beside the project")
    found = anyio.run(partial(tokens.measured, long, tokens.by_text, sharp=False))

    assert found["known"]["worst_below"] > -0.2
    assert found["learned"]["worst_below"] > -0.2
