"""Every command that writes, on a disk without room: one sentence, and what was there stays as it was."""

import shutil
from pathlib import Path

import pytest

from medseg.run import Run
from medseg.tasks import task_named
from tests.cli.test_disks import medseg
from tests.full_disk import needs_mount, small_disk


def refused(error: object) -> None:
    assert isinstance(error, str) and error.startswith("error: ") and "\n" not in error, error
    assert "No space left on device" in error


@needs_mount
def test_a_repository_without_room_leaves_nothing(tmp_path, luna_runs, monkeypatch):
    runs = [word for run in luna_runs for word in ("--run", run.path)]
    with small_disk(tmp_path, 60) as disk:
        words = ("serve", "luna", *runs, "--target", "cpu", "--write-only", disk / "repository")
        refused(medseg(monkeypatch, *words))
        assert list(disk.iterdir()) == []


@needs_mount
def test_an_answer_without_room_leaves_no_half_file(tmp_path, luna_runs, monkeypatch):
    runs = [word for run in luna_runs for word in ("--run", run.path)]
    task_named("luna").known_data("test").phantom(tmp_path / "ct", 1, 0)
    (ct,) = (tmp_path / "ct").rglob("*.mhd")
    with small_disk(tmp_path, 72) as disk:
        refused(medseg(monkeypatch, "predict", "luna", ct, *runs, "--out", disk / "answers"))
        assert not [path for path in disk.rglob("*") if path.name.startswith(".")]


@needs_mount
def test_an_export_without_room_leaves_the_run_as_it_was(tmp_path, luna_runs, monkeypatch):
    with small_disk(tmp_path, 8000) as disk:
        folder = Path(shutil.copytree(luna_runs[1].path, disk / "run"))
        before = (folder / "manifest.json").read_bytes()
        (disk / "filled").write_bytes(bytes(shutil.disk_usage(disk).free - 8192))
        refused(medseg(monkeypatch, "export", folder, "--samples", 1))
        assert (folder / "manifest.json").read_bytes() == before and not Run(folder).problems()


@pytest.mark.parametrize("given", [[0], [0, 0, 1], [1, 2]])
def test_runs_that_cannot_answer_are_refused_at_once(tmp_path, luna_runs, monkeypatch, given):
    runs = [word for index in given for word in ("--run", luna_runs[index].path)]
    for words in (
        ("serve", "luna", *runs),
        ("serve", "luna", *runs, "--write-only", tmp_path / "repository"),
        ("bench", "luna", tmp_path, *runs, "--out", tmp_path / "bench"),
    ):
        error = medseg(monkeypatch, *words)
        assert error.startswith("error: luna got ") and "expected" in error
    assert not (tmp_path / "repository").exists()


def test_a_changed_file_is_not_used(tmp_path, luna_runs, monkeypatch):
    folders = [shutil.copytree(run.path, tmp_path / run.network) for run in luna_runs]
    content = bytearray((folders[1] / "fp32.onnx").read_bytes())
    content[len(content) // 2] ^= 255
    (folders[1] / "fp32.onnx").write_bytes(content)
    runs = [word for folder in folders for word in ("--run", folder)]
    words = ("serve", "luna", *runs, "--write-only", tmp_path / "repository")
    error = medseg(monkeypatch, *words)
    assert "fp32.onnx: its bytes changed since it was recorded" in error and "--no-verify" in error
    monkeypatch.setattr("sys.argv", ["medseg", *map(str, words), "--no-verify"])
    with pytest.raises(SystemExit) as caught:
        from medseg.cli.main import main

        main()
    assert not caught.value.code and (tmp_path / "repository" / "luna" / "config.pbtxt").is_file()
