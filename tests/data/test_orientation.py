"""One frame for everything: pictures as viewers show them, whoever decodes them."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from medseg.dali_pipelines.decode import Decoder
from medseg.data.encoded import GREY16, RGB, check, decode, encoded_tensor, orientation_of, pack, portable
from medseg.tasks import task_named

SIZE = (40, 60)
TURNS = range(1, 9)
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 255, (*SIZE, 3), np.uint8)
GREYS = RNG.integers(0, 65535, SIZE, np.uint16)


def saved(pixels: np.ndarray, form: str, turned: object = 1, **others: object) -> bytes:
    """A picture that is stored as these pixels and shown turned."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x112] = turned
    Image.fromarray(pixels).save(file, form, exif=exif, **others)
    return file.getvalue()


def shown(data: bytes) -> np.ndarray:
    """The picture as viewers show it, by Pillow's own hand."""
    return np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("turned", TURNS)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_a_colour_picture_is_read_as_it_is_shown(form: str, turned: int) -> None:
    data = saved(COLOURS, form, turned)
    wanted = shown(data)
    assert wanted.shape[:2] == (SIZE if turned < 5 else SIZE[::-1])
    assert check(data, RGB) == wanted.shape[:2]
    assert np.array_equal(decode(data, RGB), wanted)
    assert orientation_of(data, RGB) == turned
    assert orientation_of(portable(data, RGB), RGB) == 1
    assert np.array_equal(decode(portable(data, RGB), RGB), wanted)


@pytest.mark.parametrize("turned", TURNS)
def test_a_16_bit_picture_is_read_as_it_is_shown(turned: int) -> None:
    data = saved(GREYS, "PNG", turned)
    assert check(data, GREY16) == shown(data).shape
    assert np.array_equal(decode(data, GREY16), shown(data))
    assert np.array_equal(decode(portable(data, GREY16), GREY16), shown(data))


def _late(data: bytes) -> bytes:
    """The PNG with its eXIf part behind the pixels, where the format allows it too."""
    at = data.index(b"eXIf") - 4
    part = data[at : at + 12 + int.from_bytes(data[at : at + 4], "big")]
    return data.replace(part, b"").replace(b"\0\0\0\0IEND", part + b"\0\0\0\0IEND")


def test_a_png_may_tell_its_orientation_behind_its_pixels() -> None:
    data = _late(saved(COLOURS, "PNG", 6))
    assert check(data, RGB) == SIZE[::-1]
    assert np.array_equal(decode(data, RGB), shown(saved(COLOURS, "PNG", 6)))


BROKEN = {
    "unknown value": saved(COLOURS, "JPEG", 9),
    "no value": saved(COLOURS, "JPEG", 0),
    "too large a value": saved(COLOURS, "JPEG", 60_000),
    "no EXIF inside": saved(COLOURS, "JPEG", 6).replace(b"Exif\0\0MM\0*", b"Exif\0\0XX\0*").replace(b"II*\0", b"XX*\0"),
    "no EXIF at all": saved(COLOURS, "JPEG", 6).replace(b"Exif\0\0", b"Exit\0\0"),
    "PNG": saved(COLOURS, "PNG", 200),
    "TIFF": saved(COLOURS, "TIFF", 77),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_orientation_that_makes_no_sense_turns_nothing(name: str) -> None:
    data = BROKEN[name]
    assert orientation_of(data, RGB) == 1
    assert check(data, RGB) == SIZE
    assert portable(data, RGB) == data


@pytest.mark.parametrize("turned", TURNS)
@pytest.mark.parametrize(
    ("task", "data"),
    [("gi-tract", "PNG"), ("stas", "JPEG"), ("stas", "PNG"), ("stas", "TIFF"), ("brain-lgg", "TIFF")],
)
def test_dali_sees_what_the_plain_function_sees(task: str, data: str, turned: int) -> None:
    steps = {step.name: step.run for step in task_named(task).pipeline.steps}
    content = saved(GREYS if task == "gi-tract" else COLOURS, data, turned)
    tensors = steps["check"]({"encoded": encoded_tensor([content])}, None)
    name = task_named(task).decoding["decode"].output
    plain, dali = steps["decode"](tensors, None)[name], _decoder(task)(tensors)[name]
    assert tensors["size"].tolist() == [list(shown(content).shape[:2])]
    assert plain.shape == dali.shape
    assert np.abs(plain.astype(float) - dali).max() <= (0 if task == "brain-lgg" else 1e-4)


@pytest.mark.parametrize("turned", [1, 3, 6])
def test_dali_turns_what_comes_without_the_check(turned: int) -> None:
    content = saved(COLOURS, "TIFF", turned)
    assert np.array_equal(_decoder("brain-lgg")({"packed": pack([content])})["volume"][0], shown(content))


DECODERS: dict[str, Decoder] = {}


def _decoder(task: str) -> Decoder:
    return DECODERS.setdefault(task, Decoder(task_named(task).decoding["decode"]))
