"""What `doctor` finds, and what it says to do about each problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from aiex.assistant.doctor import Doctor
from aiex.assistant.lint import Ruff
from aiex.cluster.local import SqliteStore
from aiex.context import TABLES, AnalysisCache
from aiex.core import (
    DoctorArguments,
    DoctorCheck,
    DoctorResult,
    ErrorInfo,
    EventBody,
    Finished,
    Principal,
    Request,
    RunOptions,
    StoreCorruptError,
)
from aiex.llm import Pricing, Provider, Providers, load_table
from aiex.llm.adapters.openai import OpenAIAdapter
from aiex.runtime import SystemClock
from aiex.testing.fake_openai import FakeOpenAI, Scripted

pytestmark = pytest.mark.anyio

PRICING = Pricing(load_table())


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI([Scripted(text="ready")], models=["gpt-5.4-mini"]) as opened:
        yield opened


class _Run:
    def __init__(self, *, offline: bool = False) -> None:
        self.request = Request(
            id="req_1",
            verb="doctor",
            arguments=msgspec.Raw(b"{}"),
            principal=Principal(user="ada", interface="cli"),
            options=RunOptions(offline=offline),
        )
        self.submitted = datetime.now(UTC)

    async def emit(self, body: EventBody) -> None:
        raise AssertionError(body)


class _Broken:
    async def info(self) -> Mapping[str, str]:
        raise StoreCorruptError("The store is damaged.", hint="Move it aside.")


class _OnNetworkDisk:
    async def info(self) -> Mapping[str, str]:
        return {
            "place": "/s",
            "bytes": "10",
            "backend": "sqlite",
            "schema": "1",
            "journal": "delete",
        }


def _provider(fake: FakeOpenAI, **more: object) -> Provider:
    base = Provider(
        name="openai",
        open=lambda: OpenAIAdapter(api_key=lambda: "sk-of-nobody", base_url=fake.url),
        is_loopback=True,
    )
    return msgspec.structs.replace(base, **more)


async def _look(
    state: Path,
    *providers: Provider,
    store: object | None = None,
    problem: ErrorInfo | None = None,
    offline: bool = False,
) -> tuple[Finished, DoctorResult, dict[str, DoctorCheck]]:
    real = SqliteStore(state / "aiex.db", TABLES, clock=SystemClock())
    async with real:
        doctor = Doctor(
            providers=Providers(providers, pricing=PRICING),
            ruff=Ruff(AnalysisCache(real)),
            store=store or real,  # type: ignore[arg-type]
            state=state,
            sources={"profile": "dev", "settings": "/c.toml"},
            problem=problem,
        )
        finished = await doctor.run(DoctorArguments(), _Run(offline=offline))
    result = msgspec.json.decode(finished.data, type=DoctorResult)
    return finished, result, {f"{check.area}.{check.name}": check for check in result.checks}


async def test_where_all_is_well_nothing_needs_to_be_done(tmp_path: Path, fake: FakeOpenAI) -> None:
    finished, result, checks = await _look(tmp_path, _provider(fake))

    assert result.can_ask
    assert checks["providers.openai"].detail == "answers: gpt-5.4-mini"
    assert checks["state.store"].state == "ok"
    assert str(tmp_path / "aiex.db") in checks["state.store"].detail
    assert checks["tools.ruff"].state == "ok"
    assert checks["sandbox.files"].state == "ok"
    assert [c for c in result.checks if c.state == "problem"] == []
    assert finished.status == "ok"


async def test_a_provider_without_a_key_says_what_is_missing(
    tmp_path: Path, fake: FakeOpenAI
) -> None:
    _, result, checks = await _look(tmp_path, _provider(fake, missing="OPENAI_API_KEY is not set"))

    assert not result.can_ask
    assert checks["providers.openai"].state == "missing"
    assert checks["providers.openai"].detail == "OPENAI_API_KEY is not set"


async def test_offline_asks_nobody_beyond_this_machine(tmp_path: Path, fake: FakeOpenAI) -> None:
    far = _provider(fake, is_loopback=False, open=lambda: pytest.fail("it was opened"))

    _, result, checks = await _look(tmp_path, far, offline=True)

    assert not result.can_ask
    assert "--offline" in checks["providers.openai"].detail


async def test_a_store_that_cannot_be_opened_is_one_problem_among_the_rest(tmp_path: Path) -> None:
    finished, _, checks = await _look(tmp_path, store=_Broken())

    assert checks["state.store"].state == "problem"
    assert checks["state.store"].detail == "The store is damaged."
    assert checks["state.store"].hint.startswith("Move it aside. Or keep it elsewhere")
    assert checks["tools.git"].name == "git"
    assert finished.status == "findings"


async def test_a_store_without_a_write_ahead_log_is_a_problem(tmp_path: Path) -> None:
    _, _, checks = await _look(tmp_path, store=_OnNetworkDisk())

    assert checks["state.store"].state == "problem"
    assert "local disk" in checks["state.store"].hint


async def test_a_folder_of_state_that_is_not_there_yet_has_the_room_around_it(
    tmp_path: Path,
) -> None:
    real = SqliteStore(tmp_path / "aiex.db", TABLES, clock=SystemClock())
    async with real:
        doctor = Doctor(
            providers=Providers([], pricing=PRICING),
            ruff=Ruff(AnalysisCache(real)),
            store=real,
            state=tmp_path / "not/yet",
            sources={},
        )
        finished = await doctor.run(DoctorArguments(), _Run())

    details = [c.detail for c in msgspec.json.decode(finished.data, type=DoctorResult).checks]
    assert any(f"GB free in {tmp_path / 'not/yet'}" in detail for detail in details)
    assert not (tmp_path / "not").exists()


async def test_a_mistake_in_the_settings_is_told_with_what_was_meant(tmp_path: Path) -> None:
    problem = ErrorInfo(
        code="configuration",
        message="aiex.toml: there is no setting 'cli.colour'",
        hint="did you mean cli.color?",
    )

    finished, _, checks = await _look(tmp_path, problem=problem)

    assert checks["program.mistake"].state == "problem"
    assert "there is no setting 'cli.colour'" in checks["program.mistake"].detail
    assert checks["program.mistake"].hint == "did you mean cli.color?"
    assert finished.status == "findings"
