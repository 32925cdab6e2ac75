"""Decoding and moving for training as one DALI pipeline: encoded pictures and their masks in, a batch out.

Resize, flip, shift, scale and rotation are one warp, so a picture is interpolated once; where nothing moves, they are
the plain resize. The numbers come from medseg.dali_pipelines.random_changes; nothing in the pipeline is random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from nvidia.dali import fn
from nvidia.dali.pipeline import Pipeline as DaliPipeline
from nvidia.dali.types import DALIDataType, DALIInterpType

from medseg.dali_pipelines.decode import Node, as_float, ends, normalised, pixels, planes, resized
from medseg.data.decoding import largest_value
from medseg.task import Decode

RESULTS = ("images", "masks")
Place = Callable[[Node], Node]  # a picture onto the network's grid, float32


def trained(picture: Node, how: Decode | None, place: Place, device: str) -> Node:
    """A network's input (c, *size) float32 of an encoded picture, or of one (h, w, c) float32 that is prepared.

    A grey picture may stay one plane: the step that takes it shows it to each channel.
    """
    if how is None:
        return planes(place(picture.gpu() if device == "gpu" else picture), 0.0, 1.0, device)
    found = pixels(picture, how, device)
    return normalised(
        planes(place(as_float(found) if largest_value(how) > 255 else found), *ends(found, how), device),
        how,
        grow=False,
    )


def training_pipeline(
    how: Decode | None, size: tuple[int, int], moving: bool, feed: Iterable[Any], settings: dict[str, Any]
) -> DaliPipeline:
    """A DALI pipeline to RESULTS: images (n, c, h, w) float32 and masks (n, classes, h, w) uint8.

    `feed` gives batches of pictures, encoded as the record says, or prepared where there is none; of masks
    (h, w, classes) uint8; and, where the pictures are moving, of matrices (2, 3) float32. `settings` are DALI's:
    batch_size, num_threads, device_id (None for the CPU).
    """
    device = "cpu" if settings["device_id"] is None else "gpu"
    kind, axes, layout = (DALIDataType.UINT8, 1, "") if how else (DALIDataType.FLOAT, 3, "HWC")
    pipeline = DaliPipeline(**settings)
    with pipeline:
        picture, mask, *matrix = fn.external_source(
            feed,
            cycle="raise",  # an epoch ends with its feed, and the next begins with a feed of its own
            num_outputs=3 if moving else 2,
            dtype=[kind, DALIDataType.UINT8, DALIDataType.FLOAT][: 3 if moving else 2],
            ndim=[axes, 3, 2][: 3 if moving else 2],
            layout=[layout, "HWC", ""][: 3 if moving else 2],
        )
        target = mask.gpu() if device == "gpu" else mask
        place: Any = fn.warp_affine if moving else fn.resize
        where: dict[str, Any] = {"size": size, **({"matrix": matrix[0]} if moving else {})}
        image = trained(picture, how, partial(moved if moving else resized, **where), device)
        placed = place(target, interp_type=DALIInterpType.INTERP_NN, **where)
        pipeline.set_outputs(image, fn.transpose(placed, perm=[2, 0, 1]))
    return pipeline


def moved(picture: Node, matrix: Node, size: tuple[int, int]) -> Node:
    """Bilinear at the places that the matrix names; what lies outside repeats the border."""
    how: dict[str, Any] = {"interp_type": DALIInterpType.INTERP_LINEAR, "dtype": DALIDataType.FLOAT}
    return fn.warp_affine(picture, matrix=matrix, size=size, **how)
