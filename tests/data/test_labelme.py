import base64
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from medseg.data.encoded import RGB, decode
from medseg.data.labelme import labelme_from_mask, mask_of, read_labelme
from medseg.errors import InputError
from medseg.tasks.stas import reader
from medseg.tasks.stas.check import inspect
from tests.shared import SHARED, needs_shared

STAS = SHARED / "data/stas"
SIZE = (40, 50)
RNG = np.random.default_rng(0)


def drawn(folder: Path, *shapes: dict[str, Any], size: tuple[int, int] = SIZE, **others: Any) -> np.ndarray:
    path = folder / "a.json"
    content = {"version": "4.5.6", "shapes": shapes, "imageHeight": size[0], "imageWidth": size[1], **others}
    path.write_text(json.dumps(content))
    return mask_of(read_labelme(path), SIZE)


def shape(kind: str | None, *points: tuple[float, float]) -> dict[str, Any]:
    return {"label": "STAS", "points": points} | ({"shape_type": kind} if kind else {})


masks = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14), elements=st.integers(0, 1))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(masks)
def test_any_mask_comes_back_pixel_for_pixel_holes_too(tmp_path: Path, mask: np.ndarray) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(labelme_from_mask(mask, "a.jpg", "STAS")))
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


def box(label: str, left: int, top: int, right: int, bottom: int, **others: Any) -> dict[str, Any]:
    return {"label": label, "shape_type": "rectangle", "points": [(left, top), (right, bottom)], **others}


LESION = box("STAS", 5, 5, 30, 30)
HOLE = box("_background_", 10, 10, 15, 15)


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


def in_base64(pixels: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()


def piece(pixels: np.ndarray, left: float, top: float) -> dict[str, Any]:
    height, width = pixels.shape
    corners = [(left, top), (left + width - 1, top + height - 1)]
    return {"label": "STAS", "shape_type": "mask", "points": corners, "mask": in_base64(pixels)}


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


def content(**changes: Any) -> dict[str, Any]:
    whole = {"version": "5.5.0", "flags": {}, "shapes": [LESION], "imagePath": "a.jpg", "imageData": None}
    return whole | {"imageHeight": SIZE[0], "imageWidth": SIZE[1]} | changes


def one_shape(**changes: Any) -> dict[str, Any]:
    return content(shapes=[LESION | changes])


UNUSABLE: list[tuple[Any, str]] = [
    ([], "a JSON object"),
    (5, "a JSON object"),
    (None, "a JSON object"),
    ({}, "a list of shapes"),
    (content(shapes={"0": LESION}), "a list of shapes"),
    (content(shapes=None), "a list of shapes"),
    (content(shapes=["STAS"]), "shape 0 is not an object"),
    (one_shape(label=None), "has no label"),
    (one_shape(label=7), "has no label"),
    (one_shape(label=" "), "has no label"),
    (one_shape(label="lymphocyte"), "the label 'lymphocyte'; expected one of STAS, _background_, __ignore__"),
    (one_shape(label="stas"), "the label 'stas'"),
    (one_shape(shape_type="star"), "'star'"),
    (one_shape(shape_type=["polygon"]), "expected one of polygon"),
    (one_shape(points=None), "no list of points"),
    (one_shape(points="1,2"), "no list of points"),
    (one_shape(points=[1, 2]), "no list of points"),
    (one_shape(points=[[1, 2, 3], [4, 5, 6]]), "no list of points"),
    (one_shape(points=[["1", "2"], ["3", "4"]]), "no number"),
    (one_shape(points=[[True, False], [1, 2]]), "no number"),
    (one_shape(points=[[None, 1], [1, 2]]), "no number"),
    (one_shape(points=[[float("nan"), 1], [1, 2]]), "not finite"),
    (one_shape(points=[[float("inf"), 1], [1, 2]]), "not finite"),
    (one_shape(points=[[1e30, 1], [1, 2]]), "over 32768 pixels away"),
    (one_shape(points=[[10**400, 1], [1, 2]]), "over 32768 pixels away"),
    (one_shape(points=[]), "has 0 points; it needs 2 or 4"),
    (one_shape(points=[[1, 1], [2, 2], [3, 3]]), "has 3 points; it needs 2 or 4"),
    (one_shape(shape_type="polygon"), "has 2 points; it needs 3 or more"),
    (one_shape(shape_type="circle", points=[[1, 1]]), "it needs 2"),
    (one_shape(shape_type="point"), "it needs 1"),
    (one_shape(points=[[500, 500], [600, 600]]), "shape 0 lies outside of its picture"),
    (one_shape(points=[[5, 5], [30, 5000]]), "shape 0 lies outside of its picture"),
    (one_shape(shape_type="circle", points=[[5, 5], [5, 5000]]), "shape 0 lies outside of its picture"),
    (one_shape(group_id=[1]), "a group_id that is no number"),
    (one_shape(shape_type="mask"), "a mask, has no pixels"),
    (one_shape(shape_type="mask", mask="%%%"), "not in base64"),
    (one_shape(shape_type="mask", mask="AAAA"), "expected an 8-bit grey PNG"),
    (one_shape(shape_type="mask", mask=in_base64(np.ones((3, 3), np.uint8))), "3 x 3 pixels; its corners span 26 x 26"),
    (content(imageHeight=-40), "imageHeight and imageWidth are"),
    (content(imageHeight=0), "imageHeight and imageWidth are"),
    (content(imageHeight=None), "imageHeight and imageWidth are"),
    (content(imageHeight="40"), "imageHeight and imageWidth are"),
    (content(imageHeight=float("nan")), "imageHeight and imageWidth are"),
    (content(imageHeight=float("inf")), "imageHeight and imageWidth are"),
    (content(imageHeight=10**30), "imageHeight and imageWidth are"),
    (content(imageHeight=40.5), "imageHeight and imageWidth are"),
    (content(imageData="%%%"), "imageData is not in base64"),
    (content(imageData=5), "imageData is not a text"),
    (content(imagePath=["a"]), "imagePath is not a text"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "words"), UNUSABLE)
def test_what_is_no_annotation_is_refused_in_one_sentence(found: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(found))
    with pytest.raises(InputError) as caught:
        mask_of(read_labelme(path, ["STAS"]), SIZE)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (b"", "is no LabelMe file"),
        (b"no JSON", "is no LabelMe file"),
        (b"[" * 100_000, "not nested so deep"),
        (b'{"a":' * 100_000, "not nested so deep"),
        (json.dumps(content(imagePath="ü"), ensure_ascii=False).encode("latin-1"), "expected JSON in UTF-8"),
    ],
)
def test_what_is_no_json_is_refused_in_one_sentence(found: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(found)
    with pytest.raises(InputError, match=words):
        read_labelme(tmp_path / "a.json")


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


def annotated(folder: Path, picture: bytes, found: Any, name: str = "1.jpg") -> Path:
    """A folder in STAS's layout with one picture."""
    for part in ("Train_Images", "Train_Annotations"):
        (folder / part).mkdir(exist_ok=True)
    (folder / "Train_Images" / name).write_bytes(picture)
    (folder / "Train_Annotations" / "1.json").write_text(json.dumps(found))
    return folder


STORED = {  # EXIF's definition: where the first row and the first column of the stored picture are when it is shown
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.swapaxes(0, 1),
    6: lambda shown: shown.swapaxes(0, 1)[::-1],
    7: lambda shown: shown.swapaxes(0, 1)[::-1, ::-1],
    8: lambda shown: shown.swapaxes(0, 1)[:, ::-1],
}


def colours(turned: int = 1, form: str = "JPEG") -> bytes:
    """A picture that is shown as SIZE, with a dark box where LESION is, and stored turned."""
    shown = np.full((*SIZE, 3), 200, np.uint8)
    shown[5:31, 5:31] = 40
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x112] = turned
    quality = {"quality": 100} if form == "JPEG" else {}
    Image.fromarray(np.ascontiguousarray(STORED[turned](shown))).save(file, form, exif=exif, **quality)
    return file.getvalue()


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize(("form", "name"), [("JPEG", "1.jpg"), ("PNG", "1.png"), ("TIFF", "1.TIF")])
def test_what_was_drawn_in_labelme_lies_on_the_picture(form: str, name: str, turned: int, tmp_path: Path) -> None:
    folder = annotated(tmp_path, colours(turned, form), content(imagePath=name), name)
    (case,) = reader.read(folder, "1")
    assert case.image.shape[:2] == SIZE
    assert ((case.image[..., 0] < 120) == (case.mask > 0)).all()
    samples = reader.samples(folder, ["1"])
    image, mask = samples[0]
    assert image[0][mask[0] > 0].mean() < 0.1
    assert image[0][mask[0] == 0].mean() > 0.9
    data, drawn_mask = samples.encoded(0)
    assert ((decode(data, RGB)[..., 0] < 120) == (drawn_mask[0] > 0)).all()
    assert [problem for one in inspect(folder) for problem in one.problems] == []


