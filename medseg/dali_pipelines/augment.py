"""Decoding and moving for training as one DALI pipeline: encoded pictures and their masks in, a batch out.

Resize, flip, shift, scale and rotation are one warp, so a picture is interpolated once; where nothing moves, they are
the plain resize. The numbers come from medseg.dali_pipelines.changes; nothing in the pipeline is random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from nvidia.dali import fn
from nvidia.dali.pipeline import Pipeline as DaliPipeline
from nvidia.dali.types import DALIDataType, DALIInterpType

from medseg.dali_pipelines.decode import Node, as_float, brightest, grey16, planes, range_of, resized, rgb

RESULTS = ("images", "masks")
Place = Callable[[Node], Node]  # a picture onto the network's grid, float32


def gi_tract(picture: Node, place: Place, device: str) -> Node:
    """A slice (1, h, w) of an encoded 16-bit grey PNG, divided by its maximum before it is moved."""
    grey = grey16(picture, device)
    return planes(place(as_float(grey)), 0.0, brightest(grey), device)


def stas(picture: Node, place: Place, device: str) -> Node:
    """A picture (3, h, w) of an encoded one, scaled to its own range before it is moved."""
    colours = rgb(picture, device)
    return planes(place(colours), *range_of(colours), device)


def brain_lgg(picture: Node, place: Place, device: str) -> Node:
    """A slice (3, h, w) of one (h, w, 3) that is already prepared: preparing needs the whole volume."""
    return planes(place(picture.gpu() if device == "gpu" else picture), 0.0, 1.0, device)


# task -> how its pictures become the network's, and what is fed: type, number of axes and their names
IMAGES: dict[str, tuple[Callable[[Node, Place, str], Node], Any, int, str]] = {
    "gi-tract": (gi_tract, DALIDataType.UINT8, 1, ""),
    "brain-lgg": (brain_lgg, DALIDataType.FLOAT, 3, "HWC"),
    "stas": (stas, DALIDataType.UINT8, 1, ""),
}


def training_pipeline(
    task: str, size: tuple[int, int], moving: bool, feed: Iterable[Any], settings: dict[str, Any]
) -> DaliPipeline:
    """A DALI pipeline to RESULTS: images (n, c, h, w) float32 and masks (n, classes, h, w) uint8.

    `feed` gives batches of pictures, masks (h, w, classes) uint8 and, where the pictures are moving, matrices (2, 3)
    float32. `settings` are DALI's: batch_size, num_threads, device_id (None for the CPU).
    """
    device = "cpu" if settings["device_id"] is None else "gpu"
    make, kind, axes, layout = IMAGES[task]
    pipeline = DaliPipeline(**settings)
    with pipeline:
        picture, mask, *matrix = fn.external_source(
            feed,
            num_outputs=3 if moving else 2,
            dtype=[kind, DALIDataType.UINT8, DALIDataType.FLOAT][: 3 if moving else 2],
            ndim=[axes, 3, 2][: 3 if moving else 2],
            layout=[layout, "HWC", ""][: 3 if moving else 2],
        )
        target = mask.gpu() if device == "gpu" else mask
        place: Any = fn.warp_affine if moving else fn.resize
        where: dict[str, Any] = {"size": size, **({"matrix": matrix[0]} if moving else {})}
        image = make(picture, partial(moved if moving else resized, **where), device)
        placed = place(target, interp_type=DALIInterpType.INTERP_NN, **where)
        pipeline.set_outputs(image, fn.transpose(placed, perm=[2, 0, 1]))
    return pipeline


def moved(picture: Node, matrix: Node, size: tuple[int, int]) -> Node:
    """Bilinear at the places that the matrix names; what lies outside repeats the border."""
    how: dict[str, Any] = {"interp_type": DALIInterpType.INTERP_LINEAR, "dtype": DALIDataType.FLOAT}
    return fn.warp_affine(picture, matrix=matrix, size=size, **how)
