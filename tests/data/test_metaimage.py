"""MetaImage: what its header says is read exactly, mended with a note, or refused with the reason."""

import os
from pathlib import Path

import pytest

from medseg.task import Reading
from tests.data import made
from tests.data.made import GIVEN, refused, right

FIELDS = {
    **{"ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False"},
    **{"CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "-20 -15 -12"},
    **{"ElementSpacing": "1.5 1.5 2", "DimSize": "20 24 12", "ElementType": "MET_SHORT", "ElementDataFile": "ct.raw"},
}


def _meta(folder: Path, mark: str = " = ", tail: bytes = b"", suffix: str = ".mhd", **changes: str | None) -> Path:
    """A header with these fields changed, or None taken away, and the voxels beside it."""
    fields = {key: value for key, value in (FIELDS | changes).items() if value is not None}
    fields["ElementDataFile"] = fields.pop("ElementDataFile")
    path = folder / f"ct{suffix}"
    path.write_bytes("".join(f"{key}{mark}{value}\n" for key, value in fields.items()).encode() + tail)
    (folder / "ct.raw").write_bytes(made.values().tobytes())
    return path


def _planes(folder: Path) -> None:
    for number, plane in enumerate(made.values(), 1):
        (folder / f"s{number:02d}.raw").write_bytes(plane.tobytes())


def test_metaimage_by_every_spelling(tmp_path: Path) -> None:
    _planes(tmp_path)
    names = "".join(f"s{number:02d}.raw\n" for number in range(1, 13)).encode()
    half = made.values().tobytes()
    (tmp_path / "a.raw").write_bytes(half[: len(half) // 2])
    (tmp_path / "b.raw").write_bytes(half[len(half) // 2 :])
    for path in (
        _meta(tmp_path),
        _meta(tmp_path, mark="="),
        _meta(tmp_path, mark=" : "),
        _meta(tmp_path, ElementDataFile="./ct.raw"),
        _meta(tmp_path, Offset=None, Position="-20 -15 -12"),
        _meta(tmp_path, Offset=None, Origin="-20 -15 -12", TransformMatrix=None, Orientation="1 0 0 0 1 0 0 0 1"),
        _meta(tmp_path, TransformMatrix=None, Rotation="1 0 0 0 1 0 0 0 1", BinaryDataByteOrderMSB=None),
        _meta(tmp_path, NDims="4", DimSize="20 24 12 1", ElementSpacing="1.5 1.5 2 1", Offset="-20 -15 -12 0",
              TransformMatrix="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"),
        _meta(tmp_path, ElementDataFile="s%02d.raw 1 12 1"),
        _meta(tmp_path, ElementDataFile="LIST", tail=names),
        _meta(tmp_path, ElementDataFile="LIST 2D", tail=names),
        _meta(tmp_path, ElementDataFile="List", tail=b"a.raw\r\nb.raw\r\n"),
        _meta(tmp_path, ElementDataFile="Local", tail=half),
        _meta(tmp_path, ElementDataFile="local", tail=half, suffix=".mha"),
        _meta(tmp_path, ElementDataFile="LOCAL", tail=half, suffix=".mha", HeaderSize="-1"),
    ):  # fmt: skip
        right(path)
    (tmp_path / "ct.mhd").write_bytes(_meta(tmp_path).read_bytes().replace(b"\n", b"\r\n"))
    right(tmp_path / "ct.mhd")
    _meta(tmp_path, BinaryDataByteOrderMSB="True")
    (tmp_path / "ct.raw").write_bytes(made.values().astype(">i2").tobytes())
    right(tmp_path / "ct.mhd")
    for skip in ("7", "-1"):
        _meta(tmp_path, HeaderSize=skip)
        (tmp_path / "ct.raw").write_bytes(b"leading" + half)
        right(tmp_path / "ct.mhd")
    right(_meta(tmp_path, ElementSpacing=None, ElementSize="1.5 1.5 2"), "ElementSize")
    right(_meta(tmp_path, ElementSpacing=".15 .15 .2", Offset="-2 -1.5 -1.2", DistanceUnits="cm"), "cm")
    right(_meta(tmp_path, ElementSpacing=None), "--spacing", GIVEN)
    right(_meta(tmp_path, ElementSpacing="0 0 0"), "--spacing", GIVEN)
    right(_meta(tmp_path), "not used", Reading(spacing_mm=(1, 1, 1)))


META_REFUSED: list[tuple[dict[str, str | None], str]] = [
    *[({"ElementDataFile": name}, "a file beside it") for name in ("/etc/passwd", "../ct.raw", "a/b.raw", "..", "")],
    *[({"ElementDataFile": name}, "not a regular file") for name in ("pipe", "folder")],
    ({"ElementDataFile": "other.raw"}, "names other.raw, which is not beside it"),
    ({"ElementDataFile": "s%02d.raw 1 13 1"}, "equal parts"),
    ({"ElementDataFile": "s%02d.raw 1 1000000 1"}, "pattern of files"),
    ({"ElementDataFile": "s%02d.raw 1 12 0"}, "pattern of files"),
    ({"ElementDataFile": "/dev/%d 0 11 1"}, "expected a file beside it"),
    ({"ElementDataFile": "LIST"}, "names 0 files"),
    *[({"ElementSpacing": value}, "voxel spacing") for value in (None, "0 0 0", "nan 1 1", "-1 1 1", "inf 1 1")],
    ({"ElementSpacing": "1e9 1 1"}, "voxel spacing"),
    *[({"ElementSpacing": value}, "ElementSpacing".lower()) for value in ("1 1", "a b c", "1 1 1 1", "")],
    *[({"Offset": value}, "origin") for value in ("nan 1 1", "inf 0 0")],
    ({"TransformMatrix": "0 0 0 0 0 0 0 0 0"}, "axes of length 0"),
    ({"TransformMatrix": "2 0 0 0 1 0 0 0 1"}, "axes of length 2"),
    ({"TransformMatrix": "1 0 0 .6 .8 0 0 0 1"}, "has shear"),
    ({"TransformMatrix": "nan 0 0 0 1 0 0 0 1"}, "axes of length nan"),
    ({"TransformMatrix": "1 0 0"}, "3 numbers, not 9"),
    *[({"NDims": value}, "NDims is") for value in ("1000000", "-1", "2", "4")],
    *[({"NDims": value}, "ndims") for value in ("x", "", "nan")],
    *[({"DimSize": value}, "ct.") for value in ("20 24", "20 24 0", "20 24 -12", "20 24 1e9", "x", "20 24 12.5")],
    ({"DimSize": "20 24 13"}, "truncated"),
    ({"NDims": "2", "DimSize": "20 24", "ElementSpacing": "1 1", "Offset": "0 0"}, "2 dimensions and 1 channels"),
    ({"NDims": "4", "DimSize": "20 24 6 2"}, "holds 2 volumes"),
    ({"ElementNumberOfChannels": "3"}, "3 channels"),
    ({"ElementType": "MET_OTHER"}, "voxels of type"),
    ({"ElementType": "MET_UCHAR"}, "its header states"),
    ({"ElementType": None}, "voxels of type"),
    ({"BinaryData": "False"}, "as text"),
    ({"CompressedData": "True"}, "do not unpack"),
    ({"HeaderSize": "-7"}, "HeaderSize"),
    ({"HeaderSize": "1e9"}, "truncated"),
    ({"DistanceUnits": "ft"}, "measures in"),
    ({"offset": "0 0 0"}, "twice"),
    ({"Position": "0 0 0"}, "twice"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "what"), META_REFUSED)
def test_metaimage_is_refused_with_the_reason(tmp_path: Path, changes: dict[str, str | None], what: str) -> None:
    _planes(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    refused(_meta(tmp_path, **changes), what)


def test_nothing_may_follow_the_last_line_of_a_metaimage_header(tmp_path: Path) -> None:
    refused(_meta(tmp_path, tail=b"ElementDataFile = /etc/passwd\n"), "goes on after ElementDataFile")
    refused(_meta(tmp_path, ElementDataFile="LOCAL", tail=made.values().tobytes()[:-1]), "truncated")
    refused(_meta(tmp_path, ElementDataFile="LOCAL", tail=made.values().tobytes() + b"x"), "its header states")
    (tmp_path / "ct.mhd").write_bytes(b"ObjectType = Image\nno field\n")
    refused(tmp_path / "ct.mhd", "is no field")
    (tmp_path / "ct.mhd").write_bytes(b"ObjectType = Image\n")
    refused(tmp_path / "ct.mhd", "without ElementDataFile")
