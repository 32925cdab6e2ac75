"""Answers drawn over pictures: tints, outlines, a legend, many slices on one sheet.

A picture here is (h, w, 3) uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medseg.task import Array

Colour = tuple[int, int, int]
RED, GREEN, BLUE = (255, 64, 64), (48, 205, 96), (70, 130, 255)  # pure colours are too dark or too bright on grey
AMBER = (255, 176, 0)
_PAPER, _INK = (24, 28, 34), (235, 238, 242)  # a dark background, like the pictures: it fits light and dark pages
_LEGEND_PX, _FONT_PX, _MARGIN_PX = 30, 15, 8.0
_SUBPIXELS = 4  # binary digits of cv2's fixed-point coordinates after the point: it draws at 1/16 of a pixel


def grey(picture: Array, brightest: float = 99.5) -> Array:
    """A grey picture (h, w), or a volume (n, h, w) with one scale, as RGB: (h, w, 3) or (n, h, w, 3) uint8.

    The smallest value becomes black, the value at the percentile `brightest` white.
    """
    low, high = float(picture.min()), float(np.percentile(picture, brightest))
    scaled = np.clip((picture.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
    return np.repeat(np.round(255 * scaled).astype(np.uint8)[..., np.newaxis], 3, axis=-1)


def enlarged(picture: Array, factor: int) -> Array:
    """The picture enlarged this many times, with bicubic interpolation."""
    return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC))


def painted(picture: Array, mask: Array, colour: Colour, tint: float = 0.25, width: int = 2) -> Array:
    """A copy of the picture with the mask (h, w) tinted and outlined.

    The picture may be larger than the mask by a whole factor. `tint` is the share of the colour, `width` is in pixels.
    """
    factor = picture.shape[0] // mask.shape[0]
    large = cv2.resize(mask.astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    mixed = np.where(large[..., np.newaxis] > 0, (1 - tint) * picture + tint * np.array(colour), picture)
    canvas = np.ascontiguousarray(np.round(mixed).astype(np.uint8))
    pieces, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    smooth = [_smoothed(piece[:, 0], factor) for piece in pieces]
    cv2.polylines(canvas, smooth, True, colour, width, cv2.LINE_AA, shift=_SUBPIXELS)
    return canvas


def legend(picture: Array, entries: Mapping[str, Colour], title: str = "") -> Array:
    """The picture with a dark strip below: a title, then each name beside its colour, on as many lines as needed."""
    font, width = ImageFont.load_default(_FONT_PX), picture.shape[1]
    words: list[tuple[str, Colour | None]] = [(title, None)] if title else []
    words += entries.items()
    across, line = _MARGIN_PX, 0
    places: list[tuple[float, int]] = []
    for word, colour in words:
        length = font.getlength(word) + (36 if colour else 18)
        if across > _MARGIN_PX and across + length > width:
            across, line = _MARGIN_PX, line + 1
        places.append((across, line * _LEGEND_PX))
        across += length
    strip = Image.new("RGB", (width, (line + 1) * _LEGEND_PX), _PAPER)
    draw = ImageDraw.Draw(strip)
    for (word, colour), (left, top) in zip(words, places, strict=True):
        if colour:
            draw.rectangle([left, top + 9, left + 12, top + 21], colour)
        draw.text((left + 18 * bool(colour), top + 6), word, _INK, font)
    return np.concatenate([picture, np.array(strip)])


def sheet(pictures: Sequence[Array], captions: Sequence[str], columns: int) -> Array:
    """Pictures of one size on one black sheet, row by row, each with its caption in the upper left corner."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    paper = Image.new("RGB", (columns * width, rows * height))
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(_FONT_PX)
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        corner = (index % columns * width, index // columns * height)
        paper.paste(Image.fromarray(picture), corner)
        draw.text((corner[0] + 6, corner[1] + 4), caption, _INK, font, stroke_width=2, stroke_fill=_PAPER)
    return np.array(paper)


def _smoothed(points: Array, factor: int) -> Array:
    """A closed outline (n, 2), smoothed where enlarging made steps, in cv2's fixed-point coordinates."""
    if factor > 1 and len(points) > 2 * factor:
        window = np.ones(2 * factor + 1) / (2 * factor + 1)
        around = np.concatenate([points[-factor:], points, points[:factor]]).astype(np.float64)
        points = np.stack([np.convolve(around[:, axis], window, "valid") for axis in (0, 1)], axis=1)
    return np.round(points * (1 << _SUBPIXELS)).astype(np.int32)