def test_what_was_drawn_on_the_stored_picture_says_why_it_is_refused(tmp_path: Path) -> None:
    found = content(imageHeight=SIZE[1], imageWidth=SIZE[0])
    with pytest.raises(InputError, match="by its EXIF orientation 6 to 40 x 50: open it in LabelMe"):
        reader.read(annotated(tmp_path, colours(6), found), "1")


def test_an_embedded_picture_may_be_turned_too(tmp_path: Path) -> None:
    folder = annotated(tmp_path, b"", content(imageData=base64.b64encode(colours(6)).decode()))
    (folder / "Train_Images/1.jpg").unlink()
    (case,) = reader.read(folder, "1")
    assert ((case.image[..., 0] < 120) == (case.mask > 0)).all()


def test_labels_txt_says_what_counts(tmp_path: Path) -> None:
    folder = annotated(tmp_path, colours(), one_shape(label="spread"))
    with pytest.raises(InputError, match="the label 'spread'; expected one of STAS"):
        reader.read(folder, "1")
    with pytest.raises(InputError, match="the label 'spread'"):
        reader.samples(folder, ["1"])
    assert "the label 'spread'" in str([one.problems for one in inspect(folder)])
    (folder / "labels.txt").write_text("__ignore__\n_background_\nspread\n")
    assert (reader.read(folder, "1")[0].mask == WHOLE).all()


def test_a_list_without_a_class_is_refused(tmp_path: Path) -> None:
    folder = annotated(tmp_path, colours(), content())
    (folder / "labels.txt").write_text("__ignore__\n\n")
    with pytest.raises(InputError, match="names no class"):
        reader.read(folder, "1")


def test_two_pictures_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = annotated(tmp_path, colours(), content())
    (folder / "Train_Images/1.png").write_bytes(colours(form="PNG"))
    with pytest.raises(InputError, match="has the name of"):
        reader.read(folder, "1")


@needs_shared
@pytest.mark.parametrize("name", ["20-labelme-exif-180", "21-labelme-exif-90-message", "22-labelme-hole-by-label"])
def test_real_annotations_lie_on_their_lesion(name: str) -> None:
    (case,) = reader.read(SHARED / "cases" / name, "1")
    lesion = case.image[..., 1] < 100
    hole = lesion & (case.mask == 0)
    assert (lesion[case.mask > 0]).all()
    assert hole.sum() == (35 if name.startswith("22") else 0)


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
