"""How good STAS answers are, picture by picture, and what they look like beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medseg.data.encoded import RGB, decode
from medseg.data.picture import View
from medseg.metrics.definitions import DICE, HD95_PX, IOU, MASK, of
from medseg.metrics.masks import mask_scores
from medseg.task import Array, Case, Request, Scoring, Tensors

MAIN = "dice"
_OF = "of a picture: "
EVALUATED = tuple(of(metric, _OF) for metric in MASK)
BENCHED = (
    *(of(metric, _OF) for metric in (DICE, IOU, HD95_PX)),
    of(DICE, "of one network's own mask: ", "alone: NETWORK"),
    of(DICE, "of what the other two networks both mark: ", "without: NETWORK"),
)


def rows(_: Path, cases: Sequence[Case], answers: Sequence[Tensors]) -> dict[str, dict[str, float]]:
    """Each picture's scores; distances in pixels, for nothing says how large those are."""
    pairs = zip(cases, answers, strict=True)
    return {case.id: mask_scores(answer["mask"], np.asarray(case.mask), None) for case, answer in pairs}


def case_of(request: Request) -> Case:
    """A request's picture as a case without truth."""
    return Case(request.name, decode(request.tensors["encoded"][0], RGB, request.name))


def masks(_: Sequence[Case], answers: Sequence[Tensors]) -> list[Array]:
    """Each case's answered mask (row, col)."""
    return [answer["mask"] for answer in answers]


def views(cases: Sequence[Case], masks: Mapping[str, Sequence[Array]]) -> list[View]:
    """The picture with the masks of every name."""
    return [
        View(case.image, {name: found[number] for name, found in masks.items()}, case.id)
        for number, case in enumerate(cases)
    ]


SCORING = Scoring(MAIN, EVALUATED, BENCHED, rows, case_of, masks, views)
