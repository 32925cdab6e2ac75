"""200 damaged pictures of each format through the real server, which goes on answering."""

import io
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")

from benchmarks.damaged_requests import FORMATS, campaign, decoding, served, whole
from medseg.triton_models.watch import processes
from tests.dali_pipelines.damage import damaged, strange


@pytest.mark.slow
def test_every_damaged_picture_is_refused_or_answered_rightly(tmp_path: Path) -> None:
    tasks = [decoding(name) for name in FORMATS]
    with served(tasks, tmp_path) as server:
        before = processes(server)
        for task in tasks:
            files = [*damaged(whole(task.name), 200), *(data for _, data in strange())]
            found = campaign(server, task, files)
            assert set(found) <= {"refused", "answered"}, found
            assert found["refused"] >= 100
            assert campaign(server, task, [whole(task.name)] * 4) == {"answered": 4}
        assert processes(server) == before
        assert server.process.poll() is None


def turned(task: str, form: str) -> list[bytes]:
    """A whole picture in each of the eight orientations."""
    files = []
    for orientation in range(1, 9):
        exif, file = Image.Exif(), io.BytesIO()
        exif[0x112] = orientation
        with Image.open(io.BytesIO(whole(task))) as picture:
            picture.save(file, form, exif=exif)
        files.append(file.getvalue())
    return files


def test_pictures_that_viewers_turn_are_served_as_they_are_answered_here(tmp_path: Path) -> None:
    tasks = [decoding(name) for name in ("gi-tract", "stas")]
    with served(tasks, tmp_path) as server:
        for task, form in ((tasks[0], "PNG"), (tasks[1], "JPEG"), (tasks[1], "PNG"), (tasks[1], "TIFF")):
            assert campaign(server, task, turned(task.name, form)) == {"answered": 8}, form
        broken = bytearray(whole("gi-tract"))
        broken[broken.index(b"IDAT") + 50] ^= 1
        assert campaign(server, tasks[0], [bytes(broken)]) == {"refused": 1}
