"""Pictures between the grid they were taken on and the grid of a network."""

from __future__ import annotations

import cv2
import numpy as np

from medseg.task import Array

LINEAR, NEAREST = cv2.INTER_LINEAR, cv2.INTER_NEAREST_EXACT


def resized(planes: Array, size: tuple[int, int], interpolation: int = LINEAR) -> Array:
    """Planes (n, h, w) on another grid, (n, *size): half-pixel centres, no antialiasing, edges repeated.

    Bilinear without antialiasing is what OpenCV, DALI (antialias=False) and ONNX's Resize agree on.
    """
    height, width = size
    if planes.shape[1:] == size:
        return planes
    return np.stack([cv2.resize(plane, (width, height), interpolation=interpolation) for plane in planes])


def probability(logits: Array) -> Array:
    """Probabilities of logits as uint8: 0 is impossible, 255 certain, 128 and above are foreground."""
    rounded = np.round(255 / (1 + np.exp(-np.clip(logits, -30, 30))))
    return np.where(logits > 0, np.maximum(rounded, 128), np.minimum(rounded, 127)).astype(np.uint8)


def png(picture: Array) -> bytes:
    """A picture (h, w) or (h, w, 3) RGB uint8 as PNG bytes."""
    shown = picture if picture.ndim == 2 else picture[..., ::-1]
    return bytes(cv2.imencode(".png", np.ascontiguousarray(shown))[1])
