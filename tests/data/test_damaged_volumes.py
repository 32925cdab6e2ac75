"""200 damages of each volume format: every one is refused in one sentence, or read as what the bytes still say."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.data.volume import read_volume
from medseg.errors import InputError
from tests.dali_pipelines.damage import damaged
from tests.data.test_volume import _series

COUNT = 200
SHAPE = (6, 12, 14)


def _ct() -> np.ndarray:
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return (200 * np.sin(x / 3) + 30 * y - 90 * z).astype(np.int16)


def _written(suffix: str, compressed: bool) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        image = sitk.GetImageFromArray(_ct())
        image.SetSpacing((0.7, 0.8, 2.5))
        sitk.WriteImage(image, str(folder / f"ct{suffix}"), useCompression=compressed)
        return folder / f"ct{suffix}"

    return write


def _dicom(folder: Path) -> Path:
    _series(folder / "ct", [0, 2, 4])
    return folder / "ct"


FORMATS = {
    "mhd and raw": _written(".mhd", False),
    "mhd and zraw": _written(".mhd", True),
    "mha": _written(".mha", True),
    "nrrd": _written(".nrrd", False),
    "nrrd gzip": _written(".nrrd", True),
    "nii": _written(".nii", False),
    "nii.gz": _written(".nii.gz", True),
    "dicom": _dicom,
}
# What ends the header in a file whose pixels lie behind a checksum: with other pixels it must not be read.
PIXELS_BEHIND = {".zraw": b"", ".mha": b"LOCAL\n", ".nrrd": b"\n\n", ".gz": b"\0\3"}
CHECKED = {"mhd and zraw", "mha", "nrrd gzip", "nii.gz"}


def _damages(folder: Path, name: str) -> Iterator[tuple[Path, bytes]]:
    """Each damaged file of the format with its content, file after file in turn."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    series = [damaged(path.read_bytes(), COUNT // len(files) + 1, seed=number) for number, path in enumerate(files)]
    for contents in zip(*series, strict=True):
        yield from zip(files, contents, strict=True)


@pytest.mark.parametrize("name", FORMATS)
def test_every_damaged_volume_is_refused_or_read_as_what_it_still_says(tmp_path: Path, name: str) -> None:
    path = FORMATS[name](tmp_path)
    whole = read_volume(path)
    found: Counter[str] = Counter()
    for file, content in _damages(tmp_path, name):
        kept = file.read_bytes()
        file.write_bytes(content)
        try:
            volume = read_volume(path)
            if name in CHECKED and file.suffix in PIXELS_BEHIND:
                start = kept.index(end := PIXELS_BEHIND[file.suffix]) + len(end)
                assert content[start:] == kept[start:] or np.array_equal(volume.array, whole.array), file.name
            assert np.isfinite(volume.geometry.spacing_mm).all() and min(volume.geometry.spacing_mm) > 0
            found["read"] += 1
        except InputError as error:
            assert "\n" not in str(error), error
            assert "expected" in str(error) or "again" in str(error) or "mend" in str(error), error
            found["refused"] += 1
        file.write_bytes(kept)
    assert found.total() >= COUNT
    assert found["refused"] > COUNT // (4 if name in CHECKED else 10), found
    assert np.array_equal(read_volume(path).array, whole.array)
    shutil.rmtree(tmp_path)
