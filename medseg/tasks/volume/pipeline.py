"""A described network's inference as named steps: a volume in; its labels on its own grid out.

A cascade is two such chains: the labels of the first are channels of the second's input.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import scipy

from medseg.data.geometry import geometry_from, problem
from medseg.errors import InputError
from medseg.task import Array, Network, Networks, Pipeline, Step, Tensor, Tensors
from medseg.tasks.on_request import requested, requested_tensor
from medseg.tasks.volume import corners, post
from medseg.tasks.volume.asking import asked, at_once
from medseg.tasks.volume.plan import Plan
from medseg.tasks.volume.prepare import Frame, prepared, turned_back
from medseg.tasks.volume.resample import slice_axis
from medseg.tasks.volume.restore import Grid, grid, labelled
from medseg.tasks.volume.window import Ask, Slab, slabs, strip_bytes

MIRROR_AS_FITTED, MIRROR_NO, MIRROR_YES = 0, 1, 2
_SIDE = 4096  # voxels along an axis; more than any scanner's
_VOXELS = 1 << 31
_BATCH = {2: 4, 3: 1}  # tiles a call, by the patch's rank: as many as answer soonest on a CPU
_SUMS = 2_000_000_000  # bytes of sums that exist at a time: a CT with 117 classes stays under 8 GB
_FRAME = 18  # numbers
_OUTPUTS = ("mask",)


@dataclass(frozen=True)
class Stage:
    """One network of a chain and what its description says."""

    plan: Plan
    network: Network


def pipeline(stages: Sequence[Stage]) -> Pipeline:
    """The pipeline of a network, or of a cascade's two in their order."""
    many = len(stages) > 1
    steps: list[Step] = []
    wires: list[Tensor] = []
    for index, stage in enumerate(stages):
        end = f"_{index + 1}" if many else ""
        last = index == len(stages) - 1
        names = _Names(f"input{end}", f"frame{end}", f"labels{end}", "mask" if last else "earlier", f"earlier{end}")
        taken = ("image", "geometry", *(("earlier",) if index else ()))
        title = "" if last else "first-"
        steps += [
            Step(f"{title}prepare", partial(_prepare, stage, names), taken, (names.input, names.frame)),
            Step(
                f"{title}segment",
                partial(_segment, stage, names),
                (names.input, names.frame, "mirror"),
                (names.labels,),
            ),
            Step(
                f"{title}answer",
                partial(_answer, stage, names),
                (names.labels, names.frame, "geometry", *(("wanted",) if last else ())),
                (names.mask,),
            ),
        ]
        wires += _wires(stage, names)
    channels = len(stages[-1].plan.schemes)
    return Pipeline(
        tensors=(
            Tensor(
                "image",
                "float32",
                (channels, -1, -1, -1),
                limit=(channels, _SIDE, _SIDE, _SIDE),
                least=1,
                problem=_image_problem,
            ),
            Tensor("geometry", "float64", (15,), problem=problem),
            Tensor("mirror", "uint8", (1,), optional=True, values=(MIRROR_AS_FITTED, MIRROR_YES)),
            requested_tensor(_OUTPUTS),
            *wires,
        ),
        inputs=("image", "geometry", "mirror", "wanted"),
        steps=tuple(steps),
        outputs=_OUTPUTS,
        networks=tuple(stage.network for stage in stages),
    )


@dataclass(frozen=True)
class _Names:
    """What one stage's wires are called."""

    input: str
    frame: str
    labels: str
    mask: str
    earlier: str


def _wires(stage: Stage, names: _Names) -> list[Tensor]:
    channels = stage.plan.channels
    return [
        Tensor(names.input, "float32", (channels, -1, -1, -1), limit=(channels, _SIDE, _SIDE, _SIDE), least=1),
        Tensor(names.frame, "float64", (_FRAME,)),
        Tensor(names.labels, "uint8", (-1, -1, -1), limit=_SIDE, least=1),
        Tensor(names.mask, "uint8", (-1, -1, -1), limit=_SIDE, least=1),
    ]


def _image_problem(image: Array) -> str:
    """What is wrong with an image, in words that follow its wire's name."""
    if image.size > _VOXELS:
        return f"holds {image.size} voxels; expected at most {_VOXELS}: ask about a smaller volume"
    if not np.isfinite(image).all():
        return "holds NaN or infinite values; expected finite numbers: fill them before inference"
    return ""


def _prepare(stage: Stage, names: _Names, tensors: Tensors, _: Networks) -> Tensors:
    """Step 1: the `image` (channels, z, y, x) to the network's `input` on its own grid, and the `frame` it lies in."""
    where = geometry_from(tensors["geometry"])
    prepare = corners.prepared if stage.plan.numerics == "monai" else prepared
    found, frame = prepare(tensors["image"], where, stage.plan, tensors.get("earlier"))
    return {names.input: found, names.frame: _numbers(frame)}


