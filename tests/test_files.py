"""A file appears completely or not at all, with the umask's mode; the error of a full disk names the file."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.files import whole_file, whole_folder
from tests.full_disk import needs_mount, small_disk
from tests.patience import PATIENCE_S


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_the_umask_decides_who_reads_a_file(tmp_path, umask):
    code = f"""
import os
from pathlib import Path
from medseg.files import whole_file
os.umask({umask})
with whole_file(Path("a")) as path:
    path.write_text("a")
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=PATIENCE_S)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_fails_leaves_the_file_before(tmp_path):
    (tmp_path / "a").write_text("before")
    with pytest.raises(KeyError), whole_file(tmp_path / "a") as path:
        path.write_text("half")
        raise KeyError
    assert (tmp_path / "a").read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError) as caught, whole_file(tmp_path / "a") as path:
        path.write_text("a")
    assert caught.value.filename == str(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def _silent(path: Path, content: bytes) -> None:
    """Like a library that does not check whether its bytes were written."""
    with path.open("wb", buffering=0) as file:
        while content and (written := _some(file, content)):
            content = content[written:]


def _some(file, content: bytes) -> int:
    try:
        return file.write(content)
    except OSError:
        return 0


def _raising(path: Path, content: bytes) -> None:
    """Like a library that raises an error of its own if the disk is full."""
    _silent(path, content)
    raise RuntimeError("unexpected pos 576 vs 534")


@needs_mount
@pytest.mark.parametrize("write", [Path.write_bytes, _silent, _raising])
def test_a_full_disk_is_told_whatever_the_writer_makes_of_it(tmp_path, write):
    with small_disk(tmp_path, 300) as disk:
        (disk / "a").write_text("before")
        with pytest.raises(OSError) as caught, whole_file(disk / "a") as path:
            write(path, bytes(1 << 20))
        assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(disk / "a")
        assert (disk / "a").read_text() == "before" and len(list(disk.iterdir())) == 1


def test_an_error_of_our_own_stays_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, whole_file(tmp_path / "a"):
        (tmp_path / "other").stat()
    assert caught.value.filename == str(tmp_path / "other")
    with pytest.raises(OSError, match="cannot write mode F"), whole_file(tmp_path / "a"):
        raise OSError("cannot write mode F")


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "other files"])
def test_a_folder_is_made_whole_or_stays_as_it_was(tmp_path, there):
    folder = tmp_path / "new" / "folder"
    if there != "nothing":
        folder.mkdir(parents=True)
    if there == "other files":
        (folder / "other").write_text("other")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(KeyError), whole_folder(folder, last="z") as temporary:
        (temporary / "a").write_text("a")
        raise KeyError
    assert sorted(tmp_path.rglob("*")) == before
    with whole_folder(folder, last="a") as temporary:
        (temporary / "a").write_text("a")
        (temporary / "sub").mkdir()
        (temporary / "sub" / "b").write_text("b")
    assert (folder / "sub" / "b").read_text() == "b"
    assert {path.name for path in folder.iterdir()} == {"a", "sub"} | ({"other"} if there == "other files" else set())
