"""Pictures resized to a network's grid and back; probabilities as bytes; PNG."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from array_api_compat import array_namespace, is_torch_array

from medseg.data.numpy_or_torch import as_uint8
from medseg.task import Array

LINEAR, NEAREST = cv2.INTER_LINEAR, cv2.INTER_NEAREST_EXACT


def resized(planes: Array, size: tuple[int, int], interpolation: int = LINEAR) -> Array:
    """Planes (n, h, w) on another grid, (n, *size): half-pixel centres, no antialiasing, edges repeated.

    OpenCV, torch, DALI (antialias=False) and ONNX's Resize give the same result for bilinear without antialiasing.
    Torch tensors are resized on their own device.
    """
    height, width = size
    if tuple(planes.shape[1:]) == size:
        return planes
    if is_torch_array(planes) and interpolation == LINEAR:  # torch's nearest differs from OpenCV's
        return _linear_in_torch(planes, size)
    return np.stack([cv2.resize(plane, (width, height), interpolation=interpolation) for plane in planes])


def _linear_in_torch(planes: Any, size: tuple[int, int]) -> Any:
    from torch.nn import functional as F

    return F.interpolate(planes[None], size, mode="bilinear", align_corners=False)[0]


def probability(logits: Array) -> Array:
    """Probabilities of logits as uint8: 0 is impossible, 255 is certain, 128 and above is foreground."""
    xp = array_namespace(logits)
    rounded = xp.round(255 / (1 + xp.exp(-xp.clip(logits, -30, 30))))
    return as_uint8(xp.where(logits > 0, xp.clip(rounded, 128, 255), xp.clip(rounded, 0, 127)))


def png(picture: Array) -> bytes:
    """A picture (h, w) or (h, w, 3) RGB uint8 as PNG bytes."""
    shown = picture if picture.ndim == 2 else picture[..., ::-1]
    return bytes(cv2.imencode(".png", np.ascontiguousarray(shown))[1])
