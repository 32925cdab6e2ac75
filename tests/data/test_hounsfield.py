"""Values that are no HU, and the turns and flips of every format."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.data.volume import read_volume
from medseg.task import Geometry
from tests.data import made
from tests.data.made import refused


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nrrd", ".nhdr", ".nii", ".nii.gz"])
def test_every_turn_and_flip_is_where_itk_puts_it(tmp_path: Path, suffix: str) -> None:
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            direction = (np.eye(3)[:, list(order)] * signs).ravel()
            geometry = Geometry((1.5, 1.4, 2.0), (3.0, 15.0, -30.0), tuple(direction.tolist()))
            sitk.WriteImage(made.image(geometry, (5, 8, 9)), str(tmp_path / f"ct{suffix}"))
            volume = read_volume(tmp_path / f"ct{suffix}")
            assert made.off(volume) <= 1
            np.testing.assert_allclose(volume.geometry.direction, direction, atol=1e-6)


NOT_HU = {
    "one value": (lambda hu: hu * 0 + 40, "every voxel is 40"),
    "0 to 1": (lambda hu: (hu + 1000) / 2000, "scaled or a mask"),
    "-1 to 1": (lambda hu: hu / 1000, "scaled or a mask"),
    "8-bit": (lambda hu: np.clip((hu + 1000) / 8, 0, 255).round(), "no air and no fat"),
    "offset by 1024": (lambda hu: hu + 1024, "no air and no fat"),
    "twice offset": (lambda hu: np.minimum(hu - 1024, -600), "no tissue"),
    "mask": (lambda hu: hu > 0, "scaled or a mask"),
    "padding": (lambda hu: np.where(hu == -1000, 30000, hu), "over 8000 HU"),
}


@pytest.mark.parametrize("kind", [np.int16, np.float32])
@pytest.mark.parametrize("name", NOT_HU)
def test_what_is_no_hu_is_refused_with_the_numbers_seen(tmp_path: Path, name: str, kind: type) -> None:
    change, what = NOT_HU[name]
    image = sitk.GetImageFromArray(np.asarray(change(made.values().astype(np.float64))).astype(kind))
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    whole_zeros = kind is np.int16 and name == "0 to 1"
    refused(tmp_path / "ct.nrrd", "every voxel is 0" if whole_zeros else what)


def test_a_ct_cut_down_to_soft_tissue_is_read_with_a_note(tmp_path: Path) -> None:
    values = np.clip(made.values(), -120, None)
    image = sitk.GetImageFromArray(values)
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    volume = read_volume(tmp_path / "ct.nrrd")
    assert np.array_equal(volume.array, values)
    assert any("values from -120 to" in note and "doubtful" in note for note in volume.notes)
