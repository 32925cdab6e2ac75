"""The kinds of picture files: grey or RGB, of 8 or 16 bits."""

from __future__ import annotations

from medseg.data.encoded import RGB, RGB16, Kind
from medseg.tasks.picture.description import Picture

GREY8 = Kind("an 8-bit grey JPEG, PNG or TIFF", ("JPEG", "PNG", "TIFF"), "L")
GREY16 = Kind("a 16-bit grey PNG or TIFF", ("PNG", "TIFF"), "I;16")
KINDS = {("grey", 8): GREY8, ("grey", 16): GREY16, ("rgb", 8): RGB, ("rgb", 16): RGB16}
SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}


def kind_of(picture: Picture) -> Kind:
    """The kind of picture file that the described network takes."""
    return KINDS[picture.colours, picture.bits]
