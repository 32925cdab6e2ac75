import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from medseg.data import labelme
from medseg.data.labelme import labelme_from_mask, mask_of, read_labelme
from medseg.errors import InputError
from medseg.tasks.stas import reader
from tests.data.drawn import HOLE, LESION, SIZE, box, content, piece, shape
from tests.shared import SHARED, needs_shared

STAS = SHARED / "data/stas"
RNG = np.random.default_rng(0)


def drawn(folder: Path, *shapes: dict[str, Any], size: tuple[int, int] = SIZE, **others: Any) -> np.ndarray:
    path = folder / "a.json"
    content = {"version": "4.5.6", "shapes": shapes, "imageHeight": size[0], "imageWidth": size[1], **others}
    path.write_text(json.dumps(content))
    return mask_of(read_labelme(path), SIZE)


masks = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14), elements=st.integers(0, 1))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(masks)
def test_any_mask_comes_back_pixel_for_pixel_holes_too(tmp_path: Path, mask: np.ndarray) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(labelme_from_mask(mask, "a.jpg", "STAS")))
    assert (mask_of(read_labelme(path), mask.shape) == mask).all()


def test_the_work_on_holes_grows_with_the_logarithm_of_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.ones((400, 60), np.uint8)
    mask[2::4, 2::4] = 0  # in 100 rows
    looked_at, components = [], labelme._components

    def counted(part: np.ndarray, corner: tuple[int, int] = (0, 0)) -> Iterator[Any]:
        looked_at.append(part.size)
        return components(part, corner)

    monkeypatch.setattr(labelme, "_components", counted)
    document = labelme_from_mask(mask, "a.jpg", "STAS")
    assert sum(looked_at) < 10 * mask.size  # one after the other it would be 50 times
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    assert (mask_of(read_labelme(path), mask.shape) == mask).all()


def test_every_shape_is_drawn_where_it_is(tmp_path: Path) -> None:
    square = drawn(tmp_path, shape(None, (10, 5), (20, 5), (20, 15), (10, 15)))  # version 3 names no type
    assert square.sum() == 121
    assert (drawn(tmp_path, shape("rectangle", (20, 15), (10, 5))) == square).all()
    assert abs(int(drawn(tmp_path, shape("circle", (25, 20), (25, 30))).sum()) - np.pi * 10.5**2) < 10
    assert drawn(tmp_path, shape("point", (25, 20)))[15:26, 20:31].sum() > 75
    line = drawn(tmp_path, shape("line", (5, 20), (45, 20)))
    assert line[20, 5:45].all()
    assert 9 <= line[:, 25].sum() <= 11
    strip = drawn(tmp_path, shape("linestrip", (5, 5), (25, 5), (25, 35)))
    assert strip[5, 5:25].all()
    assert strip[5:35, 25].all()


