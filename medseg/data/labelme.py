"""LabelMe's JSON as masks, and masks as LabelMe's JSON; versions 3 to 5."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from medseg.data.encoded import MAX_SIDE, check, decode
from medseg.data.image import GREY8
from medseg.data.orientation import SIDEWAYS
from medseg.data.shapes import BACKGROUND, IGNORED, KINDS, Point, Shape, is_outside, united
from medseg.errors import InputError
from medseg.task import Array

MAX_BYTES = 256 << 20  # of a file, which may embed its picture
_FARTHEST = 4 * MAX_SIDE  # pixels; points with a larger coordinate are refused

Piece = tuple[Array, tuple[int, int]]  # a connected part of a mask, cut to its box, and the box's first corner (x, y)


@dataclass(frozen=True)
class Annotation:
    """What a LabelMe file says about one picture."""

    path: Path
    shapes: tuple[Shape, ...]
    size: tuple[int, int] | None  # rows, columns of the picture as it is shown; some versions leave them out
    image_name: str
    image: bytes | None  # the picture's file, where it is embedded


def read_labelme(path: Path, labels: Collection[str] = ()) -> Annotation:
    """A LabelMe file. Raises InputError, with the names of the file and the shape, where one cannot be used.

    Where labels are given, a shape's label must be one of them, BACKGROUND or IGNORED.
    """
    content = _content(path)
    drawn = content.get("shapes")
    if not isinstance(drawn, list):
        raise InputError(f"{path}: is not a LabelMe file; expected JSON with a list of shapes: save it again")
    shapes = tuple(_shape(shape, f"{path}: shape {number}") for number, shape in enumerate(drawn))
    for number, shape in enumerate(shapes):
        if labels and shape.label not in {*labels, BACKGROUND, IGNORED}:
            known = ", ".join((*labels, BACKGROUND, IGNORED))
            raise InputError(
                f"{path}: shape {number} has the label {shape.label[:40]!r}; expected one of {known}: correct it"
            )
    # LabelMe on Windows writes "..\\images\\1.jpg"
    name = _text(content, "imagePath", path).replace("\\", "/").split("/")[-1]
    image = _bytes(_text(content, "imageData", path), f"{path}: imageData")
    return Annotation(path, shapes, _size(content, path), name, image or None)


def mask_of(annotation: Annotation, size: tuple[int, int], turned: int = 1) -> Array:
    """The union of all shapes on a picture of this size: (row, col) uint8 0/1, drawn as LabelMe draws them.

    BACKGROUND and IGNORED cut holes: see medseg/data/shapes.py. `turned` is the picture's EXIF orientation. Raises
    InputError where the file states another size, or a shape lies outside of the picture.
    """
    if annotation.size not in (None, size):
        found, shown = (" x ".join(map(str, one)) for one in (annotation.size or (), size))
        if turned in SIDEWAYS and annotation.size == size[::-1]:
            raise InputError(
                f"{annotation.path}: was drawn on the picture as it is stored, {found} rows and columns; viewers and "
                f"LabelMe rotate it (EXIF orientation {turned}) to {shown}: open it in LabelMe and draw the shapes "
                "again"
            )
        raise InputError(
            f"{annotation.path}: is for {found} rows and columns; its picture has {shown}: use the right picture"
        )
    for number, shape in enumerate(annotation.shapes):
        if is_outside(shape, size):
            raise InputError(f"{annotation.path}: shape {number} lies outside of its picture: draw it again")
    return united(annotation.shapes, size).astype(np.uint8)


def labelme_from_mask(mask: Array, image_name: str, label: str) -> dict[str, Any]:
    """A LabelMe document of polygons. Drawn again, they give exactly this mask (row, col).

    LabelMe's polygons have no holes, so a piece with holes is cut through its holes, into pieces without any.
    """
    shapes: list[dict[str, Any]] = [
        {"label": label, "points": _outline(*piece), "group_id": None, "shape_type": "polygon", "flags": {}}
        for piece in _without_holes(mask)
    ]
    size = {"imageHeight": mask.shape[0], "imageWidth": mask.shape[1]}
    return {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": image_name, "imageData": None, **size}


def _content(path: Path) -> dict[str, Any]:
    """The file's JSON object. Raises InputError where there is none."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a LabelMe JSON file: check the path, or copy the file there")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: has {path.stat().st_size} bytes; expected at most {MAX_BYTES >> 20} MiB")
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        why = f" ({error})" if isinstance(error, json.JSONDecodeError | UnicodeDecodeError) else ""
        raise InputError(f"{path}: is not a LabelMe file{why}; expected JSON in UTF-8: save it again") from error
    except RecursionError as error:
        raise InputError(
            f"{path}: is not a LabelMe file; expected JSON that is not nested so deep: save it again"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not a LabelMe file; expected a JSON object with a list of shapes: save it again")
    return content


def _size(content: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    """Rows and columns, None if the file has neither. Raises InputError where they are not valid, or one is missing."""
    found = [content.get(name) for name in ("imageHeight", "imageWidth")]
    if found == [None, None]:
        return None
    sides = [int(side) for side in found if isinstance(side, int | float) and _within(side, 1, MAX_SIDE)]
    if sides != found:
        raise InputError(
            f"{path}: imageHeight and imageWidth are {str(found)[:60]}; expected two whole numbers from 1 to "
            f"{MAX_SIDE}: correct them"
        )
    return sides[0], sides[1]


def _shape(shape: object, where: str) -> Shape:
    """One shape. Raises InputError, whose message begins with `where`, if it is not valid."""
    if not isinstance(shape, dict):
        raise InputError(f"{where} is not an object; expected label, points and shape_type: draw it again")
    kind = shape.get("shape_type") or "polygon"  # version 3 has only polygons, and no shape_type
    label, group = shape.get("label"), shape.get("group_id")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"{where} is a {str(kind)[:40]!r}; expected one of {', '.join(KINDS)}: draw it again")
    if not isinstance(label, str) or not label.strip():
        raise InputError(f"{where} has no label; expected the name of what it shows: name it")
    if isinstance(group, bool) or not isinstance(group, int | str | None):
        raise InputError(f"{where} has a group_id that is not a number; expected a number or null: correct it")
    points = _points(shape.get("points"), kind, where)
    mask = _mask(shape.get("mask"), points, where) if kind == "mask" else None
    return Shape(label.strip(), kind, points, "" if group is None else str(group), mask)


def _points(found: object, kind: str, where: str) -> tuple[Point, ...]:
    if not isinstance(found, list) or not all(isinstance(point, list) and len(point) == 2 for point in found):
        raise InputError(f"{where} has no list of points; expected pairs of x and y: draw it again")
    if not all(_within(value, -_FARTHEST, _FARTHEST) for point in found for value in point):
        raise InputError(
            f"{where} has a point that is not finite, not a number, or over {_FARTHEST} pixels away; expected one in "
            "the "
            "picture: draw it again"
        )
    allowed = KINDS[kind][1]
    if len(found) not in allowed:
        needed = f"{allowed[0]} or more" if isinstance(allowed, range) else " or ".join(map(str, allowed))
        raise InputError(f"{where}, a {kind}, has {len(found)} points; it needs {needed}: draw it again")
    return tuple((float(x), float(y)) for x, y in found)


def _mask(found: object, points: tuple[Point, ...], where: str) -> Array:
    """A `mask` shape's pixels (row, col) uint8 0/1, from a PNG. It fills the box between its two corners, inclusive."""
    if not isinstance(found, str) or not found:
        raise InputError(f"{where}, a mask, has no pixels; expected a PNG in base64: draw it again")
    data = _bytes(found, where)
    check(data, GREY8, f"{where}, a mask,")
    pixels = decode(data, GREY8, where)
    (left, top), (right, bottom) = ((int(x), int(y)) for x, y in points)
    if pixels.shape != (bottom - top + 1, right - left + 1):
        raise InputError(
            f"{where}, a mask, has {pixels.shape[0]} x {pixels.shape[1]} pixels; its corners span "
            f"{bottom - top + 1} x {right - left + 1}: draw it again"
        )
    return (pixels > 0).astype(np.uint8)


def _text(content: Mapping[str, Any], name: str, path: Path) -> str:
    value = content.get(name) or ""
    if not isinstance(value, str):
        raise InputError(f"{path}: {name} is not a text; expected one, or null: correct it")
    return value


def _bytes(text: str, where: str) -> bytes:
    """The bytes of a base64 text. Raises InputError where it is not base64."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise InputError(f"{where} is not in base64 ({error}); expected a picture's bytes: save it again") from error


def _within(value: object, least: int, most: int) -> bool:
    """Whether a value is a number within these bounds; NaN never is."""
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _components(mask: Array, corner: tuple[int, int] = (0, 0)) -> Iterator[Piece]:
    """The connected pieces of a mask, each cut to its box. `corner` (x, y) is the place of the mask's first pixel."""
    count, labels, boxes, _ = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8), connectivity=8)
    for number in range(1, count):
        x, y, width, height = map(int, boxes[number, :4])
        box = labels[y : y + height, x : x + width] == number
        yield box.astype(np.uint8), (corner[0] + x, corner[1] + y)


def _without_holes(mask: Array) -> Iterator[Piece]:
    """The pieces of a mask. A piece with holes is cut along a row through one of them, until no hole is left.

    It is the middle one of their rows, so that both halves have as many: a mask of thousands of holes takes seconds.
    """
    waiting = list(_components(mask))[::-1]
    while waiting:
        piece, (x, y) = waiting.pop()
        contours, hierarchy = cv2.findContours(piece, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        holes = [contour for contour, links in zip(contours, hierarchy[0], strict=True) if links[3] >= 0]
        if not holes:
            yield piece, (x, y)
            continue
        row = sorted(int(hole[:, 0, 1].min()) for hole in holes)[len(holes) // 2] + 1
        halves = [*_components(piece[:row], (x, y)), *_components(piece[row:], (x, y + row))]
        waiting.extend(halves[::-1])


def _outline(piece: Array, corner: tuple[int, int]) -> list[list[float]]:
    """A piece's border pixels as a polygon (x, y). LabelMe needs three points, so the smallest pieces repeat one."""
    contours, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=corner)
    points = [[float(x), float(y)] for x, y in contours[0][:, 0]]
    return points + [points[-1]] * (3 - len(points))
