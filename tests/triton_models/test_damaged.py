"""Pictures that viewers turn, through the real server. Damaged ones: tests/fuzz."""

import io
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")

from benchmarks.damaged_requests import campaign, decoding, served, whole


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
