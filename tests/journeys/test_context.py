"""`aiex context` in a project of its own."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli


def data(cli: Cli, *words: str, stdin: str | None = None) -> Any:
    ended = cli("context", *words, "--json", stdin=stdin)
    assert ended.code == 0, ended.err
    return ended.json["data"]


def paths(found: Any) -> list[str]:
    return [hit["path"] for hit in found.get("hits", ())]


def test_a_search_shows_where_the_answer_stands(cli: Cli) -> None:
    ended = cli("context", "search", "the total of a cart")

    assert ended.code == 0
    assert ended.out.startswith("shop/cart.py:1-")
    assert "def total" in ended.out or "Cart" in ended.out


def test_a_question_is_read_from_a_pipe(cli: Cli) -> None:
    assert paths(data(cli, "search", "-", stdin="the total of a cart\n"))[0] == "shop/cart.py"


def test_a_save_a_new_file_and_a_removal_are_seen_by_the_next_search(cli: Cli) -> None:
    assert data(cli, "search", "refund receipts")["confidence"] != "strong"
    (cli.project / "shop/refunds.py").write_text("def refund_receipts(n):\n    return -n\n")

    found = data(cli, "search", "refund receipts")

    assert paths(found)[0] == "shop/refunds.py"
    assert found["index"]["read"] >= 1
    (cli.project / "shop/refunds.py").unlink()
    assert "shop/refunds.py" not in paths(data(cli, "search", "refund receipts"))


def test_what_no_file_has_is_told(cli: Cli) -> None:
    found = data(cli, "search", "zebra quantization")

    assert (found["confidence"], found.get("hits", [])) == ("none", [])
    ended = cli("context", "search", "zebra quantization")
    assert "nothing of what was asked" in ended.err
    assert "zebra" in ended.err


def test_a_pack_is_the_text_alone_with_paths_and_lines(cli: Cli) -> None:
    ended = cli("context", "pack", "the total of a cart", "--budget", "400")

    lines = (cli.project / "shop/cart.py").read_text().split("\n")
    shown = ended.out.split("\n")
    assert shown[0] == "shop/cart.py"
    number, _, text = shown[1].strip().partition(" ")
    assert lines[int(number) - 1].strip() == text.strip()
    packed = data(cli, "pack", "the total of a cart", "--budget", "400")
    assert packed["tokens"] <= 400
    assert packed["packed"][0]["path"] == "shop/cart.py"


def test_a_map_names_files_and_definitions(cli: Cli) -> None:
    made = data(cli, "map", "--budget", "300")

    assert "shop/cart.py\n" in made["text"]
    assert made["tokens"] <= 300


def test_the_index_is_in_the_cache_and_can_be_forgotten(cli: Cli) -> None:
    built = data(cli, "index")
    folder = Path(built["index"]["folder"])
    assert folder.is_relative_to(Path(cli.env["HOME"]) / ".cache")
    assert built["index"]["read"] == sum(built["index"]["files"].values())
    assert data(cli, "index")["index"].get("read", 0) == 0
    assert data(cli, "index", "--rebuild")["index"]["read"] == built["index"]["read"]

    data(cli, "forget")

    assert not folder.exists()
    assert data(cli, "status")["index"]["files"] == {}


def test_what_is_ignored_protected_or_binary_is_not_indexed(cli: Cli) -> None:
    (cli.project / ".gitignore").write_text("build/\n")
    (cli.project / "build").mkdir()
    (cli.project / "build/made.py").write_text("def pomegranate(): pass\n")
    (cli.project / ".env").write_text("POMEGRANATE=1\n")
    (cli.project / "fruit.bin").write_bytes(b"\0pomegranate\0")
    os.mkfifo(cli.project / "pipe.py")
    (cli.project / "loop").symlink_to(cli.project)

    assert data(cli, "search", "pomegranate")["confidence"] == "none"


def test_a_damaged_index_is_built_anew_and_it_is_said(cli: Cli) -> None:
    folder = Path(data(cli, "index")["index"]["folder"])
    (folder / "files.db").write_bytes(b"no database at all" * 100)

    ended = cli("context", "search", "the total of a cart")

    assert ended.code == 0
    assert "built anew" in ended.err
    assert ended.out.startswith("shop/cart.py")


def test_a_kill_while_indexing_leaves_what_the_next_run_completes(cli: Cli) -> None:
    for number in range(400):
        (cli.project / f"m{number}.py").write_text(f"def refund{number}(x):\n    return x\n" * 20)
    for wait in (0.2, 0.3, 0.4):
        process = cli.start("context", "index")
        # Any moment will do: each run is cut at another one.
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate()

    assert paths(data(cli, "search", "refund317"))[0] == "m317.py"


def test_two_at_once_both_answer(cli: Cli) -> None:
    for number in range(200):
        (cli.project / f"m{number}.py").write_text(f"def refund{number}(x):\n    return x\n" * 20)

    both = [cli.start("context", "search", "refund117", "--json") for _ in range(2)]
    ended = [process.communicate(timeout=60) for process in both]

    assert [process.returncode for process in both] == [0, 0]
    for out, _ in ended:
        assert json.loads(out)["data"]["hits"][0]["path"] == "m117.py"


def test_the_audit_has_what_was_read(cli: Cli) -> None:
    data(cli, "index")

    assert "shop/cart.py" in cli("audit", "tail", "--json").out
    assert cli("audit", "verify").code == 0
