"""Scores of picture masks, class by class, and views of them beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medseg.data import overlay
from medseg.data.encoded import decode
from medseg.data.picture import View
from medseg.metrics.definitions import DICE, MASK, Metric, of
from medseg.metrics.masks import mask_scores
from medseg.scoring import Rows, Scoring
from medseg.task import Array, Case, Request, Tensors
from medseg.tasks.picture.description import Picture, known
from medseg.tasks.picture.kinds import kind_of
from medseg.tasks.picture.statistics import class_planes

_OF = "of a picture, the mean over classes: "


def scoring(picture: Picture | None) -> Scoring:
    """The scoring of the described classes; without a description only the metrics' meanings."""
    return Scoring(
        main="dice",
        metrics=(*(of(metric, _OF) for metric in MASK), *_by_class(picture)),
        rows=partial(rows, picture),
        case_of=partial(case_of, picture),
        masks=partial(masks, picture),
        views=views,
        brief=("dice", "iou", "hd95_px"),
    )


def _by_class(picture: Picture | None) -> tuple[Metric, ...]:
    """The Dice of each class, where there are several."""
    if picture is None:
        return (of(DICE, "of one of several classes in a picture: ", "dice_CLASS"),)
    if len(picture.classes) == 1:
        return ()
    return tuple(of(DICE, f"of {name} in a picture: ", f"dice_{name}") for name in picture.classes)


def rows(picture: Picture | None, _: Path, cases: Sequence[Case], answers: Sequence[Tensors]) -> Rows:
    """Each picture's scores, as the mean over classes. Distances are in pixels, because a pixel's size is unknown."""
    pairs = zip(cases, answers, strict=True)
    return {case.id: _scores(known(picture), np.asarray(case.mask), answer["mask"]) for case, answer in pairs}


def _scores(picture: Picture, truth: Array, answer: Array) -> dict[str, float]:
    planes = zip(class_planes(picture, answer), truth, strict=True)
    found = [mask_scores(one, other, None) for one, other in planes]
    means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    return means | {metric.key: one["dice"] for metric, one in zip(_by_class(picture), found, strict=False)}


def case_of(picture: Picture | None, request: Request) -> Case:
    """A request's picture as a case without truth."""
    return Case(request.name, decode(request.tensors["encoded"][0], kind_of(known(picture)), request.name))


def masks(picture: Picture | None, _: Sequence[Case], answers: Sequence[Tensors]) -> list[Array]:
    """Each case's answered masks (classes, row, col)."""
    return [class_planes(known(picture), answer["mask"]) for answer in answers]


def views(cases: Sequence[Case], masks: Mapping[str, Sequence[Array]]) -> list[View]:
    """The picture with the masks of every name."""
    return [
        View(shown(case.image), {name: found[number] for name, found in masks.items()}, case.id)
        for number, case in enumerate(cases)
    ]


def shown(pixels: Array) -> Array:
    """A picture of any kind as RGB (h, w, 3) uint8."""
    if pixels.ndim == 2:
        return overlay.grey(pixels)
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
