"""Descriptions made for tests."""

from typing import Any

from medseg.description import Channel, Class, Description
from medseg.tasks.picture.choose import channels, described
from medseg.tasks.picture.description import Picture, Size, picture_of

CLASSES = (Class("cell", 1), Class("fibre", 2))


def picture(**changes: Any) -> Picture:
    """A description of RGB pictures with two classes, changed as asked."""
    entries: dict[str, Any] = {
        "colours": "rgb",
        "bits": 8,
        "count": 3,
        "activation": "softmax",
        "classes": CLASSES,
        "size": Size("stretch", 32, 48),
        "resampling": "bilinear",
        "resized_back": "logits",
        "normalisation": "unit",
        "threshold": 0.5,
    } | changes
    shown: tuple[Channel, ...] = channels(
        entries["colours"], entries["bits"], entries["count"], entries["normalisation"]
    )
    shared = Description("picture", shown, entries["classes"], entries["activation"], {}, entries["threshold"])
    whole = Picture(
        shared,
        entries["colours"],
        entries["bits"],
        entries["size"],
        entries["resampling"],
        entries["resized_back"],
        None,
    )
    return picture_of(described(whole))
