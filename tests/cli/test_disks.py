"""A disk that refuses is one sentence that names the file, and nothing half-written is left."""

import sys
from pathlib import Path

import pytest
import torch

from medseg.cli.main import main
from medseg.tasks import network_named
from tests.full_disk import needs_mount, small_disk

SMALL = {"context": 3, "features": 2, "depth": 3}


def medseg(monkeypatch: pytest.MonkeyPatch, *words: object) -> str | int | None:
    """What the command line exits with: its error line, or a code."""
    monkeypatch.setattr(sys, "argv", ["medseg", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(network_named("luna-segment").build(**SMALL).state_dict(), tmp_path / "w.pt")
    return tmp_path / "w.pt"


@needs_mount
@pytest.mark.parametrize("kilobytes", [4, 20, 100])
def test_an_import_without_room_leaves_nothing(tmp_path, weights, monkeypatch, kilobytes):
    with small_disk(tmp_path, kilobytes) as disk:
        words = ("import", "luna-segment", weights, "--features", 2, "--out", disk / "new" / "run")
        error = medseg(monkeypatch, *words)
        assert error.startswith(f"error: {disk}") and "No space left on device" in error and "make room" in error
        assert list(disk.iterdir()) == []


@needs_mount
def test_made_up_data_without_room_is_one_sentence(tmp_path, monkeypatch):
    with small_disk(tmp_path, 100) as disk:
        error = medseg(monkeypatch, "data", "phantom", "gi-tract", "--out", disk / "data")
        assert error.startswith("error: ") and "No space left on device" in error and "\n" not in error


@needs_mount
def test_a_read_only_disk_is_one_sentence(tmp_path, weights, monkeypatch):
    with small_disk(tmp_path, 100, "ro") as disk:
        error = medseg(monkeypatch, "import", "luna-segment", weights, "--features", 2, "--out", disk / "run")
        assert error.startswith(f"error: {disk / 'run'} cannot be used (Read-only file system)")


@pytest.mark.parametrize("out", ["file", "file/run", "file/a/run"])
def test_a_file_in_the_place_of_a_folder_is_one_sentence(tmp_path, weights, monkeypatch, out):
    (tmp_path / "file").write_text("")
    error = medseg(monkeypatch, "import", "luna-segment", weights, "--features", 2, f"--out={tmp_path / out}")
    assert error.startswith(f"error: {tmp_path / 'file'}") and "expected a folder, but there is a file" in error
    assert (tmp_path / "file").read_text() == ""


def test_a_fault_of_our_own_keeps_its_traceback(monkeypatch):
    def fault(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "/somewhere/inside")

    monkeypatch.setattr("medseg.tasks.task_named", fault)
    monkeypatch.setattr(sys, "argv", ["medseg", "info", "luna"])
    with pytest.raises(FileNotFoundError):
        main()
