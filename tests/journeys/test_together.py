"""Many processes at once, no network, and kills in the middle."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli


def test_twenty_first_starts_at_once_on_a_new_home_all_succeed(cli: Cli) -> None:
    with ThreadPoolExecutor(20) as crowd:
        runs = [
            crowd.submit(cli, "explain", "shop/cart.py", "--facts-only", "--json")
            for _ in range(20)
        ]
        ended = [run.result() for run in runs]

    assert [(e.code, e.err) for e in ended] == [(0, "")] * 20


def _has_namespaces() -> bool:
    program = shutil.which("unshare")
    return (
        program is not None
        and subprocess.run([program, "-rn", "true"], capture_output=True, check=False).returncode
        == 0
    )


@pytest.mark.skipif(not _has_namespaces(), reason="no network namespace can be made (unshare -rn)")
@pytest.mark.parametrize(
    "words",
    [("explain", "shop/cart.py"), ("analyze",), ("doctor",), ("model", "list"), ("change", "list")],
)
def test_offline_works_where_there_is_no_network(cli: Cli, words: tuple[str, ...]) -> None:
    cli.env["OPENAI_API_KEY"] = "sk-of-nobody"

    ran = subprocess.run(
        ["unshare", "-rn", *cli.argv("--offline", *words)],
        cwd=cli.project,
        env=cli.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ran.returncode == 0, ran.stderr
    assert "fault of Aiex" not in ran.stderr


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("words", [("explain", "shop/cart.py"), ("doctor",), ("model", "list")])
def test_offline_opens_no_connection_beyond_this_machine(cli: Cli, words: tuple[str, ...]) -> None:
    cli.env["OPENAI_API_KEY"] = "sk-of-nobody"

    ran = subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=connect,sendto", *cli.argv("--offline", *words)],
        cwd=cli.project,
        env=cli.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    outward = [
        line
        for line in ran.stderr.split("\n")
        if "AF_INET" in line and '"127.0.0.1"' not in line and '"::1"' not in line
    ]
    assert outward == []
