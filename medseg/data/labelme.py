"""LabelMe's JSON as masks, and masks as LabelMe's JSON; versions 3 to 5."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from medseg.errors import InputError
from medseg.task import Array

LINE_WIDTH, POINT_RADIUS = 10, 5  # pixels; LabelMe's own, for lines and points have no area
Point = tuple[float, float]  # x, y
Points = Sequence[Point]


@dataclass(frozen=True)
class Shape:
    """One drawn shape."""

    label: str
    kind: str  # polygon, rectangle, circle, line, linestrip or point
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Annotation:
    """What a LabelMe file says of one picture."""

    path: Path
    shapes: tuple[Shape, ...]
    size: tuple[int, int] | None  # rows, columns; some versions leave them out
    image_name: str
    image: bytes | None  # the picture's file, where it is embedded


def read_labelme(path: Path) -> Annotation:
    """A LabelMe file. Raises InputError naming the file, and the shape, that cannot be used."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a LabelMe JSON file: check the path, or copy the file there")
    try:
        content = json.loads(path.read_bytes())
        size = (content.get("imageHeight"), content.get("imageWidth"))
        shapes = tuple(_shape(number, shape, path) for number, shape in enumerate(content["shapes"]))
        embedded = content.get("imageData")
        image = base64.b64decode(embedded, validate=True) if embedded else None
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise InputError(
            f"{path}: is no LabelMe file ({error}); expected JSON with a list of shapes: save it again"
        ) from error
    # LabelMe on Windows writes "..\\images\\1.jpg"
    name = str(content.get("imagePath") or "").replace("\\", "/").split("/")[-1]
    return Annotation(path, shapes, (int(size[0]), int(size[1])) if all(size) else None, name, image)


def mask_of(annotation: Annotation, size: tuple[int, int]) -> Array:
    """The union of all shapes on a picture of this size: (row, col) uint8 0/1, drawn as LabelMe draws it.

    Raises InputError where the file speaks of a picture of another size.
    """
    if annotation.size not in (None, size):
        raise InputError(
            f"{annotation.path}: is of {annotation.size} pixels; its picture has {size}: use the right picture"
        )
    picture = Image.new("L", size[::-1])
    draw = ImageDraw.Draw(picture)
    for shape in annotation.shapes:
        _DRAWN[shape.kind][0](draw, shape.points)
    return np.array(picture)


def labelme_from_mask(mask: Array, image_name: str, label: str) -> dict[str, Any]:
    """A LabelMe document whose polygons drawn again give this mask (row, col) pixel for pixel.

    LabelMe's polygons have no holes, so a piece with holes is cut through them into pieces without.
    """
    pieces = [piece for component in _components(mask) for piece in _without_holes(component)]
    shapes: list[dict[str, Any]] = [
        {"label": label, "points": points, "group_id": None, "shape_type": "polygon", "flags": {}}
        for points in map(_outline, pieces)
    ]
    size = {"imageHeight": mask.shape[0], "imageWidth": mask.shape[1]}
    return {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": image_name, "imageData": None, **size}


def _shape(number: int, shape: Mapping[str, Any], path: Path) -> Shape:
    kind = shape.get("shape_type") or "polygon"  # version 3 drew nothing else, and did not say so
    if kind not in _DRAWN:
        raise InputError(f"{path}: shape {number} is a {kind!r}; expected one of {', '.join(_DRAWN)}: draw it again")
    points = tuple((float(x), float(y)) for x, y in shape["points"])
    if not all(math.isfinite(value) for point in points for value in point):
        raise InputError(f"{path}: shape {number} has a point that is not finite; expected pixels: draw it again")
    fewest = _DRAWN[kind][1]
    if len(points) < fewest:
        raise InputError(
            f"{path}: shape {number}, a {kind}, has {len(points)} points; it needs {fewest}: draw it again"
        )
    return Shape(str(shape.get("label", "")), kind, points)


def _polygon(draw: ImageDraw.ImageDraw, points: Points) -> None:
    draw.polygon(list(points), fill=1, outline=1)


def _rectangle(draw: ImageDraw.ImageDraw, points: Points) -> None:
    xs, ys = zip(*points, strict=True)  # two corners in any order, or four
    draw.rectangle([min(xs), min(ys), max(xs), max(ys)], fill=1, outline=1)


def _circle(draw: ImageDraw.ImageDraw, points: Points) -> None:
    (x, y), edge = points[0], points[1]
    _disc(draw, (x, y), math.dist((x, y), edge))


def _line(draw: ImageDraw.ImageDraw, points: Points) -> None:
    draw.line(list(points), fill=1, width=LINE_WIDTH)


def _point(draw: ImageDraw.ImageDraw, points: Points) -> None:
    _disc(draw, points[0], POINT_RADIUS)


def _disc(draw: ImageDraw.ImageDraw, centre: Point, radius: float) -> None:
    x, y = centre
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=1, outline=1)


_DRAWN: dict[str, tuple[Callable[[ImageDraw.ImageDraw, Points], None], int]] = {  # how, and from how many points
    "polygon": (_polygon, 3),
    "rectangle": (_rectangle, 2),
    "circle": (_circle, 2),
    "line": (_line, 2),
    "linestrip": (_line, 2),
    "point": (_point, 1),
}


def _components(mask: Array) -> Iterator[Array]:
    count, labels = cv2.connectedComponents((mask > 0).astype(np.uint8), connectivity=8)
    return ((labels == number).astype(np.uint8) for number in range(1, count))


def _without_holes(piece: Array) -> Iterator[Array]:
    """The piece itself, or the pieces it is cut into along a row through its first hole."""
    contours, hierarchy = cv2.findContours(piece, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    holes = [contour for contour, links in zip(contours, hierarchy[0], strict=True) if links[3] >= 0]
    if not holes:
        yield piece
        return
    row = int(holes[0][:, 0, 1].min()) + 1
    for part in (slice(0, row), slice(row, None)):
        half = np.zeros_like(piece)
        half[part] = piece[part]
        for component in _components(half):
            yield from _without_holes(component)


def _outline(piece: Array) -> list[list[float]]:
    """A piece's border pixels as a polygon (x, y); the smallest repeat a point, for LabelMe wants three."""
    contours, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = [[float(x), float(y)] for x, y in contours[0][:, 0]]
    return points + [points[-1]] * (3 - len(points))
