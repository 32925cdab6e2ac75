"""Pixels of DICOM slices: HU however they are written, packed, stored and padded; multi-frame objects."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medseg.data.series import found
from medseg.data.volume import read_volume
from medseg.task import Reading
from tests.data import made
from tests.data.test_slices import _read, _refused, _set

AS_IT_IS = Reading()


SYNTAXES = ["ImplicitVRLittleEndian", "ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian"]


@pytest.mark.parametrize("name", SYNTAXES)
def test_every_way_of_writing_headers_is_read(tmp_path: Path, name: str) -> None:
    series = made.slices()
    for data in series:
        if name == "ExplicitVRBigEndian":
            data.PixelData = made.stored(data).astype(">u2").tobytes()
        data.file_meta.TransferSyntaxUID = getattr(pydicom.uid, name)
    _read(tmp_path / "ct", series)


@pytest.mark.parametrize("name", ["RLELossless", "JPEGLSLossless", "JPEGLosslessSV1", "JPEG2000Lossless"])
def test_every_codec_gives_the_values_as_stored(tmp_path: Path, name: str) -> None:
    series = [made.compressed(data, name) for data in made.slices()[:4]]
    for data in series:
        data.PhotometricInterpretation = "MONOCHROME1"
    volume = _read(tmp_path / "ct", series)
    assert any("MONOCHROME1" in note for note in volume.notes)
    pixels = series[2].PixelData
    series[2].PixelData = pixels[: len(pixels) // 2] + b"\0" * (len(pixels) // 2)
    if name != "RLELossless":
        assert "IM0003.dcm" in _refused(tmp_path / "cut", series)


def _stored_as(data: Dataset, values: np.ndarray, **header: object) -> None:
    _set(PixelData=values.tobytes(), **header)(data)


def _signed(data: Dataset) -> None:
    _stored_as(
        data, (made.stored(data).astype(np.int32) - 1024).astype(np.int16), PixelRepresentation=1, RescaleIntercept=0
    )


def _twelve_bits(data: Dataset) -> None:
    overlay = np.uint16(0xA000)  # in the bits that are not stored
    _stored_as(data, made.stored(data) | overlay, BitsStored=12, HighBit=11)


def _twelve_bits_high(data: Dataset) -> None:
    _stored_as(data, made.stored(data) << np.uint16(4), BitsStored=12, HighBit=15)


def _half_steps(data: Dataset) -> None:
    _stored_as(data, made.stored(data) * np.uint16(2), RescaleSlope=0.5)


def _own_rescale(data: Dataset) -> None:
    shift = 3 * int(data.InstanceNumber)
    _stored_as(data, made.stored(data) + np.uint16(shift), RescaleIntercept=-1024 - shift)


def _thirty_two(data: Dataset) -> None:
    _stored_as(data, made.stored(data).astype(np.uint32), BitsAllocated=32, BitsStored=32, HighBit=31)


def _floats(data: Dataset) -> None:
    data.FloatPixelData = (made.stored(data).astype(np.float32) - 1024).tobytes()
    del data.PixelData
    _set(BitsAllocated=32, BitsStored=32, HighBit=31, RescaleIntercept=0)(data)


STORED = [_signed, _twelve_bits, _twelve_bits_high, _half_steps, _own_rescale, _thirty_two, _floats]


@pytest.mark.parametrize("change", STORED, ids=lambda change: change.__name__)
def test_values_are_hu_however_they_are_stored(tmp_path: Path, change: Callable[[Dataset], None]) -> None:
    series = made.slices()
    for data in series:
        change(data)
    volume = _read(tmp_path / "ct", series)
    assert any("different rescales" in note for note in volume.notes) == (change is _own_rescale)


PADDINGS = [
    (63536, 0, None),
    (65535, 0, None),
    (-2000, 0, None),
    (-2000, 1, None),
    (-3024, 1, -2000),
    (-32768, 1, None),
]


@pytest.mark.parametrize(("value", "sign", "limit"), PADDINGS)
def test_padding_is_air(tmp_path: Path, value: int, sign: int, limit: int | None) -> None:
    series = made.slices()
    for data in series:
        if sign:
            _signed(data)
        pixels = made.stored(data).copy()
        pixels[:3] = np.array(value).astype(pixels.dtype)
        vr = "SS" if value < 0 else "US"
        data.add_new(0x00280120, vr, value)
        if limit is not None:
            data.add_new(0x00280121, vr, limit)
            pixels[3] = limit
        data.PixelData = pixels.tobytes()
    volume = _read(tmp_path / "ct", series)
    assert (volume.array[:, :3] == -1000).all() and volume.array.min() == -1000


def test_padding_that_no_header_names_is_doubted(tmp_path: Path) -> None:
    series = made.slices()
    for data in series:
        pixels = made.stored(data).copy()
        pixels[:3] = 63536
        data.PixelData = pixels.tobytes()
    assert "over 8000 HU" in _refused(tmp_path / "ct", series)


def test_values_without_a_rescale_are_refused_or_noted(tmp_path: Path) -> None:
    series, signed = made.slices(), made.slices()
    for data, other in zip(series, signed, strict=True):
        _signed(other)
        for one in (data, other):
            del one.RescaleSlope, one.RescaleIntercept, one.RescaleType
    volume = _read(tmp_path / "signed", signed)
    assert any("no RescaleSlope" in note for note in volume.notes)
    for data in series:
        data.PixelData = np.maximum(made.stored(data), 700).tobytes()
    assert "no RescaleSlope" in _refused(tmp_path / "unsigned", series)


def test_bad_rescales_bits_and_units_are_one_sentence(tmp_path: Path) -> None:
    changes = {
        "slope 0": _set(RescaleSlope=0),
        "another unit": _set(RescaleType="MGML"),
        "8 bits allocated": _set(BitsAllocated=8),
        "more stored than allocated": _set(BitsStored=17),
        "high bit": _set(HighBit=31),
        "no position": lambda data: delattr(data, "ImagePositionPatient"),
        "a position of nan": _set(ImagePositionPatient=["nan", 0, 0]),
        "no spacing": lambda data: delattr(data, "PixelSpacing"),
        "a spacing of 0": _set(PixelSpacing=[0, 0]),
    }
    for name, change in changes.items():
        series = made.slices()
        for data in series:
            change(data)
        _refused(tmp_path / name, series)
    volume = read_volume(tmp_path / "no spacing", Reading(spacing_mm=(1.5, 1.5, 2.0)))
    assert made.off(volume) == 0 and any("--spacing" in note for note in volume.notes)


@pytest.mark.parametrize("order", [range(12), range(11, -1, -1), [3, 1, 0, 2, *range(4, 12)]])
def test_a_multi_frame_object_is_read_in_the_order_of_its_places(tmp_path: Path, order: list[int]) -> None:
    volume = _read(tmp_path / "ct", [made.enhanced(made.slices(), order)])
    assert [list(order)[frame] for frame in volume.frames] == list(range(12))
    assert len(volume.files) == 1 and volume.series == "series 3"
    (one,) = found(tmp_path / "ct" / "IM0001.dcm", Reading())
    assert np.array_equal(one.load().array, volume.array)


def test_a_multi_frame_object_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    data = made.enhanced(made.slices())
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedMRImageStorage
    data.Modality = "MR"
    assert "Enhanced MR Image" in _refused(tmp_path / "mr", [data])
