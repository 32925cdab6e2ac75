"""LUNA's steps: exact where they must be, inverses where they can be, and equal to the published chain on a real CT."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medseg.data.volume import Volume
from medseg.errors import InputError, RunError
from medseg.task import Array, Geometry, Infer, Networks, Request, Tensors
from medseg.tasks.luna import TASK
from medseg.tasks.luna.boxes import HALO, STRIDE, covering, with_halo
from medseg.tasks.luna.files import write
from medseg.tasks.luna.find import segment
from medseg.tasks.luna.pipeline import NODULE_COLUMNS, geometry_from, geometry_tensor, mask_from_bits
from medseg.tasks.luna.split import group, opened

SPACING = (0.8, 0.8, 2.0)
SHAPE = (60, 160, 176)
BALLS_MM = [((40.0, 70.0, 44.0), 12.0), ((60.0, 52.0, 100.0), 9.0), ((80.0, 80.0, 40.0), 16.0)]  # z, y, x and diameter
DENSE_HU = 400  # nothing but the balls is denser


def _chest() -> Array:
    """A body with two lungs and the balls in them, (index, row, col) int16 HU."""
    rng = np.random.default_rng(0)
    z, y, x = np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, SPACING[::-1], strict=True)), indexing="ij")
    hu = np.full(SHAPE, -1000.0)
    hu[((y - 64) / 56) ** 2 + ((x - 70) / 62) ** 2 < 1] = 40
    for centre in (42, 98):
        hu[((z - 60) / 50) ** 2 + ((y - 64) / 40) ** 2 + ((x - centre) / 22) ** 2 < 1] = -850
    hu += rng.normal(0, 20, SHAPE) * (hu > -1000)
    for (cz, cy, cx), diameter in BALLS_MM:
        hu[(z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < (diameter / 2) ** 2] = 500
    return hu.astype(np.int16)


def _tensors(ct: Array, roi: int = 0, threshold: float = 0.5) -> Tensors:
    options = {"roi": np.array([roi], np.uint8), "threshold": np.array([threshold], np.float32)}
    return {"ct": ct, "geometry": geometry_tensor(Geometry(SPACING, (-10.0, 5.0, 100.0)))} | options


def _networks(malignancy: bool = False) -> Networks:
    """Perfect networks: what is dense is a nodule, what is large is malignant."""
    networks: dict[str, Infer] = {
        "luna-segment": lambda slices: np.where(slices[:, 3:4] > DENSE_HU, 10, -10).astype(np.float32),
        "luna-nodule": lambda crops: np.stack([_dense(crops) * 0, _dense(crops) * 10], 1).astype(np.float32),
    }
    if malignancy:
        networks["luna-malignancy"] = lambda crops: np.stack([crops[:, 0, 0, 0, 0] * 0, _volume(crops)], 1).astype(
            np.float32
        )

    def find(name: str) -> Infer:
        if name not in networks:
            raise RunError(name)
        return networks[name]

    return find


def _dense(crops: Array) -> Array:
    return crops[:, 0, 16, 24, 24] > DENSE_HU


def _volume(crops: Array) -> Array:
    return np.where((crops > DENSE_HU).sum((1, 2, 3, 4)) > 1000, 5, -5)


@pytest.mark.parametrize("roi", [0, 1])
def test_perfect_networks_find_every_ball_where_it_is(roi: int) -> None:
    ct = _chest()
    answer = TASK.pipeline(_tensors(ct, roi), _networks())
    assert np.array_equal(mask_from_bits(answer["candidates"], ct.shape), opened(ct > DENSE_HU))
    nodules = dict(zip(NODULE_COLUMNS, answer["nodules"].T, strict=True))
    found = {
        round(z): (y, x, d)
        for z, y, x, d in zip(
            *(nodules[c] for c in ("center_z_mm", "center_y_mm", "center_x_mm", "diameter_mm")), strict=True
        )
    }
    assert sorted(found) == sorted(round(z + 100) for (z, _, _), _ in BALLS_MM)
    for (z, y, x), diameter in BALLS_MM:
        at_y, at_x, found_diameter = found[round(z + 100)]
        assert abs(at_y - y - 5) < 0.5 and abs(at_x - x + 10) < 0.5
        assert found_diameter == pytest.approx(diameter, rel=0.1)
    assert (nodules["nodule_probability"] > 0.99).all()


def test_malignancy_is_a_column_only_where_the_network_is_there() -> None:
    tensors = _tensors(_chest())
    assert TASK.pipeline(tensors, _networks())["nodules"].shape == (3, 8)
    table = TASK.pipeline(tensors, _networks(malignancy=True))["nodules"]
    assert table.shape == (3, 9)
    assert sorted(np.round(table[:, 8], 2).tolist()) == [0.01, 0.01, 0.99], "only the 16 mm ball is large"


def test_no_candidates_is_an_ordinary_answer(tmp_path: Path) -> None:
    ct = np.minimum(_chest(), 300)
    tensors = _tensors(ct, threshold=0)
    answer = TASK.pipeline(tensors, _networks())
    assert answer["nodules"].shape == (0, 8) and answer["mask"].shape == (0, 3)
    volume = Volume(tmp_path / "ct.mhd", ct, Geometry(SPACING))
    paths = write(Request("ct", tensors, volume), answer, tmp_path)
    assert json.loads((tmp_path / "nodules.json").read_text())["nodules"] == []
    assert all(path.stat().st_size > 0 for path in paths)


def test_the_threshold_decides_what_is_listed() -> None:
    def unsure(name: str) -> Infer:
        if name == "luna-nodule":
            return lambda crops: np.tile(np.array([[0, -1.0]], np.float32), (len(crops), 1))
        return _networks()(name)

    ct = _chest()
    assert len(TASK.pipeline(_tensors(ct), unsure)["nodules"]) == 0
    assert len(TASK.pipeline(_tensors(ct, threshold=0), unsure)["nodules"]) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"geometry": np.zeros(15)}, r"starts with spacing \[0.0, 0.0, 0.0\] mm"),
        ({"roi": np.array([7], np.uint8)}, "'roi' is 7; expected 0 to 1"),
        ({"ct": np.zeros((3, 2, 90), np.int16)}, r"shape \(3, 2, 90\); expected \(4 to 4096"),
        (
            {"ct": np.tile(np.arange(-900, 0, 10, dtype=np.int16), (30, 90, 1)), "roi": np.array([1], np.uint8)},
            "no lungs found",
        ),
    ],
)
def test_bad_tensors_are_refused_in_words(change: Tensors, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TASK.pipeline(_tensors(_chest()) | change, _networks())


def test_geometry_survives_the_wire() -> None:
    geometry = Geometry((0.7, 0.8, 2.5), (1.0, 2.0, 3.0), (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0))
    assert geometry_from(geometry_tensor(geometry)) == geometry


def test_grouping_equals_scipy() -> None:
    rng = np.random.default_rng(3)
    mask = ndimage.binary_dilation(rng.random((20, 40, 50)) > 0.995, iterations=2)
    ct = rng.integers(-2000, 2000, mask.shape).astype(np.int16)
    labels, count = ndimage.label(ndimage.binary_erosion(mask))
    expected = ndimage.center_of_mass(ct.clip(-1000, 1000) + 1001.0, labels, range(1, count + 1))
    found = group(ct, mask)
    np.testing.assert_allclose(np.sort(found.centres, 0), np.sort(np.array(expected), 0))
    assert (found.sizes >= 1).all() and found.sizes.sum() <= mask.sum()
    assert np.array_equal(np.unique(found.places), np.flatnonzero(opened(mask)))


def test_air_is_skipped_without_changing_a_voxel() -> None:
    """A body in one corner of a wide picture: the windows leave air out, and the mask is that of the whole picture."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = TASK.network("luna-segment").build().eval()
    pixels = []

    def infer(batch: Array) -> Array:
        pixels.append(batch.shape[2] * batch.shape[3])
        with torch.inference_mode():
            return module(torch.from_numpy(batch)).numpy() - 0.02

    ct = np.full((20, 256, 224), -1000, np.int16)
    ct[5:9, 10:90, 120:200] = np.random.default_rng(0).integers(-900, 900, (4, 80, 80))
    ct[17, 200:204, 20:24] = 100
    mask = segment(ct, infer)
    computed = sum(pixels)
    whole = np.stack([infer(_context(ct, index))[0, 0] > 0 for index in range(len(ct))])
    assert 0.01 < whole.mean() < 0.99, "the network must say both"
    assert opened(whole).any()
    assert np.array_equal(mask, opened(whole))
    assert computed < 0.5 * ct.size


