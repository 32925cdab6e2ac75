"""What is asked about: channels found by their names, and one sentence for whatever keeps them from being a case."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.errors import InputError
from medseg.task import Reading
from medseg.tasks.volume.cases import sources

TWO, ONE = ("T1", "FLAIR"), ("CT",)


def save(path: Path, values: np.ndarray | None = None, spacing: float = 1.0, flip: float = 1.0, origin: float = 0.0):
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5) / 7 if values is None else values
    affine = np.diag([spacing * flip, spacing, spacing, 1.0])
    affine[0, 3] = origin
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def loaded(path: Path, channels=TWO):
    return [one.load() for one in sources(channels, path, Reading())]


def test_every_name_in_a_folder_is_a_case_with_its_channels_in_order(tmp_path):
    for name in ("b", "a"):
        save(tmp_path / f"{name}_0001.nii.gz", np.full((3, 4, 5), 2.5, np.float32))
        save(tmp_path / f"{name}_0000.nii.gz")
    found = sources(TWO, tmp_path, Reading())
    assert [one.name for one in found] == ["a", "b"]
    image = found[0].load().tensors["image"]
    assert image.shape == (2, 5, 4, 3) and image.dtype == np.float32
    assert np.unique(image[1]) == [2.5] and image[0, 0, 0, 1] == np.float32(20 / 7)
    assert [one.name for one in sources(TWO, tmp_path / "b_0000.nii.gz", Reading())] == ["b"]


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct_0000.nii.gz"])
def test_a_file_is_a_case_of_a_network_of_one_channel(tmp_path, name):
    save(tmp_path / name)
    for path in (tmp_path, tmp_path / name):
        assert [one.name for one in sources(ONE, path, Reading())] == ["ct"]


@pytest.mark.parametrize(
    ("files", "asked", "message"),
    [
        (["a_0000.nii.gz"], "", r"a has no channel 1 \(FLAIR\); expected a_0001"),
        (["a_0001.nii.gz"], "", r"a has no channel 0 \(T1\)"),
        (["a_0000.nii.gz", "a_0001.nii.gz", "a_0002.nii.gz"], "", r"is channel 2, and the network takes 2"),
        (["a.nii.gz"], "", "holds no files NAME_0000 to NAME_0001"),
        (["a.nii.gz"], "a.nii.gz", "is one volume, and the network takes 2 channels"),
        (["a_0000.nii.gz", "a_0001.nii.gz"], "a_0001.nii.gz", "the other channels are found beside it"),
        (["a_0000.nii.gz", "a_0000.nii"], "", "is the same channel as"),
    ],
)
def test_a_channel_that_is_missing_or_too_many_is_named(tmp_path, files, asked, message):
    for file in files:
        save(tmp_path / file)
    with pytest.raises(InputError, match=message):
        sources(TWO, tmp_path / asked, Reading())


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"values": np.zeros((3, 4, 6), np.float32)}, "has 3 x 4 x 6 voxels; expected 3 x 4 x 5"),
        ({"spacing": 1.5}, "has spacing 1.5 x 1.5 x 1.5 mm; expected 1 x 1 x 1 mm"),
        ({"flip": -1.0}, "has another orientation than"),
        ({"values": np.full((3, 4, 5), np.nan, np.float32)}, "NaN"),
        ({"values": np.zeros((3, 4), np.float32)}, "2 dimensions"),
        ({"values": np.zeros((3, 4, 5, 2), np.float32)}, "holds 2 volumes"),
    ],
)
def test_channels_that_are_not_of_one_case_are_one_sentence(tmp_path, second, message):
    save(tmp_path / "a_0000.nii.gz")
    save(tmp_path / "a_0001.nii.gz", **second)
    with pytest.raises(InputError, match=message):
        loaded(tmp_path)


def test_channels_that_lie_a_little_apart_are_taken_together_and_said(tmp_path):
    save(tmp_path / "a_0000.nii.gz")
    save(tmp_path / "a_0001.nii.gz", origin=4.0)
    (request,) = loaded(tmp_path)
    assert any("lies 4.0 mm from a_0000.nii.gz" in note for note in request.source.notes)
