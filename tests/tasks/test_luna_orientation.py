"""The same CT however it is stored: the same nodules in the patient, and the same voxels of each."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from medseg.data.upright import Orientation, orientation_of
from medseg.data.volume import read_volume
from medseg.task import IDENTITY_DIRECTION, Array, Geometry, Infer, Reading, Tensors
from medseg.tasks.luna import TASK
from medseg.tasks.luna.files import write
from medseg.tasks.luna.pieces import labels
from medseg.tasks.luna.pipeline import geometry_tensor, mask_from_bits
from tests.data import oriented

SHAPE, SPACING = (42, 62, 70), (0.8, 0.9, 2.5)
WHERE = Geometry(SPACING, (-11.0, 7.0, 33.0))
OBLIQUE = {
    "a little": [12, -7, 20],
    "45 degrees": [45, 0, 0],
    "45 degrees, another axis": [0, 45, 0],
    "45 degrees, the last axis": [0, 0, -45],
    "much": [50, 20, 35],
}


def _ct() -> Array:
    """Lungs in a body, with lumps of different sizes."""
    rng = np.random.default_rng(5)
    hu = rng.normal(-850, 30, SHAPE)
    hu[:, :6] = hu[:, -4:] = -400
    for (index, row, col), (deep, high, wide) in zip(
        [(3, 9, 8), (12, 30, 38), (12, 30, 44), (20, 47, 12), (34, 9, 56)],
        [(4, 6, 7), (5, 7, 6), (5, 6, 7), (6, 6, 6), (5, 8, 6)],
        strict=True,
    ):
        hu[index : index + deep, row : row + high, col : col + wide] = rng.normal(60, 30, (deep, high, wide))
    return hu.astype(np.int16)


def _networks(name: str) -> Infer:
    """Networks that tell up from down, front from back and left from right, as those that have learnt do."""
    return {"luna-segment": _segment, "luna-nodule": _judge, "luna-malignancy": _judge}[name]


def _segment(slices: Array) -> Array:
    middle = slices[:, 3:4]
    above = slices[:, 4:5]
    shifted = np.pad(middle, ((0, 0), (0, 0), (1, 0), (0, 2)), constant_values=-1000)[:, :, :-1, 2:]
    return (middle + 0.3 * above + 0.2 * shifted + 50).astype(np.float32)


def _judge(crops: Array) -> Array:
    ramps = np.meshgrid(*(np.linspace(0, 1, size) for size in crops.shape[2:]), indexing="ij")
    weight = ramps[0] + 2 * ramps[1] + 4 * ramps[2]
    value = ((crops[:, 0] > -300) * weight).sum((1, 2, 3)) % 7 - 3
    return np.stack([0 * value, value], 1).astype(np.float32)


def _tensors(array: Array, geometry: Geometry) -> Tensors:
    return {"ct": array, "geometry": geometry_tensor(geometry)}


def _upright(array: Array, geometry: Geometry) -> Array:
    """The volume in the patient's own order of axes, by SimpleITK."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    return SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(image, "LPS"))