@pytest.mark.parametrize("size", [60, 65, 66, 67, 90, 512])
def test_a_box_is_seen_with_its_halo_or_up_to_the_edge(size: int) -> None:
    for place in range(size):
        needed = np.zeros((size, size), bool)
        needed[place, size - 1 - place] = True
        (box,) = covering(needed)
        for axis, seen in zip(box, with_halo(box, needed.shape), strict=True):
            assert seen.start % STRIDE == 0
            assert 0 <= seen.start <= max(0, axis.start - HALO)
            assert min(size, axis.stop + HALO) <= seen.stop <= size


def test_boxes_at_the_edges_of_a_picture_of_any_size_answer_as_the_whole_picture() -> None:
    """Sides that are no multiples of 4: boxes end where the whole picture ends, for the network pads there."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = TASK.network("luna-segment").build().eval()

    def infer(batch: Array) -> Array:
        with torch.inference_mode():
            return module(torch.from_numpy(batch)).numpy()

    ct = np.random.default_rng(0).integers(-900, 900, (9, 118, 150)).astype(np.int16)
    planes = [
        np.pad(_context(ct, index), ((0, 0), (0, 0), (0, 2), (0, 2)), constant_values=-1000) for index in range(9)
    ]
    logits = np.concatenate([infer(plane)[:, 0, :118, :150] for plane in planes])
    middle = float(np.quantile(logits, 0.7))
    mask = segment(ct, lambda batch: infer(batch) - middle)
    wanted = opened(logits > middle)
    assert wanted[:, -24:].any() and wanted[:, :, -24:].any()
    assert np.count_nonzero(mask != wanted) == 0


@pytest.mark.parametrize("shape", [(40, 200, 232), (2, 64, 64), (7, 90, 61)])
def test_only_what_can_belong_to_a_candidate_is_computed(shape: tuple[int, int, int]) -> None:
    """Blobs of all thicknesses, some one slice thin: the mask is the whole one's opening, for less work."""
    rng = np.random.default_rng(1)
    ct = rng.integers(-900, -800, shape).astype(np.int16)
    for index, row, col in rng.integers(0, shape, (12, 3)):
        depth, side = rng.integers(1, 6), rng.integers(2, 12)
        ct[index : index + depth, row : row + side, col : col + side] = 50
    pixels = []

    def infer(batch: Array) -> Array:
        pixels.append(batch.shape[2] * batch.shape[3])
        return batch[:, 3:4]

    assert np.array_equal(segment(ct, infer), opened(ct > 0))
    assert sum(pixels) <= 1.1 * ct.size
    if len(ct) > 10:
        assert sum(pixels) < 0.6 * ct.size


def _context(ct: Array, index: int) -> Array:
    return ct[np.clip(np.arange(index - 3, index + 4), 0, len(ct) - 1)][None].clip(-1000, 1000).astype(np.float32)


def test_the_halo_is_the_receptive_field() -> None:
    """A voxel HALO away from a pixel never moves its logit, wherever the window starts."""
    torch = pytest.importorskip("torch")
    module = TASK.network("luna-segment").build().eval()
    with torch.inference_mode():
        for column in range(64, 68):
            picture = torch.zeros(2, 7, 8, 160)
            picture[1, :, :, column] = 1000
            differs = (module(picture).diff(dim=0).abs()[0, 0] > 0).any(0).nonzero()[:, 0]
            assert column - differs.min() < HALO and differs.max() - column < HALO
