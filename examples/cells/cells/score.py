"""How good the masks are, picture by picture, and what they look like beside the truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medseg.data.encoded import RGB, decode
from medseg.data.picture import View
from medseg.metrics.definitions import MASK
from medseg.metrics.masks import mask_scores
from medseg.scoring import Rows, Scoring
from medseg.task import Array, Case, Request, Tensors


def rows(_: Path, cases: Sequence[Case], answers: Sequence[Tensors]) -> Rows:
    """Each picture's scores."""
    pairs = zip(cases, answers, strict=True)
    return {case.id: mask_scores(answer["mask"], np.asarray(case.mask), None) for case, answer in pairs}


def case_of(request: Request) -> Case:
    """A request's picture as a case without truth."""
    return Case(request.name, decode(request.tensors["encoded"][0], RGB, request.name))


def masks(_: Sequence[Case], answers: Sequence[Tensors]) -> list[Array]:
    """Each case's answered mask."""
    return [answer["mask"] for answer in answers]


def views(cases: Sequence[Case], masks: Mapping[str, Sequence[Array]]) -> list[View]:
    """The pictures with the masks of every name."""
    named = [{name: found[number] for name, found in masks.items()} for number in range(len(cases))]
    return [View(case.image, shown, case.id) for case, shown in zip(cases, named, strict=True)]


SCORING = Scoring("dice", MASK, rows, case_of, masks, views, brief=("dice", "iou"))
