"""A killed process's folders are removed when the next folder is made; those of others and of living ones stay."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.scratch import Scratch, remove_left

OWNER = """
import sys
from medseg.scratch import Scratch
folder = Scratch("test", sys.argv[1])
open(folder.name + "/content", "w").close()
print(folder.name, flush=True)
input()
"""

OFTEN = """
import os, sys
from medseg.scratch import Scratch
for _ in range(200):
    with Scratch("test", sys.argv[1]) as name:
        open(name + "/a", "w").close()
        assert os.path.exists(name + "/a")
"""


@pytest.fixture
def owner(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.communicate()


def test_a_living_owners_folder_stays_and_a_killed_ones_goes(tmp_path: Path, owner) -> None:
    process, folder = owner
    with Scratch("other", str(tmp_path)) as mine:
        assert (folder / "content").exists()
        process.kill()
        process.wait()
        with Scratch("third", str(tmp_path)):
            assert not folder.exists() and Path(mine).exists()
    assert not any(tmp_path.iterdir())


def test_an_owner_that_ends_by_itself_leaves_nothing(tmp_path: Path, owner) -> None:
    process, folder = owner
    process.communicate("\n")
    assert not folder.exists()


def test_a_dropped_folder_is_gone_and_its_lock_is_closed(tmp_path: Path) -> None:
    folder = Scratch("test", str(tmp_path))
    name = Path(folder.name)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.warns(ResourceWarning):
        del folder
        gc.collect()
    assert not name.exists() and len(list(Path("/proc/self/fd").iterdir())) == descriptors - 1


def test_what_is_not_such_a_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "patients").mkdir()
    (tmp_path / "patients/ct").touch()
    (tmp_path / "medseg-test.link").symlink_to(tmp_path / "patients")
    (tmp_path / "medseg-test.file").touch()
    (tmp_path / "medseg-old").mkdir()
    remove_left(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "ct",
        "medseg-old",
        "medseg-test.file",
        "medseg-test.link",
        "patients",
    ]


def test_owners_at_once_never_take_each_others(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", OFTEN, tmp_path]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert not any(tmp_path.iterdir())
