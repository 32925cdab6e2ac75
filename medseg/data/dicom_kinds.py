"""What a DICOM object is, by its header: a slice of a volume, or something else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pydicom

CT = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_MORE = (  # MR, enhanced MR, PET, enhanced PET
    *("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"),
    *("1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.130"),
)
_ROOT = "1.2.840.10008."
NO_SLICES = {  # values of ImageType for pictures that are not slices, and what such a picture is
    "LOCALIZER": "a localizer",
    "SCOUT": "a localizer",
    "TOPOGRAM": "a localizer",
    "MIP": "a projection",
    "MINIP": "a projection",
    "MAXIP": "a projection",
    "PROJECTION IMAGE": "a projection",
    "CSA MIP": "a projection",
    "VOLUME RENDERED": "a rendering",
    "VRT": "a rendering",
    "SCREEN SAVE": "a screen capture",
    "DOSE_INFO": "a dose report",
    "PROTOCOL": "a protocol page",
}


def is_image(kind: str) -> bool:
    """Whether a SOP class is that of a picture. In a file that was cut there, it may be the start of such a UID."""
    from pydicom.uid import UID

    name = UID(kind).name
    return kind in ("", *CT) or "Image Storage" in name or (name == kind and kind.startswith(_ROOT))


def other(header: pydicom.Dataset, kind: str, real: bool) -> str:
    """What an object is, in words, if it is not a slice; "" for a slice. See `read_header` for `real`."""
    from pydicom.uid import UID

    modality = str(header.get("Modality") or ("CT" if kind in CT else ""))
    scanners = (real or modality == "CT") and "ImagePositionPatient" in header and UID(kind).is_private
    if kind and kind not in (*CT, *(_MORE if real else ())) and not scanners:
        name = UID(kind).name
        return "an object of a private kind" if name == kind else name.removesuffix(" Storage")
    if modality != "CT" and not real:
        return f"an image of modality {modality}" if modality.isalpha() else "an image of no modality"
    words = [str(word).upper() for word in values(header.get("ImageType"))]
    if found := [what for word, what in NO_SLICES.items() if word in words]:
        return found[0]
    shown = str(header.get("PhotometricInterpretation") or "")
    if int(header.get("SamplesPerPixel") or 1) != 1 or not shown.startswith("MONOCHROME") * bool(shown) + (not shown):
        return "a colour picture"
    if header.get("ModalityLUTSequence"):
        return "a picture with a table in place of a rescale to HU"
    return ""


def values(value: Any) -> list[Any]:
    """A header's value as a list: of several values all, of an empty value none."""
    several = not isinstance(value, str | bytes) and isinstance(value, Sequence)  # MultiValue of pydicom included
    return list(value) if several else [value] if value else []
