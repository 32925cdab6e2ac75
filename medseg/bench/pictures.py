"""The worst cases as pictures: each once, with the truth and every target's answer."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import islice

import cv2

from medseg.bench.record import PictureRecord, TargetRecord
from medseg.data.picture import RUN_COLOURS
from medseg.tasks.scorer import Scorer

_WIDEST_PX = 1280

Scores = Mapping[str, Mapping[str, Mapping[str, float]]]  # target -> row -> score


def pictures(scorers: Mapping[str, Scorer], targets: Sequence[TargetRecord], metric: str) -> list[PictureRecord]:
    """The rows that the first scorer kept, with the answers of as many targets as there are colours."""
    if not scorers:
        return []
    shown = dict(islice(scorers.items(), len(RUN_COLOURS)))
    scores = {target["name"]: target["scores"] for target in targets}
    return [_picture(row, shown, scores, metric) for row in next(iter(shown.values())).drawable]


def _picture(row: str, shown: Mapping[str, Scorer], scores: Scores, metric: str) -> PictureRecord:
    have = {name: scorer for name, scorer in shown.items() if row in scorer.drawable}
    drawn = next(iter(have.values())).together(row, have)
    share = min(1.0, _WIDEST_PX / drawn.shape[1])
    _, png = cv2.imencode(".png", cv2.resize(drawn, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)[..., ::-1])
    return {
        "case": row,
        "metric": metric,
        "scores": {name: scores[name][row][metric] for name in have},
        "png": base64.b64encode(png.tobytes()).decode(),
    }
