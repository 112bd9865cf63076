"""What is kept of a fault of Aiex, and what is said of it."""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiex.core import AiexError, Failed, Redactor
from aiex.interfaces.cli.console import Console
from aiex.interfaces.cli.faults import fault_file, log_to_stderr
from aiex.interfaces.cli.options import Globals
from aiex.interfaces.cli.view import report_failure


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def _fail() -> None:
    try:
        raise ZeroDivisionError("never")
    except ZeroDivisionError:
        logging.getLogger("aiex.somewhere").exception("a verb failed")


def test_a_fault_is_one_sentence_and_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_stderr("WARNING", redact=Redactor(), faults=tmp_path / "faults")
    _fail()
    report_failure(
        Failed(error=AiexError("ZeroDivisionError: never").info()),
        "explain",
        Globals(),
        Console(env={}),
    )

    err = capsys.readouterr().err
    file = fault_file()
    assert file is not None
    assert file.parent == tmp_path / "faults"
    assert err.splitlines() == [
        "error: ZeroDivisionError: never",
        f"next:  this is a fault of Aiex: please report it, with the details that are in {file}",
    ]
    assert "Traceback" in file.read_text()
    assert "ZeroDivisionError: never" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_where_the_state_cannot_be_written_the_details_are_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log_to_stderr("WARNING", redact=Redactor(), faults=tmp_path / "file/faults")

    _fail()

    file = fault_file()
    assert file is not None
    assert "never" in file.read_text()
    file.unlink()


def test_verbose_shows_the_traceback_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_stderr("INFO", redact=Redactor(), faults=tmp_path, verbose=True)

    _fail()

    assert "Traceback" in capsys.readouterr().err


def test_log_lines_are_one_line_each_from_their_level_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_to_stderr("WARNING", redact=Redactor(), faults=None)

    logging.getLogger("aiex.x").warning("the disk of %s is slow", "n1")
    logging.getLogger("aiex.x").info("not this")

    assert capsys.readouterr().err == "warning: aiex.x: the disk of n1 is slow\n"
    assert fault_file() is None
