"""How a picture is turned when it is shown: EXIF's and TIFF's orientation, as viewers and LabelMe take it.

There is one frame for everything: the picture as it is shown. Truth, training, answers and what is written are in it.
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
    """1 to 8, as EXIF and TIFF count; 1, as it is stored, where the file says nothing that viewers understand."""
    tiff = picture.format == "TIFF"
    value = picture.tag_v2.get(_TAG, 1) if tiff else _of_exif(_exif(data, picture))  # type: ignore[attr-defined]
    return value if isinstance(value, int) and value in TURNS else 1


def upright(picture: Image.Image, turned: int) -> Image.Image:
    """The picture as it is shown. Pillow turns TIFFs by itself."""
    return picture if picture.format == "TIFF" or turned not in TURNS else picture.transpose(TURNS[turned])


def _exif(data: bytes, picture: Image.Image) -> bytes:
    """The EXIF block of a JPEG or PNG, which may stand behind the pixels; empty where there is none."""
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
    except Exception:  # a block that Pillow cannot read says nothing to any viewer
        return 1