def test_shapes_are_united(tmp_path: Path) -> None:
    one, other = shape("rectangle", (0, 0), (10, 10)), shape("rectangle", (5, 5), (20, 20))
    assert (drawn(tmp_path, one, other) == (drawn(tmp_path, one) | drawn(tmp_path, other))).all()
    assert not drawn(tmp_path).any()


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([shape("polygon", (1, 1), (2, 2))], "has 2 points"),
        ([shape("star", (1, 1))], "'star'"),
        ([shape("point", (float("nan"), 1))], "not finite"),
        ([{"label": "x"}], "no list of points"),
    ],
)
def test_a_wrong_shape_is_refused_with_the_files_name(tmp_path: Path, shapes: list[Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        drawn(tmp_path, *shapes)
    assert str(tmp_path / "a.json") in str(error.value)


def test_another_pictures_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="use the right picture"):
        drawn(tmp_path, size=(41, 50))


def pixels(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """A mask with one box less another, and so on."""
    mask = np.zeros(SIZE, np.uint8)
    for number, (left, top, right, bottom) in enumerate(boxes):
        mask[top : bottom + 1, left : right + 1] = (number + 1) % 2
    return mask


WHOLE, RING = pixels((5, 5, 30, 30)), pixels((5, 5, 30, 30), (10, 10, 15, 15))
HOLES = {
    "a hole by its label": ([LESION, HOLE], RING),
    "a hole that comes first": ([HOLE, LESION], RING),
    "what cannot be told": ([LESION, box("__ignore__", 10, 10, 15, 15)], RING),
    "background under all": ([box("_background_", 0, 0, 49, 39), LESION], WHOLE),
    "background over all": ([LESION, box("_background_", 0, 0, 49, 39)], 0 * WHOLE),
    "a lesion in a hole": (
        [LESION, HOLE, box("STAS", 12, 12, 13, 13)],
        pixels((5, 5, 30, 30), (10, 10, 15, 15), (12, 12, 13, 13)),
    ),
    "a hole by its group": ([LESION | {"group_id": 1}, box("STAS", 10, 10, 15, 15, group_id=1)], RING),
    "a hole by its group, first": ([box("STAS", 10, 10, 15, 15, group_id=1), LESION | {"group_id": 1}], RING),
    "an island in a group": (
        [LESION | {"group_id": 1}, box("STAS", 10, 10, 15, 15, group_id=1), box("STAS", 12, 12, 13, 13, group_id=1)],
        pixels((5, 5, 30, 30), (10, 10, 15, 15), (12, 12, 13, 13)),
    ),
    "pieces of a group": ([box("STAS", 5, 5, 20, 30, group_id=1), box("STAS", 15, 5, 30, 30, group_id=1)], WHOLE),
    "twice the same in a group": ([LESION | {"group_id": 1}, LESION | {"group_id": 1}], WHOLE),
    "other groups": ([LESION | {"group_id": 1}, box("STAS", 10, 10, 15, 15, group_id=2)], WHOLE),
    "no group": ([LESION, box("STAS", 10, 10, 15, 15)], WHOLE),
    "one lesion with a hole beside another": (
        [LESION, HOLE, box("STAS", 40, 5, 45, 30)],
        RING | pixels((40, 5, 45, 30)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOLES)
def test_holes_are_cut(name: str, tmp_path: Path) -> None:
    shapes, wanted = HOLES[name]
    assert (drawn(tmp_path, *shapes) == wanted).all()


def test_a_mask_shape_is_put_where_its_corners_are(tmp_path: Path) -> None:
    found = RNG.integers(0, 2, (7, 9), np.uint8)
    wanted = np.zeros(SIZE, np.uint8)
    wanted[5:12, 20:29] = found
    assert (drawn(tmp_path, piece(found, 20.0, 5.0)) == wanted).all()
    assert (drawn(tmp_path, piece(255 * found, 20.0, 5.0)) == wanted).all()
    assert (drawn(tmp_path, piece(found, 20, 5), HOLE) == (wanted & (1 - pixels((10, 10, 15, 15))))).all()
    over_the_edge = drawn(tmp_path, piece(np.ones((7, 9), np.uint8), -3, 36))
    assert (over_the_edge == pixels((0, 36, 5, 39))).all()


def test_a_turned_box_is_drawn_as_its_corners_say(tmp_path: Path) -> None:
    corners = [(25, 5), (40, 20), (25, 35), (10, 20)]
    turned = [drawn(tmp_path, shape(kind, *corners)) for kind in ("rectangle", "rotation", "oriented_rectangle")]
    assert all((one == drawn(tmp_path, shape("polygon", *corners))).all() for one in turned)


@pytest.mark.parametrize(
    "found",
    [
        content(version="3.16.7", flags={}, lineColor=[0, 255, 0, 128], fillColor=[255, 0, 0, 128]),
        content(version="5.10.1", flags={"blurred": True}, imageHeight=None, imageWidth=None),
        content(version=None, shapes=[LESION | {"flags": {"sure": False}, "description": None, "mask": None}]),
        content(version="2.0", shapes=[LESION | {"attributes": {}, "difficult": False, "group_id": None}], flags=None),
    ],
)
def test_versions_and_flags_change_nothing(found: Any, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(found))
    assert (mask_of(read_labelme(tmp_path / "a.json", ["STAS"]), SIZE) == WHOLE).all()


@needs_shared
def test_all_real_files_are_read_and_come_back(tmp_path: Path) -> None:
    names = reader.patients(STAS)
    assert len(names) == 81
    for name in names:
        (case,) = reader.read(STAS, name)
        assert case.mask is not None
        assert case.image.shape == (942, 1716, 3)
        assert 0 < case.mask.mean() < 0.2
        path = tmp_path / "a.json"
        path.write_text(json.dumps(labelme_from_mask(case.mask, f"{name}.jpg", "STAS")))
        assert (mask_of(read_labelme(path), case.mask.shape) == case.mask).all()


@needs_shared
def test_an_embedded_picture_stands_in_for_a_missing_one(tmp_path: Path) -> None:
    annotation = reader.annotation_path(STAS, "00000573")
    target = reader.annotation_path(tmp_path, "00000573")
    target.parent.mkdir(parents=True)
    target.write_bytes(annotation.read_bytes())
    (embedded,), (stored,) = reader.read(tmp_path, "00000573"), reader.read(STAS, "00000573")
    assert np.abs(embedded.image.astype(int) - stored.image).mean() < 2  # LabelMe stored it as another JPEG
    assert embedded.mask is not None
    assert stored.mask is not None
    assert (embedded.mask == stored.mask).all()
