"""STAS's pictures with what was drawn on them: in one frame, however they are stored."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medseg.data.encoded import RGB, decode
from medseg.errors import InputError
from medseg.tasks.stas import reader
from medseg.tasks.stas.check import inspect
from tests.data.drawn import SIZE, content, one_shape
from tests.shared import SHARED, needs_shared

WHOLE = np.zeros(SIZE, np.uint8)
WHOLE[5:31, 5:31] = 1  # where LESION is


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
    with pytest.raises(InputError, match="EXIF orientation 6\\) to 40 x 50: open it in LabelMe"):
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
    with pytest.raises(InputError, match="has the same name as"):
        reader.read(folder, "1")


@needs_shared
@pytest.mark.parametrize("name", ["20-labelme-exif-180", "21-labelme-exif-90-message", "22-labelme-hole-by-label"])
def test_real_annotations_lie_on_their_lesion(name: str) -> None:
    (case,) = reader.read(SHARED / "cases" / name, "1")
    lesion = case.image[..., 1] < 100
    hole = lesion & (case.mask == 0)
    assert (lesion[case.mask > 0]).all()
    assert hole.sum() == (35 if name.startswith("22") else 0)
