"""The statistics of a mask: each class's pixels, share of the picture, and connected pieces."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from medseg.task import Array
from medseg.tasks.picture.description import Picture

COLUMNS = ("class", "value", "pixels", "share", "pieces", "largest_piece_pixels")


def statistics(picture: Picture, mask: Array) -> dict[str, Any]:
    """The size of a picture, and a record for each class, see `COLUMNS`; `mask` is the pipeline's output `mask`."""
    height, width = mask.shape[-2:]
    planes = zip(picture.shared.classes, class_planes(picture, mask), strict=True)
    records = [{"class": one.name, "value": one.value, **_numbers(plane)} for one, plane in planes]
    return {"height": height, "width": width, "classes": records}


def class_planes(picture: Picture, mask: Array) -> Array:
    """One mask for each class, (classes, h, w) uint8 0/1."""
    if not picture.softmax:
        return mask
    return np.stack([mask == one.value for one in picture.shared.classes]).astype(np.uint8)


def _numbers(plane: Array) -> dict[str, Any]:
    """The numbers of one class. Pixels that share only a corner are connected too."""
    count, _, facts, _ = cv2.connectedComponentsWithStats(plane, connectivity=8)
    areas = facts[1:count, cv2.CC_STAT_AREA]
    pixels = int(np.count_nonzero(plane))
    largest = int(areas.max()) if len(areas) else 0
    return {"pixels": pixels, "share": pixels / plane.size, "pieces": len(areas), "largest_piece_pixels": largest}
