"""Drawn shapes as masks, as LabelMe draws them: polygons, boxes, circles, lines, points and pieces of masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from medseg.task import Array

LINE_WIDTH, POINT_RADIUS = 10, 5  # pixels, the same as in LabelMe: lines and points have no area of their own
BACKGROUND, IGNORED = "_background_", "__ignore__"  # LabelMe's own labels; here neither is an object
Point = tuple[float, float]  # x, y
Points = Sequence[Point]


@dataclass(frozen=True)
class Shape:
    """One drawn shape."""

    label: str
    kind: str  # one of KINDS
    points: tuple[Point, ...]
    group: str = ""  # shapes with the same group and label are one object; "" means no group
    mask: Array | None = None  # only for the kind "mask": its pixels (row, col) uint8 0/1; its points are two corners


def area(shape: Shape, size: tuple[int, int]) -> Array:
    """The pixels (row, col) bool that a shape covers in a picture of this size."""
    if shape.mask is not None:
        return _pasted(shape.mask, shape.points[0], size)
    return _drawn([shape], size)


def is_outside(shape: Shape, size: tuple[int, int]) -> bool:
    """Whether a shape's box does not touch a picture of this size, or a point lies more than a picture away from it."""
    wider = LINE_WIDTH
    if shape.kind == "circle":
        wider += math.ceil(math.dist(*shape.points))
    xs, ys = zip(*shape.points, strict=True)
    beside = any(max(at) < -wider or min(at) >= side + wider for at, side in ((xs, size[1]), (ys, size[0])))
    return beside or min(*xs, *ys) < -max(size) or max(*xs, *ys) > 2 * max(size)


def united(shapes: Sequence[Shape], size: tuple[int, int]) -> Array:
    """The union (row, col) bool of all shapes. Shapes labelled BACKGROUND or IGNORED are cuts: they remove pixels.

    Shapes are drawn in order, as LabelMe's own converters do. A cut that comes before a shape and lies wholly inside it
    is a hole of the shape. Among shapes with the same group and label, one that lies inside another is a hole.
    """
    if not any(shape.label in (BACKGROUND, IGNORED) or shape.group or shape.kind == "mask" for shape in shapes):
        return _drawn(shapes, size)  # on one canvas, which is fast and enough for most files
    mask, cuts = np.zeros(size, bool), list[Array]()
    for parts in _objects(shapes):
        covered = _even_odd([area(part, size) for part in parts])
        if parts[0].label in (BACKGROUND, IGNORED):
            mask &= ~covered
            cuts.append(covered)
            continue
        for cut in cuts:
            if _inside(cut, covered):
                covered &= ~cut
        mask |= covered
    return mask


def _drawn(shapes: Sequence[Shape], size: tuple[int, int]) -> Array:
    """The pixels (row, col) bool of shapes on one canvas."""
    picture = Image.new("L", size[::-1])
    for shape in shapes:
        KINDS[shape.kind][0](ImageDraw.Draw(picture), shape.points)
    return np.array(picture) > 0


def _objects(shapes: Sequence[Shape]) -> Iterator[list[Shape]]:
    """The shapes of each object: those with one label and group. Objects are in the order of their first shapes."""
    seen = set[tuple[str, str]]()
    for shape in shapes:
        key = (shape.label, shape.group)
        if not shape.group:
            yield [shape]
        elif key not in seen:
            seen.add(key)
            yield [one for one in shapes if (one.label, one.group) == key]


def _even_odd(areas: list[Array]) -> Array:
    """The union (row, col) bool of areas: an area inside another is a hole, one inside a hole is filled, and so on."""
    if len(areas) == 1:
        return areas[0]
    joined = np.zeros(areas[0].shape, bool)
    for one in sorted(areas, key=np.count_nonzero, reverse=True):
        hole = sum(_inside(one, other) for other in areas) % 2
        joined = joined & ~one if hole else joined | one
    return joined


def _inside(one: Array, other: Array) -> bool:
    """Whether an area lies wholly inside another, larger one."""
    return bool(one.any() and not (one & ~other).any() and (other & ~one).any())


def _pasted(mask: Array, corner: Point, size: tuple[int, int]) -> Array:
    """A mask in a picture of this size, (row, col) bool, with its first pixel at this corner. Parts outside are cut."""
    left, top = (int(value) for value in corner)
    picture = Image.new("L", size[::-1])
    picture.paste(Image.fromarray(mask), (left, top))
    return np.array(picture) > 0


def _polygon(draw: ImageDraw.ImageDraw, points: Points) -> None:
    draw.polygon(list(points), fill=1, outline=1)


def _rectangle(draw: ImageDraw.ImageDraw, points: Points) -> None:
    if len(points) == 4:  # the corners of a box that may be rotated
        return _polygon(draw, points)
    xs, ys = zip(*points, strict=True)  # two corners in any order
    return draw.rectangle([min(xs), min(ys), max(xs), max(ys)], fill=1, outline=1)


def _circle(draw: ImageDraw.ImageDraw, points: Points) -> None:
    (x, y), edge = points[0], points[1]
    _disc(draw, (x, y), math.dist((x, y), edge))


def _line(draw: ImageDraw.ImageDraw, points: Points) -> None:
    draw.line(list(points), fill=1, width=LINE_WIDTH)


def _points(draw: ImageDraw.ImageDraw, points: Points) -> None:
    for point in points:
        _disc(draw, point, POINT_RADIUS)


def _disc(draw: ImageDraw.ImageDraw, centre: Point, radius: float) -> None:
    x, y = centre
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=1, outline=1)


_MANY = range(3, 1 << 20)
KINDS: dict[str, tuple[Callable[[ImageDraw.ImageDraw, Points], None], Sequence[int]]] = {  # drawn by, numbers of points
    "polygon": (_polygon, _MANY),
    "rectangle": (_rectangle, (2, 4)),
    "rotation": (_rectangle, (4,)),
    "oriented_rectangle": (_rectangle, (4,)),
    "circle": (_circle, (2,)),
    "line": (_line, (2,)),
    "linestrip": (_line, range(2, _MANY.stop)),
    "point": (_points, (1,)),
    "points": (_points, range(1, _MANY.stop)),
    "mask": (_rectangle, (2,)),
}