def _segment(stage: Stage, names: _Names, tensors: Tensors, networks: Networks) -> Tensors:
    """Step 2: the network's `input` to `labels` on the cropped image's grid."""
    plan, image = stage.plan, tensors[names.input]
    frame = _frame(tensors[names.frame])
    mirrors = _mirrors(plan, int(tensors["mirror"][0]) if "mirror" in tensors else MIRROR_AS_FITTED)
    infer, outputs = networks(stage.network.name), plan.folds * len(plan.heads.values)
    batch = _BATCH[len(plan.window.patch)]
    together = at_once(batch * outputs * math.prod(plan.window.patch) * 4)
    ask = partial(asked, infer=infer, mirrors=mirrors, batch=batch, at_once=together)
    to = _way_back(image, frame, plan)
    labels = np.empty(to.shape, "uint8")
    for rows in strips(to.shape[1], strip_bytes(image.shape[1:], outputs, plan.window)):
        below, part = to.strip(rows)
        labels[:, rows] = labelled(_logits(image, ask, frame, plan, below), part, plan.heads, "uint8")
    return {names.labels: to.copied(labels)}


def _way_back(image: Array, frame: Frame, plan: Plan) -> Grid:
    if plan.numerics == "monai":
        return corners.grid(frame)
    return grid(image.shape[1:], frame.size, slice_axis(plan.answer, frame.target_mm, frame.spacing_mm))


def _logits(image: Array, ask: Ask, frame: Frame, plan: Plan, rows: slice) -> Iterator[Slab]:
    """Slabs of some rows, folds averaged."""
    if plan.numerics == "monai":
        cropped = corners.cropped_rows(rows, frame, image.shape[2])
        return corners.uncropped(averaged(slabs(image, ask, plan.window, cropped), plan), frame, rows, cropped)
    return averaged(slabs(image, ask, plan.window, rows), plan)


def strips(count: int, size: int) -> Iterator[slice]:
    """So many rows in as few strips as need no more memory than sums may have; all rows need `size` bytes.

    Tiles between two strips are asked about twice: that is the price of a bound.
    """
    parts = min(count, max(1, math.ceil(size / _SUMS)))
    ends = [round(count * part / parts) for part in range(parts + 1)]
    return (slice(low, high) for low, high in pairwise(ends))


def _mirrors(plan: Plan, asked: int) -> tuple[int, ...]:
    """The axes to mirror along. Raises InputError where mirroring is asked of a network that was not fitted so."""
    if asked == MIRROR_YES and not plan.mirrors:
        raise InputError("mirroring is asked for, and the network was fitted without: its answers would be worse")
    return () if asked == MIRROR_NO else plan.mirrors


def averaged(found: Iterator[Slab], plan: Plan) -> Iterator[Slab]:
    """Slabs in which the folds' logits are one: their mean, in the accumulator's type. As probabilities if so said."""
    for first, logits in found:
        heads = len(logits) // plan.folds
        mean = logits[:heads]
        for fold in range(1, plan.folds):
            mean += logits[fold * heads : (fold + 1) * heads]
        if plan.folds > 1:
            mean /= plan.folds
        yield first, _probabilities(mean, plan) if plan.of == "probabilities" else mean


def _probabilities(logits: Array, plan: Plan) -> Array:
    if plan.heads.exclusive:
        return scipy.special.softmax(logits, axis=0)
    return 1 / (1 + np.exp(-logits))


def _answer(stage: Stage, names: _Names, tensors: Tensors, _: Networks) -> Tensors:
    """Step 3: `labels` to the `mask` (z, y, x) uint8 on the image's own grid, post-processed."""
    plan, labels = stage.plan, tensors[names.labels]
    frame = _frame(tensors[names.frame])
    if labels.shape != frame.size:
        raise InputError(f"tensor 'labels' has shape {labels.shape}; expected {frame.size}, as 'frame' says")
    whole = np.zeros(frame.shape, labels.dtype)
    whole[frame.box] = labels
    found = post.cleaned(turned_back(whole, geometry_from(tensors["geometry"]), plan), plan)
    return requested({names.mask: lambda: found}, tensors) if names.mask == "mask" else {names.mask: found}


def _numbers(frame: Frame) -> Array:
    """A frame as (18,) float64: shape, the box's starts and stops, spacing and target in mm, the input's start."""
    starts, stops = [part.start for part in frame.box], [part.stop for part in frame.box]
    return np.array([*frame.shape, *starts, *stops, *frame.spacing_mm, *frame.target_mm, *frame.start], np.float64)


def _frame(numbers: Array) -> Frame:
    """The frame that the numbers say. Raises InputError where they are none: clients may send them."""
    values = numbers.tolist()
    whole = [int(value) if np.isfinite(value) and abs(value) < 1 << 31 else -1 for value in values[:9]]
    sizes, starts, stops = whole[:3], whole[3:6], whole[6:9]
    spacing, target = values[9:12], values[12:15]
    fits = all(0 <= low < high <= size <= _SIDE for low, high, size in zip(starts, stops, sizes, strict=True))
    if not fits or not all(np.isfinite(one) and 0 < one < 1000 for one in (*spacing, *target)):
        raise InputError(f"tensor 'frame' is {values}; expected what the step `prepare` makes")
    if np.prod([float(size) for size in sizes]) > _VOXELS:
        raise InputError(f"tensor 'frame' states {sizes} voxels; expected at most {_VOXELS}")
    z, y, x = (slice(low, high) for low, high in zip(starts, stops, strict=True))
    start = tuple(int(value) if np.isfinite(value) and 0 <= value < _SIDE else 0 for value in values[15:])
    return Frame(tuple(sizes), (z, y, x), tuple(spacing), tuple(target), start)
