"""LabelMe documents for tests, with one lesion on a small picture."""

import base64
from typing import Any

import cv2
import numpy as np

SIZE = (40, 50)


def shape(kind: str | None, *points: tuple[float, float]) -> dict[str, Any]:
    return {"label": "STAS", "points": points} | ({"shape_type": kind} if kind else {})


def box(label: str, left: int, top: int, right: int, bottom: int, **others: Any) -> dict[str, Any]:
    return {"label": label, "shape_type": "rectangle", "points": [(left, top), (right, bottom)], **others}


LESION = box("STAS", 5, 5, 30, 30)
HOLE = box("_background_", 10, 10, 15, 15)


def in_base64(pixels: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()


def piece(pixels: np.ndarray, left: float, top: float) -> dict[str, Any]:
    height, width = pixels.shape
    corners = [(left, top), (left + width - 1, top + height - 1)]
    return {"label": "STAS", "shape_type": "mask", "points": corners, "mask": in_base64(pixels)}


def content(**changes: Any) -> dict[str, Any]:
    whole = {"version": "5.5.0", "flags": {}, "shapes": [LESION], "imagePath": "a.jpg", "imageData": None}
    return whole | {"imageHeight": SIZE[0], "imageWidth": SIZE[1]} | changes


def one_shape(**changes: Any) -> dict[str, Any]:
    return content(shapes=[LESION | changes])
