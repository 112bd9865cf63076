"""`aiex create` and `aiex change` as people use them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiex.testing.fake_openai import FakeOpenAI, Scripted

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

    Answering = Callable[..., FakeOpenAI]

_MODULE = (
    "Here it is:\n```python\n"
    '"""Discounts."""\n\n\ndef discount(price: int,percent: int)->int:\n'
    '    """Return *price* less *percent*."""\n'
    "    return price - price*percent//100\n```\n"
)
_TESTS = (
    "```python\nfrom shop.discount import discount\n\n\n"
    "def test_half():\n    assert discount(10, 50) == 5\n```"
)


def test_a_module_is_proposed_formatted_and_written_only_when_it_is_applied(
    cli: Cli, answering: Answering
) -> None:
    answering(Scripted(text=_MODULE), Scripted(text=_TESTS))
    wanted = cli.project / "shop/discount.py"

    proposed = cli("create", "module", "discount", "takes percents off", "--test", "--json").json

    assert proposed["exit_code"] == 0
    assert not wanted.exists()
    assert proposed["change"]["files"] == ["shop/discount.py", "tests/test_discount.py"]
    assert "+def discount(price: int, percent: int) -> int:" in proposed["data"]["change"]["diff"]
    names = [check["name"] for check in proposed["change"]["checks"]]
    assert names[:2] == ["parse python", "ruff format"]

    identifier = proposed["change"]["id"]
    assert cli("change", "diff", identifier).out == proposed["data"]["change"]["diff"]
    applied = cli("change", "apply", identifier[:6])

    assert applied.code == 0, applied.err
    assert wanted.read_text().startswith('"""Discounts."""\n\n\ndef discount(price: int, percent')
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=cli.project,
        env={**cli.env, "PYTHONPATH": str(cli.project)},
        check=True,
        capture_output=True,
    )


@pytest.mark.skipif(shutil.which("mix") is None, reason="Elixir (mix) is not installed")
def test_an_elixir_module_is_written_in_an_elixir_project(cli: Cli, answering: Answering) -> None:
    answering(
        Scripted(
            text="```elixir\ndefmodule Shop.Cart do\n def total(xs),do: Enum.sum(xs)\nend\n```"
        ),
        Scripted(
            text="```elixir\ndefmodule Shop.CartTest do\n  use ExUnit.Case\n\n"
            '  test "adds" do\n    assert Shop.Cart.total([1, 2]) == 3\n  end\nend\n```'
        ),
    )
    folder = cli.project / "fair"
    assert cli("create", "project", "fair", "--language", "elixir").code == 0
    # A formatter's file that would be evaluated: whoever runs it leaves a trace.
    (folder / ".formatter.exs").write_text('File.write!("ran", ""); [inputs: []]\n')

    words = ("create", "module", "Shop.Cart", "adds up", "--test", "--apply", "--json")
    ended = cli("-C", "fair", *words)

    assert ended.code == 0, ended.err
    names = [check["name"] for check in ended.json["change"]["checks"]]
    assert "mix format" in names
    assert "def total(xs), do: Enum.sum(xs)" in (folder / "lib/shop/cart.ex").read_text()
    assert not (folder / "ran").exists()
    (folder / ".formatter.exs").unlink()
    ran = subprocess.run(
        ["mix", "test"], cwd=folder, env=cli.env, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_proposal_is_not_applied_to_a_tree_that_moved_on(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text=_MODULE))
    identifier = cli("create", "module", "discount", "x", "--json").json["change"]["id"]
    (cli.project / "shop/discount.py").write_text("# mine\n")

    ended = cli("change", "apply", identifier)

    assert ended.code == 7
    assert (cli.project / "shop/discount.py").read_text() == "# mine\n"


def test_a_proposal_is_applied_once(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text=_MODULE))
    identifier = cli("create", "module", "discount", "x", "--apply", "--json").json["change"]["id"]

    assert (cli.project / "shop/discount.py").exists()
    assert cli("change", "apply", identifier).code == 7


def test_the_model_sees_neighbours_and_the_projects_conventions(
    cli: Cli, answering: Answering
) -> None:
    fake = answering(Scripted(text=_MODULE))
    (cli.project / "AGENTS.md").write_text("Prices are whole cents.\n")
    (cli.project / "shop/prices.py").write_text('"""Prices."""\n' + "RATE = 19\n" * 30)

    cli("create", "module", "discount", "takes percents off")

    prompt = fake.bodies[0]["messages"][-1]["content"]
    assert "AGENTS.md, its conventions:" in prompt
    assert "Prices are whole cents." in prompt
    assert "shop/prices.py, a neighbour" in prompt
    assert "takes percents off" in prompt


def test_a_file_that_exists_is_never_replaced_unasked(cli: Cli, answering: Answering) -> None:
    fake = answering(Scripted(text=_MODULE))

    ended = cli("create", "module", "cart", "x")

    assert ended.code == 2
    assert "shop/cart.py exists already" in ended.err
    assert fake.bodies == []


def test_a_file_is_replaced_where_that_is_asked_for(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text=_MODULE))

    ended = cli("create", "module", "cart", "x", "--overwrite", "--apply")

    assert ended.code == 0, ended.err
    assert "def discount" in (cli.project / "shop/cart.py").read_text()


def test_a_reply_that_cannot_be_used_is_exit_6_and_is_kept(cli: Cli, answering: Answering) -> None:
    fake = answering(Scripted(text="```python\ndef broken(:\n```"))
    before = {p: p.read_bytes() for p in cli.project.rglob("*") if p.is_file()}

    ended = cli("create", "module", "discount", "x", "--max-repairs", "1", "--json")

    assert ended.code == 6
    assert len(fake.bodies) == 2
    assert "cannot be used" in str(fake.bodies[1]["messages"][-1])
    message = ended.json["error"]["message"]
    kept = Path(message.rpartition("the reply is in ")[2])
    assert kept.read_text() == "```python\ndef broken(:\n```"
    assert {p: p.read_bytes() for p in cli.project.rglob("*") if p.is_file()} == before


def test_a_second_reply_may_mend_the_first(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text="I cannot see a file here."), Scripted(text=_MODULE))

    document = cli("create", "module", "discount", "x", "--json").json

    assert document["exit_code"] == 0
    assert document["data"]["repairs"] == 1
    assert document["usage"]["calls"] == 2


def test_a_reply_that_was_cut_is_never_parsed(cli: Cli, answering: Answering) -> None:
    fake = answering(Scripted(text=_MODULE, finish="length"))

    ended = cli("create", "module", "discount", "x")

    assert ended.code == 6
    assert "--max-tokens" in ended.err
    assert len(fake.bodies) == 1


def test_without_a_model_nothing_is_created(cli: Cli) -> None:
    ended = cli("create", "module", "discount", "x")

    assert ended.code == 3
    assert "next:" in ended.err


def test_a_new_project_passes_its_own_tests(cli: Cli, tmp_path: Path) -> None:
    ended = cli("-C", str(tmp_path), "create", "project", "corner-shop")

    assert ended.code == 0, ended.err
    folder = tmp_path / "corner-shop"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**cli.env, "PYTHONPATH": str(folder / "src")},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "passed" in ran.stdout


def test_a_new_project_never_goes_into_a_folder_that_is_there(cli: Cli) -> None:
    ended = cli("create", "project", "shop")

    assert ended.code == 2
    assert "nothing was written" in ended.err
