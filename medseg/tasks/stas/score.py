"""Scores of STAS masks, picture by picture, and views of them beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medseg.data.encoded import RGB, decode
from medseg.data.picture import View
from medseg.metrics import voters
from medseg.metrics.definitions import MASK, of
from medseg.metrics.masks import mask_scores
from medseg.scoring import Rows, Scoring
from medseg.task import Array, Case, Request, Tensors
from medseg.tasks.stas.pipeline import VOTERS

_OF = "of a picture: "
METRICS = (*(of(metric, _OF) for metric in MASK), *voters.VOTERS)


def rows(_: Path, cases: Sequence[Case], answers: Sequence[Tensors]) -> Rows:
    """Each picture's scores. Distances are in pixels, because a pixel's size is unknown."""
    pairs = zip(cases, answers, strict=True)
    return {case.id: _scores(np.asarray(case.mask), answer) for case, answer in pairs}


def _scores(truth: Array, answer: Tensors) -> dict[str, float]:
    """A picture's scores; where all three networks answered, also the scores of each."""
    votes = answer["votes"]
    alone = len(votes) < len(VOTERS)
    return mask_scores(answer["mask"], truth, None) | ({} if alone else voters.voter_scores(VOTERS, votes, truth))


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


SCORING = Scoring(
    main="dice",
    metrics=METRICS,
    rows=rows,
    case_of=case_of,
    masks=masks,
    views=views,
    brief=("dice", "iou", "hd95_px"),
)
