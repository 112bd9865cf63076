"""The index keeps up with a tree, whatever happens to either of them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from tests.context.indexes import indexed, read, refresh, stats_of

from aiex.context import ContextIndex, Selector, understand
from aiex.core import StoreBusyError, StoreError

FILES = {
    "shop/cart.py": "class Cart:\n    def total(self):\n        return self.weigh()\n",
    "shop/till.py": "from shop.cart import Cart\n\n\ndef bill(cart):\n    return cart.total()\n",
    "docs/shop.md": "# Shop\n\nWhat is sold, and for how much.\n",
    "shop/price.json": '{"apple": 3}\n',
}


def found(index: ContextIndex, question: str) -> list[str]:
    return [hit.path for hit in Selector(index).select(understand(question)).hits]


def test_what_is_there_is_found(tmp_path: Path) -> None:
    with indexed(FILES, tmp_path) as (index, _):
        assert found(index, "cart total weigh")[0] == "shop/cart.py"
        assert found(index, "what is sold for how much")[0] == "docs/shop.md"
        assert index.size().files == {"code": 2, "prose": 1, "config": 1}
        assert index.paths() == sorted(FILES)


def test_what_was_indexed_is_found_by_the_next_process(tmp_path: Path) -> None:
    with indexed(FILES, tmp_path) as (_, root):
        pass

    with ContextIndex(tmp_path / "indexes", str(root)) as index:
        assert found(index, "cart total")[0] == "shop/cart.py"
        assert refresh(index, root) == []


def test_a_save_is_found_by_the_next_question(tmp_path: Path) -> None:
    with indexed(FILES, tmp_path) as (index, root):
        (root / "shop/cart.py").write_text("def refund(receipt):\n    return -receipt\n")

        assert refresh(index, root) == ["shop/cart.py"]

        assert found(index, "refund receipt")[0] == "shop/cart.py"
        assert found(index, "weigh") == []


def test_a_save_of_the_same_size_at_the_same_time_is_seen(tmp_path: Path) -> None:
    with indexed({"a.py": "def aaaa(): pass\n"}, tmp_path) as (index, root):
        before = (root / "a.py").stat()
        (root / "a.py").write_text("def bbbb(): pass\n")
        os.utime(root / "a.py", ns=(before.st_atime_ns, before.st_mtime_ns))

        refresh(index, root)

        assert found(index, "bbbb") == ["a.py"]


def test_what_is_removed_renamed_and_switched_is_not_found_any_more(tmp_path: Path) -> None:
    with indexed(FILES, tmp_path) as (index, root):
        (root / "shop/till.py").unlink()
        (root / "shop/cart.py").rename(root / "shop/basket.py")
        (root / "docs/shop.md").unlink()

        refresh(index, root)

        assert found(index, "cart total weigh") == ["shop/basket.py"]
        assert found(index, "sold") == []
        assert index.paths() == ["shop/basket.py", "shop/price.json"]


def test_a_file_that_was_only_touched_is_read_and_not_indexed_again(tmp_path: Path) -> None:
    with indexed(FILES, tmp_path) as (index, root):
        (root / "shop/cart.py").touch()

        assert "shop/cart.py" in [stat.path for stat in index.compare(stats_of(root)).touched]
        assert refresh(index, root) == []


def test_names_of_odd_bytes_are_indexed(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.py")
    with indexed({odd: "def brew(): pass\n", "a\nb.py": "def brew(): pass\n"}, tmp_path) as (
        index,
        root,
    ):
        assert len(found(index, "brew")) == 2
        (root / odd).unlink()
        refresh(index, root)
        assert found(index, "brew") == ["a\nb.py"]


def test_an_error_on_the_way_takes_everything_back(tmp_path: Path) -> None:
    with indexed(FILES, tmp_path) as (index, root):
        (root / "new.py").write_text("def refund(): pass\n")
        [stat] = index.compare(stats_of(root)).touched[:1] or [None]
        new = next(s for s in stats_of(root) if s.path == "new.py")

        def update_and_fail() -> None:
            with index.updating() as update:
                assert update is not None
                update.put(read(root, new), read_at_ns=time.time_ns())
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            update_and_fail()

        assert found(index, "refund") == []
        assert "new.py" in refresh(index, root)
        assert found(index, "refund") == ["new.py"]
        assert stat is not None


def test_one_writes_and_another_is_told_to_come_back(tmp_path: Path) -> None:
    with indexed(FILES, tmp_path) as (index, root):
        other = ContextIndex(tmp_path / "indexes", str(root), patience=0.05)
        with other, index.updating() as update:
            assert update is not None
            with other.updating() as second:
                assert second is None
            assert found(other, "cart total")[0] == "shop/cart.py"
        with ContextIndex(tmp_path / "indexes", str(root)) as again, again.updating() as update:
            assert update is not None


def test_many_small_changes_leave_few_files_behind(tmp_path: Path) -> None:
    with indexed(FILES, tmp_path) as (index, root):
        for number in range(60):
            (root / "shop/cart.py").write_text(f"def refund{number}(): pass\n")
            refresh(index, root)
        handles = open_files()
        for number in range(20):
            (root / "shop/cart.py").write_text(f"def refund{number}(): return 1\n")
            refresh(index, root)

        assert found(index, "refund19") == ["shop/cart.py"]
        assert len(list((index.folder / "code").iterdir())) < 200
        assert open_files() < handles + 100


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def parts_of(base: Path) -> list[Path]:
    return sorted(p for p in (base / "indexes").rglob("*") if p.is_file() and p.name != "lock")


@pytest.mark.parametrize("harm", ["cut", "overwrite", "delete"])
def test_an_index_with_any_file_damaged_answers_or_is_built_anew_and_says_so(
    tmp_path: Path, harm: str
) -> None:
    with indexed(FILES, tmp_path) as (_, root):
        pass
    whole = tmp_path / "whole"
    shutil.copytree(tmp_path / "indexes", whole)
    names = [path.relative_to(tmp_path / "indexes") for path in parts_of(tmp_path)]
    rebuilt = 0
    for name in names:
        shutil.rmtree(tmp_path / "indexes")
        shutil.copytree(whole, tmp_path / "indexes")
        place = tmp_path / "indexes" / name
        if harm == "cut":
            place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])
        elif harm == "overwrite":
            place.write_bytes(random.Random(7).randbytes(place.stat().st_size))
        else:
            place.unlink()

        with ContextIndex(tmp_path / "indexes", str(root)) as index:
            refresh(index, root)

            assert found(index, "cart total weigh")[:1] == ["shop/cart.py"], name
            rebuilt += bool(index.rebuilt)
    assert rebuilt > 0


def test_an_index_of_another_version_is_built_anew(tmp_path: Path) -> None:
    with indexed(FILES, tmp_path) as (index, root):
        folder = index.folder
    with sqlite3.connect(folder / "files.db") as table:
        table.execute("UPDATE about SET value = '0' WHERE name = 'version'")
    table.close()

    with ContextIndex(tmp_path / "indexes", str(root)) as index:
        assert "version" in index.rebuilt
        assert sorted(refresh(index, root)) == sorted(FILES)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)

    with pytest.raises(StoreError, match="cannot be made"):
        ContextIndex(closed, "/project").__enter__()


def test_a_file_in_the_place_of_the_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "indexes").touch()

    with pytest.raises(StoreError, match="cannot be made"):
        ContextIndex(tmp_path / "indexes", "/project").__enter__()


def test_what_is_forgotten_is_gone(tmp_path: Path) -> None:
    with indexed(FILES, tmp_path) as (index, _):
        index.forget()

        assert not index.folder.exists()


def test_of_many_that_begin_at_once_one_makes_the_index_and_nobody_takes_it_for_damaged(
    tmp_path: Path,
) -> None:
    (root := tmp_path / "root").mkdir()
    start = Barrier(6)

    def begin(folder: Path) -> str:
        start.wait()
        with ContextIndex(folder, str(root)) as index:
            index.compare([])
            return index.rebuilt

    with ThreadPoolExecutor(6) as pool:
        for number in range(30):
            assert set(pool.map(begin, [tmp_path / str(number)] * 6)) == {""}


def test_who_has_an_index_open_that_another_made_anew_writes_nothing_to_it(tmp_path: Path) -> None:
    with indexed(FILES, tmp_path) as (old, root):
        with ContextIndex(tmp_path / "indexes", str(root)) as other:
            other.forget()
        with old.updating() as update:
            assert update is None
        with ContextIndex(tmp_path / "indexes", str(root)) as new:
            assert sorted(refresh(new, root)) == sorted(FILES)
            with old.updating() as update:
                assert update is None


def test_an_index_that_somebody_writes_to_is_not_forgotten(tmp_path: Path) -> None:
    with indexed(FILES, tmp_path) as (index, root), index.updating():
        other = ContextIndex(tmp_path / "indexes", str(root), patience=0.05)
        with pytest.raises(StoreBusyError, match="writing to it"):
            other.forget()

    with ContextIndex(tmp_path / "indexes", str(root)) as index:
        assert found(index, "cart total weigh")[0] == "shop/cart.py"


KILLED = """
import sys
from pathlib import Path
from aiex.context import ContextIndex
from tests.context.indexes import refresh
root, base = Path(sys.argv[1]), Path(sys.argv[2])
print("begun", flush=True)
while True:
    with ContextIndex(base, str(root)) as index:
        refresh(index, root)
        index.forget()
"""


def test_a_process_that_is_killed_leaves_an_index_that_the_next_one_completes(
    tmp_path: Path,
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    for number in range(60):
        (root / f"m{number}.py").write_text(f"def refund{number}(x):\n    return x\n" * 9)
    dice = random.Random(11)
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(root), str(tmp_path / "indexes")],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        process.stdout.readline()
        # Not a wait for anything: any moment will do, and each run is cut at another one.
        time.sleep(dice.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.communicate()

        with ContextIndex(tmp_path / "indexes", str(root)) as index:
            refresh(index, root)

            assert found(index, "refund17")[0] == "m17.py"
            assert index.size().files == {"code": 60}
