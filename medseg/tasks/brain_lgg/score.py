"""Scores of the tumour's masks, patient by patient, and views of them beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medseg.data import overlay
from medseg.data.encoded import RGB, decode
from medseg.data.picture import View, most_different
from medseg.metrics.components import largest
from medseg.metrics.definitions import MASK, of
from medseg.metrics.masks import mask_scores
from medseg.scoring import Rows, Scoring
from medseg.task import Array, Case, Request, Tensors

_OF = "of a volume, only the answer's largest connected component: "
METRICS = tuple(of(metric, _OF) for metric in MASK)
_SHOWN = 6
_FLAIR = 1  # the channel in which a lower-grade glioma is bright


def rows(_: Path, cases: Sequence[Case], answers: Sequence[Tensors]) -> Rows:
    """Each volume's scores. `dice` is the reference's DSC: over the volume, with only the largest connected piece.

    Distances are in pixels and slices, because the files do not state the spacing.
    """
    pairs = zip(cases, answers, strict=True)
    return {case.id: mask_scores(largest(answer["mask"]), np.asarray(case.mask), None) for case, answer in pairs}


def case_of(request: Request) -> Case:
    """A request's volume as a case without truth."""
    return Case(request.name, np.stack([decode(one, RGB, request.name) for one in request.tensors["encoded"]]))


def masks(_: Sequence[Case], answers: Sequence[Tensors]) -> list[Array]:
    """Each case's answered mask (slice, row, col)."""
    return [answer["mask"] for answer in answers]


def views(cases: Sequence[Case], masks: Mapping[str, Sequence[Array]]) -> list[View]:
    """At most six slices of the first volume in which the masks differ most."""
    volume = overlay.grey(cases[0].image[..., _FLAIR])
    found = {name: volumes[0] for name, volumes in masks.items()}
    return [
        View(volume[index], {name: mask[index] for name, mask in found.items()}, f"slice {index + 1}")
        for index in most_different(list(found.values()), _SHOWN)
    ]


SCORING = Scoring(
    main="dice",
    metrics=METRICS,
    rows=rows,
    case_of=case_of,
    masks=masks,
    views=views,
    brief=("dice", "iou", "hd95_px"),
)
