"""Encoded pictures: refused in words that a user can act on."""

import io

import numpy as np
import pytest
from PIL import Image

from medseg.data.encoded import GREY16, RGB, check
from medseg.errors import InputError


def _jpeg() -> bytes:
    rng, file = np.random.default_rng(0), io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (64, 96, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def test_bytes_that_are_no_picture_are_refused_without_naming_a_python_object() -> None:
    with pytest.raises(InputError) as caught:
        check(b"no picture", GREY16, "slice")
    assert str(caught.value) == "slice is no picture that Pillow knows; expected a 16-bit grey PNG"


def test_a_whole_jpeg_has_its_size() -> None:
    assert check(_jpeg(), RGB) == (64, 96)


def test_a_jpeg_whose_stream_breaks_is_refused_though_its_end_is_there() -> None:
    data = bytearray(_jpeg())
    tables = data.index(b"\xff\xc4")  # the Huffman tables
    data[tables + 5 : tables + 21] = b"\xff" * 16
    with pytest.raises(InputError, match="picture cannot be read"):
        check(bytes(data), RGB)