def _check_same(answer: Tensors, array: Array, geometry: Geometry, expected: Tensors) -> None:
    """The answer to a stored array is the expected one of the upright CT, in the patient."""
    turned, wanted = answer["nodules"], expected["nodules"]
    assert len(turned) == len(wanted)
    assert np.abs(turned[:, :3] - wanted[:, :3]).max() < 0.01
    np.testing.assert_allclose(turned[:, 6:], wanted[:, 6:], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(geometry.world_from_voxel(turned[:, 3:6]), turned[:, :3], atol=1e-6)
    assert np.array_equal(_upright(labels(answer["mask"], array.shape), geometry), labels(expected["mask"], SHAPE))
    found = _upright(mask_from_bits(answer["candidates"], array.shape).astype(np.uint8), geometry)
    assert np.array_equal(found, mask_from_bits(expected["candidates"], SHAPE))


@pytest.fixture(scope="module")
def expected() -> Tensors:
    answer = TASK.pipeline(_tensors(_ct(), WHERE), _networks)
    found = labels(answer["mask"], SHAPE)
    assert len(answer["nodules"]) >= 3 and found.max() == len(answer["nodules"])
    assert mask_from_bits(answer["candidates"], SHAPE).sum() > (found > 0).sum(), "not every candidate is listed"
    return answer


def test_the_networks_of_this_test_tell_orientations_apart(expected: Tensors) -> None:
    """Told a wrong orientation, the answer is another one: this test would notice."""
    for step in ((slice(None, None, -1),), (slice(None), slice(None, None, -1)), (..., slice(None, None, -1))):
        other = TASK.pipeline(_tensors(np.ascontiguousarray(_ct()[step]), WHERE), _networks)
        assert mask_from_bits(other["candidates"], SHAPE).any()
        turned = mask_from_bits(other["candidates"], SHAPE)[step]
        assert not np.array_equal(turned, mask_from_bits(expected["candidates"], SHAPE))


def test_all_48_orders_give_the_same_answer(expected: Tensors) -> None:
    for _, axes, steps in oriented.orders():
        array, geometry = oriented.stored(_ct(), WHERE, axes, steps)
        _check_same(TASK.pipeline(_tensors(array, geometry), _networks), array, geometry, expected)


def test_the_lungs_are_found_in_every_order() -> None:
    ct = np.pad(np.kron(_ct(), np.ones((2, 2, 2), np.int16)), ((0, 0), (8, 8), (8, 8)), constant_values=40)
    option = {"roi": np.array([1], np.uint8)}
    wanted = TASK.pipeline(_tensors(ct, WHERE) | option, _networks)
    assert len(wanted["nodules"]) >= 3
    for name, axes, steps in [*oriented.orders()][5::9]:
        array, geometry = oriented.stored(ct, WHERE, axes, steps)
        answer = TASK.pipeline(_tensors(array, geometry) | option, _networks)
        assert np.abs(answer["nodules"][:, :3] - wanted["nodules"][:, :3]).max() < 0.01, name
        turned = _upright(labels(answer["mask"], array.shape), geometry)
        assert np.array_equal(turned, labels(wanted["mask"], ct.shape)), name


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", ["mhd", "nrrd", "nii.gz", "dicom"])
def test_all_48_orders_in_every_format_give_the_same_files(
    tmp_path: Path, kind: str, every: int, expected: Tensors
) -> None:
    for name, axes, steps in [*oriented.orders()][::every]:
        folder = tmp_path / name
        folder.mkdir()
        path = oriented.write(folder, kind, *oriented.stored(_ct(), WHERE, axes, steps))
        (source,) = TASK.files.sources(path, Reading())
        request = source.load()
        answer = TASK.pipeline(dict(request.tensors), _networks)
        volume = read_volume(path)
        _check_same(answer, volume.array, volume.geometry, expected)
        if name in ("ZYX", "zxY", "yXZ"):
            _check_written(write(request, answer, folder), volume.geometry, expected)


def _check_written(paths: list[Path], geometry: Geometry, expected: Tensors) -> None:
    from medseg.data.segmentation import read_segmentation

    files = {path.name: path for path in paths}
    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(files["mask.nii.gz"])), "LPS")
    wanted = labels(expected["mask"], SHAPE)
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), wanted)
    np.testing.assert_allclose(image.GetSpacing(), SPACING, atol=1e-5)
    np.testing.assert_allclose(image.GetOrigin(), WHERE.origin_mm, atol=1e-3)
    rows = json.loads(files["nodules.json"].read_text())["nodules"]
    assert [row["nodule"] for row in rows] == list(range(1, len(rows) + 1))
    if "mask.dcm" in files:
        shape = SimpleITK.ReadImage(str(files["mask.nii.gz"])).GetSize()[::-1]
        assert np.array_equal(_upright(read_segmentation(files["mask.dcm"], geometry, shape), geometry), wanted)


@pytest.mark.parametrize("angles", OBLIQUE.values(), ids=OBLIQUE)
def test_an_oblique_ct_is_seen_alike_in_all_48_orders(angles: list[float]) -> None:
    """By the nearest order of axes: also where two are equally near, and with spacings of its own."""
    turned = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    base = Geometry(SPACING, (5.0, -6.0, 7.0), tuple(turned.ravel().tolist()))
    array = np.arange(60).reshape(3, 4, 5)
    first = orientation_of(base)
    seen, where = first.seen(array), first.seen_geometry(base, array.shape)
    largest = np.abs(np.reshape(where.direction, (3, 3)).diagonal()).min()
    assert largest > 0.4
    for name, axes, steps in oriented.orders():
        other, geometry = oriented.stored(array, base, axes, steps)
        turn = orientation_of(geometry)
        assert np.array_equal(turn.seen(other), seen), name
        found = turn.seen_geometry(geometry, other.shape)
        np.testing.assert_allclose(found.direction, where.direction, atol=1e-9)
        np.testing.assert_allclose(found.origin_mm, where.origin_mm, atol=1e-9)
        np.testing.assert_allclose(found.spacing_mm, where.spacing_mm, atol=1e-9)


def test_a_turn_and_back_is_where_it_was() -> None:
    array, voxels = np.arange(60).reshape(3, 4, 5), np.array([[0, 1, 2], [2, 3, 4], [1, 0, 3]])
    for _, axes, steps in oriented.orders():
        turn = Orientation((axes[0], axes[1], axes[2]), (steps[0] < 0, steps[1] < 0, steps[2] < 0))
        assert np.array_equal(turn.stored(turn.seen(array)), array)
        assert np.shares_memory(turn.seen(array), array) and np.shares_memory(turn.stored(array), array)
        seen = turn.seen_voxels(voxels, array.shape)
        assert np.array_equal(turn.stored_voxels(seen, array.shape), voxels)
        assert turn.seen(array)[tuple(seen.T)].tolist() == array[tuple(voxels.T)].tolist()


def test_an_upright_ct_is_seen_as_it_is() -> None:
    """Nothing is copied, nothing is turned: it costs nothing."""
    array = np.zeros((3, 4, 5), np.int16)
    turn = orientation_of(Geometry(SPACING, direction=IDENTITY_DIRECTION))
    assert turn.seen(array).flags.c_contiguous and np.shares_memory(turn.seen(array), array)
    assert (turn.axes, turn.flips) == ((0, 1, 2), (False,) * 3)
