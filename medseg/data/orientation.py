"""How a picture is turned when it is shown: the orientation of EXIF and TIFF, as viewers and LabelMe apply it.

All of medseg uses one frame, the picture as it is shown: truth, training, answers and written files.
"""

from __future__ import annotations

from PIL import ExifTags, Image

from medseg.data.whole import parts

_TAG = ExifTags.Base.Orientation
_PROFILE = "Raw profile type exif"  # ImageMagick's way to keep EXIF in a PNG
TURNS = {  # from how it is stored to how it is shown
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # rows are shown as columns


def orientation(data: bytes, picture: Image.Image) -> int:
    """1 to 8, as EXIF and TIFF number it; 1 (shown as stored) where the file says nothing that viewers understand."""
    tiff = picture.format == "TIFF"
    value = picture.tag_v2.get(_TAG, 1) if tiff else _of_exif(_exif(data, picture))  # type: ignore[attr-defined]
    return value if isinstance(value, int) and value in TURNS else 1


def upright(picture: Image.Image, turned: int) -> Image.Image:
    """The picture as it is shown, where `turned` is its orientation. Pillow turns TIFFs by itself."""
    return picture if picture.format == "TIFF" or turned not in TURNS else picture.transpose(TURNS[turned])


def _exif(data: bytes, picture: Image.Image) -> bytes:
    """The EXIF block of a JPEG or PNG; empty where there is none. In a PNG it may come after the pixels."""
    if picture.format != "PNG":
        return picture.info.get("exif", b"")
    found = next((body for name, body, _ in parts(data) if name == b"eXIf"), b"")
    lines = str(picture.info.get(_PROFILE, "")).split("\n")[3:]
    try:
        return found or bytes.fromhex("".join(lines))
    except ValueError:
        return b""


def _of_exif(block: bytes) -> object:
    exif = Image.Exif()
    try:
        exif.load(block)
        return exif.get(_TAG, 1)
    except Exception:  # viewers ignore a block that Pillow cannot read
        return 1
