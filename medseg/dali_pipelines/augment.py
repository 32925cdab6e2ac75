"""Decoding and augmentation for training as one DALI pipeline: a picture, its mask and its changes in, a batch out.

Resize, flip, shift, scale, rotation and quarter turns are one warp: a picture is interpolated once.
The numbers come from medseg.dali_pipelines.changes; nothing in the pipeline is random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nvidia.dali import fn
from nvidia.dali.pipeline import Pipeline as DaliPipeline
from nvidia.dali.pipeline import pipeline_def
from nvidia.dali.types import DALIDataType, DALIInterpType

from medseg.dali_pipelines.changes import Changes
from medseg.dali_pipelines.decode import Node, as_float, brightest, grey16, range_of, rgb

FEEDS = ("picture", "mask", "matrix", "holes", "wave", "number")  # what the loader feeds of each sample
RESULTS = ("images", "masks", "holes", "waves", "numbers")


def gi_tract(picture: Node, matrix: Node, size: tuple[int, int], device: str) -> Node:
    """A slice (224, 224, 3) float32 of an encoded 16-bit grey PNG, divided by its maximum before it is moved."""
    grey = grey16(picture, device)
    channel = warped(as_float(grey), matrix, size) / brightest(grey)
    return fn.cat(channel, channel, channel, axis=2)


def stas(picture: Node, matrix: Node, size: tuple[int, int], device: str) -> Node:
    """A picture (800, 800, 3) float32 of an encoded one, scaled to its own range before it is moved."""
    colours = rgb(picture, device)
    darkest, spread = range_of(colours)
    return (warped(colours, matrix, size) - darkest) / spread


def brain_lgg(picture: Node, matrix: Node, size: tuple[int, int], device: str) -> Node:
    """A slice (256, 256, 3) float32 of one that is already prepared: preparing needs the whole volume."""
    return warped(picture.gpu() if device == "gpu" else picture, matrix, size)


def warped(picture: Node, matrix: Node, size: tuple[int, int]) -> Node:
    """Bilinear at the places that the matrix names; what lies outside repeats the border."""
    how: dict[str, Any] = {"interp_type": DALIInterpType.INTERP_LINEAR, "dtype": DALIDataType.FLOAT}
    return fn.warp_affine(picture, matrix=matrix, size=size, **how)


def punched(picture: Node, holes: Node) -> Node:
    """Holes of zeros; `holes` are top, left, height, width for each, as shares of the sides."""
    corners = fn.reshape(holes, shape=[-1, 4])
    anchor, shape = fn.reshape(corners[:, :2], shape=[-1]), fn.reshape(corners[:, 2:], shape=[-1])
    return fn.erase(picture, anchor=anchor, shape=shape, axis_names="HW", normalized=True, fill_value=0)


# task -> how its pictures become the network's, and what is fed as `picture`: its type and number of axes
IMAGES: dict[str, tuple[Callable[..., Node], Any, int]] = {
    "gi-tract": (gi_tract, DALIDataType.UINT8, 1),
    "brain-lgg": (brain_lgg, DALIDataType.FLOAT, 3),
    "stas": (stas, DALIDataType.UINT8, 1),
}


def training_pipeline(
    task: str, size: tuple[int, int], how: Changes, feed: Iterable[Any], settings: dict[str, Any]
) -> DaliPipeline:
    """A DALI pipeline from what `feed` gives, a batch of FEEDS at a time, to RESULTS (images and masks n, c, h, w).

    `settings` are DALI's: batch_size, num_threads, device_id (None for the CPU).
    """
    device = "cpu" if settings["device_id"] is None else "gpu"
    make, kind, axes = IMAGES[task]
    kinds = [kind, DALIDataType.UINT8, *[DALIDataType.FLOAT] * 3, DALIDataType.INT64]

    @pipeline_def(**settings)
    def define() -> tuple[Node, ...]:
        picture, mask, matrix, holes, wave, number = fn.external_source(
            feed, num_outputs=len(FEEDS), dtype=kinds, ndim=[axes, 3, 2, 1, 1, 0], layout=["", "HWC", "", "", "", ""]
        )
        image = make(picture, matrix, size, device)
        mask = mask.gpu() if device == "gpu" else mask
        mask = fn.warp_affine(mask, matrix=matrix, size=size, interp_type=DALIInterpType.INTERP_NN)
        if how.holes > 0:
            image, mask = punched(image, holes), punched(mask, holes)
        return fn.transpose(image, perm=[2, 0, 1]), fn.transpose(mask, perm=[2, 0, 1]), holes, wave, number

    return define()
