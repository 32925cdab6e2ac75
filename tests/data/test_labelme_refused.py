"""What is no LabelMe annotation is refused in one sentence that names the file and the shape."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.data.labelme import mask_of, read_labelme
from medseg.errors import InputError
from tests.data.drawn import LESION, SIZE, content, in_base64, one_shape

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
    (one_shape(points=[["1", "2"], ["3", "4"]]), "not a number"),
    (one_shape(points=[[True, False], [1, 2]]), "not a number"),
    (one_shape(points=[[None, 1], [1, 2]]), "not a number"),
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
    (one_shape(group_id=[1]), "a group_id that is not a number"),
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
        (b"", "is not a LabelMe file"),
        (b"no JSON", "is not a LabelMe file"),
        (b"[" * 100_000, "not nested so deep"),
        (b'{"a":' * 100_000, "not nested so deep"),
        (json.dumps(content(imagePath="ü"), ensure_ascii=False).encode("latin-1"), "expected JSON in UTF-8"),
    ],
)
def test_what_is_no_json_is_refused_in_one_sentence(found: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(found)
    with pytest.raises(InputError, match=words):
        read_labelme(tmp_path / "a.json")
