"""NIfTI: what its header says is read exactly, mended with a note, or refused with the reason."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.data.volume import read_volume
from tests.data import made
from tests.data.made import GIVEN, refused, right

LPS = np.diag([-1.0, -1, 1, 1])
AFFINE = LPS @ np.array([[1.5, 0, 0, -20], [0, 1.5, 0, -15], [0, 0, 2, -12], [0, 0, 0, 1]])


def _nifti(
    path: Path, change: Callable[[nibabel.Nifti1Header], None] | None = None, kind: type = nibabel.Nifti1Image
) -> Path:
    """The CT with both forms in place; then `change` edits the header, as it stands in the file."""
    image = kind(made.values().transpose(2, 1, 0), AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)
    if change:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as file:
            whole = file.read()
        header = type(image.header)(whole[: image.header.sizeof_hdr], check=False)
        change(header)
        with opened(path, "wb") as file:
            file.write(header.binaryblock + whole[image.header.sizeof_hdr :])
    return path


def _put(**values: object) -> Callable[[nibabel.Nifti1Header], None]:
    def change(header: nibabel.Nifti1Header) -> None:
        for name, value in values.items():
            header[name] = value

    return change


def _sform(matrix: np.ndarray, **more: object) -> Callable[[nibabel.Nifti1Header], None]:
    return _put(srow_x=matrix[0], srow_y=matrix[1], srow_z=matrix[2], **more)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_is_read_by_either_form(tmp_path: Path, suffix: str, kind: type) -> None:
    for change in (None, _put(qform_code=0), _put(sform_code=0), _put(xyzt_units=0), _put(scl_slope=0)):
        right(_nifti(tmp_path / f"ct{suffix}", change, kind))
    assert (tmp_path / f"ct{suffix}").rename(tmp_path / "renamed.nii").exists()
    right(tmp_path / "renamed.nii")


TURN = np.array([[1, 0.001, 0, 0], [0, 1, 0.003, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
SHEAR = np.array([[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
MOVED = AFFINE + np.array([[0, 0, 0, 30]] + [[0, 0, 0, 0]] * 3)
NIFTI_REFUSED = {
    "moved": (_sform(MOVED, sform_code=2), "qform and sform are 30.0 mm apart"),
    "mirrored": (_sform(np.diag([-1.0, 1, 1, 1]) @ AFFINE), "mm apart"),
    "shear": (_sform(AFFINE @ SHEAR, qform_code=0, pixdim=[1, 1.5, 1.507, 2, 0, 0, 0, 0]), "has shear"),
    "flat": (_sform(AFFINE @ np.diag([1, 0, 1, 1]), qform_code=0), "sform of NaN or zeros"),
    "nan": (_sform(AFFINE * np.nan, qform_code=0), "sform of NaN"),
    "two spacings": (_sform(AFFINE @ np.diag([2, 1, 1, 1]), qform_code=0), "spacings that differ"),
    "not a rotation": (_put(quatern_b=0.9, quatern_c=0.9, sform_code=0), "qform that is not a rotation"),
    "spacing 0": (_put(pixdim=[1, 0, 1.5, 2, 0, 0, 0, 0]), "voxel spacing 0 x 1.5 x 2"),
    "spacing nan": (_put(pixdim=[1, np.nan, 1.5, 2, 0, 0, 0, 0]), "voxel spacing nan"),
    "spacing below 0": (_put(pixdim=[1, -1.5, 1.5, 2, 0, 0, 0, 0]), "voxel spacing -1.5"),
    "slope nan": (_put(scl_slope=np.nan, scl_inter=5), "scl_slope is nan"),
    "slope inf": (_put(scl_slope=np.inf), "scl_slope is inf"),
    "colours": (_put(datatype=128, bitpix=24), "holds colours"),
    "complex": (_put(datatype=32, bitpix=64), "complex64"),
    "bitpix": (_put(bitpix=8), "bitpix is 8"),
    "no datatype": (_put(datatype=3), "datatype 3 is none"),
    "a pair": (_put(magic=b"ni1"), "the header of a pair"),
    "no mark": (_put(magic=b""), "lacks NIfTI's mark"),
    "offset": (_put(vox_offset=4), "start at byte 4"),
    "huge": (_put(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "32767 x 32767 x 32767"),
    "negative": (_put(dim=[3, 20, -24, 12, 1, 1, 1, 1]), "20 x -24 x 12"),
    "no dimensions": (_put(dim=[0] * 8), "0 dimensions"),
    "a picture": (_put(dim=[2, 20, 24, 1, 1, 1, 1, 1]), "2 dimensions and 1 channels; expected 3"),
    "one slice more": (_put(dim=[3, 20, 24, 13, 1, 1, 1, 1]), "expected"),
    "one slice less": (_put(dim=[3, 20, 24, 11, 1, 1, 1, 1]), "its header states"),
    "four volumes": (_put(dim=[4, 20, 24, 3, 4, 1, 1, 1]), "holds 4 volumes"),
}


@pytest.mark.parametrize("name", NIFTI_REFUSED)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_is_refused_with_the_reason(tmp_path: Path, name: str, suffix: str) -> None:
    change, what = NIFTI_REFUSED[name]
    refused(_nifti(tmp_path / f"ct{suffix}", change), what)


def test_nifti_is_mended_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii.gz"
    right(_nifti(path, _sform(AFFINE @ TURN, qform_code=0)), "nearest rotation", within=2)
    right(
        _nifti(
            path,
            _put(
                xyzt_units=1,
                pixdim=[1, 0.0015, 0.0015, 0.002, 0, 0, 0, 0],
                sform_code=0,
                qoffset_x=0.02,
                qoffset_y=0.015,
                qoffset_z=-0.012,
            ),
        ),
        "metres",
        within=1,
    )
    micron = {f"srow_{axis}": AFFINE[row] * 1000 for row, axis in enumerate("xyz")}
    right(
        _nifti(path, _put(xyzt_units=3, qform_code=0, pixdim=[1, 1500, 1500, 2000, 0, 0, 0, 0], **micron)),
        "microns",
        within=1,
    )
    volume = read_volume(_nifti(path, _put(qform_code=0, sform_code=0)))
    assert any("does not say how it lies" in note for note in volume.notes)
    assert np.array_equal(volume.array, made.values())
    right(_nifti(path, _put(pixdim=[1, 0, 0, 0, 0, 0, 0, 0], qform_code=0)), "--spacing", GIVEN)
    right(_nifti(path, _put(dim=[5, 20, 24, 12, 1, 1, 1, 1])))


def test_nifti_values_are_scaled_as_the_header_says(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "ct.nii", _put(scl_slope=0.5, scl_inter=-1024))
    stored = (2 * (made.values().astype(np.int32) + 1024)).astype(np.int16)
    path.write_bytes(path.read_bytes()[:352] + stored.tobytes())
    right(path)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64, np.int8])
def test_nifti_of_every_type_is_whole_or_refused(tmp_path: Path, kind: type) -> None:
    values = (made.values() / 8 if np.dtype(kind).itemsize == 1 else made.values()).astype(kind)
    nibabel.Nifti1Image(values.transpose(2, 1, 0), AFFINE).to_filename(tmp_path / "ct.nii")
    whole = (tmp_path / "ct.nii").read_bytes()
    for size in (len(whole) - 1, len(whole) - 480 * values.itemsize, 353, 352, 348, 200, 3, 0):
        (tmp_path / "ct.nii").write_bytes(whole[:size])
        refused(tmp_path / "ct.nii", "ct.nii")
        (tmp_path / "ct.nii.gz").write_bytes(gzip.compress(whole[:size]))
        refused(tmp_path / "ct.nii.gz", "ct.nii.gz")
    (tmp_path / "ct.nii").write_bytes(whole + b"x")
    refused(tmp_path / "ct.nii", "its header states")


def test_gzip_is_read_to_its_end_every_member_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii.gz"
    whole = gzip.decompress(_nifti(path).read_bytes())
    path.write_bytes(gzip.compress(whole[:1000]) + gzip.compress(whole[1000:]) + gzip.compress(b"") + b"\0" * 512)
    right(path)
    packed = bytearray(gzip.compress(whole))
    for content, what in (
        (packed[:-8] + bytes(4) + packed[-4:], "do not unpack"),  # its checksum
        (packed[:-4] + bytes(4), "do not unpack"),  # its length
        (packed[:-9], "truncated"),
        (packed + b"junk", "do not unpack"),
        (gzip.compress(whole) + gzip.compress(b"x"), "unpacks to more"),
        (gzip.compress(whole + bytes(1 << 26)), "unpacks to more"),
        (gzip.compress(whole[:-1]), "its header states"),
    ):
        path.write_bytes(content)
        refused(path, what)


def test_a_gzip_bomb_is_refused_unopened(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "ct.nii.gz", _put(dim=[3, 2048, 2048, 2048, 1, 1, 1, 1]))
    path.write_bytes(path.read_bytes() + gzip.compress(b"\0" * (1 << 26)))
    refused(path, "no CT compresses so well")
