"""A packed text keeps its budget, and says where everything in it stands."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tests.context.indexes import indexed

from aiex.context import Hit, outline, pack

LINES = {"a.py": [f"a{n}" for n in range(1, 60)], "b.py": [f"b{n}" for n in range(1, 30)]}


def count(text: str) -> int:
    return len(text)


def hit(path: str, first: int, last: int) -> Hit:
    return Hit(path=path, start_line=first, end_line=last, score=1.0, kind="code")


hits = st.builds(
    lambda path, first, length: hit(path, first, first + length),
    st.sampled_from(["a.py", "b.py", "gone.py"]),
    st.integers(1, 70),
    st.integers(0, 20),
)


@given(st.lists(hits, max_size=12), st.integers(0, 2000))
def test_no_budget_is_exceeded_and_every_line_is_the_files_own(
    given_hits: list[Hit], budget: int
) -> None:
    packed = pack(given_hits, LINES, budget, count)

    assert packed.tokens <= budget
    assert len(packed.text) <= budget + len(packed.spans)
    path = ""
    shown = set()
    for line in packed.text.split("\n"):
        if line in LINES:
            path = line
        elif line.strip() and line.strip() != "...":
            number, text = line.split()
            assert LINES[path][int(number) - 1] == text
            shown.add((path, int(number)))
    told = {(s.path, n) for s in packed.spans for n in range(s.start_line, s.end_line + 1)}
    assert shown == told


def test_pieces_of_a_file_stand_together_in_their_order() -> None:
    packed = pack([hit("a.py", 40, 41), hit("b.py", 1, 1), hit("a.py", 3, 4)], LINES, 999, count)

    assert packed.text == "a.py\n 3 a3\n 4 a4\n   ...\n40 a40\n41 a41\n\nb.py\n1 b1\n"
    assert packed.left_out == 0


def test_pieces_that_nearly_touch_are_one() -> None:
    packed = pack([hit("a.py", 1, 2), hit("a.py", 5, 6)], LINES, 999, count)

    assert [(s.start_line, s.end_line) for s in packed.spans] == [(1, 6)]


def test_what_does_not_fit_is_counted_and_a_smaller_piece_still_comes() -> None:
    packed = pack([hit("a.py", 1, 50), hit("b.py", 1, 1), hit("gone.py", 1, 1)], LINES, 20, count)

    assert [s.path for s in packed.spans] == ["b.py"]
    assert packed.left_out == 2


def test_an_outline_shows_what_is_called_most_within_its_budget(tmp_path: Path) -> None:
    files = {
        "core.py": "def often(x):\n    return x\n\n\ndef never(x):\n    return x\n",
        **{
            f"user{n}.py": f"from core import often\n\n\ndef u{n}():\n    often({n})\n"
            for n in range(5)
        },
    }
    with indexed(files, tmp_path) as (index, _):
        small = outline(index, 30, count)
        whole = outline(index, 10_000, count)

    assert small.text == "core.py\n  def often(x)\n"
    assert small.tokens <= 30
    assert (whole.shown, whole.left_out) == (7, 0)
    assert small.left_out == 6
