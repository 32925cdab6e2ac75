"""Records of our own small targets, as the command would make them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from medseg.bench.benchmark import Extras, Settings, benchmark
from medseg.bench.lineup import Opening
from medseg.bench.measure.load import Plan
from medseg.bench.measure.rounds import Loads
from medseg.bench.measure.target import BenchTarget
from medseg.bench.record import Record
from medseg.metrics.definitions import DICE
from medseg.scoring import Scoring
from medseg.task import Case, Data, Files, Pipeline, Task, Tensors, Unread

PIPELINE = Pipeline((), (), (), ())
TASK = Task(
    "ours",
    "numbers",
    (),
    PIPELINE,
    Files(lambda *_: [], lambda *_: [], lambda *_: []),
)
PLAN = Plan(warmup=2, rounds=10, window_s=0.2, stable=1.0)  # any three windows end a level, however slow they are
GREY = np.full((8, 8, 3), 127, np.uint8)

Score = Callable[[Tensors], dict[str, float]]


def measured(
    targets: list[BenchTarget],
    cases: list[Unread],
    loads: Loads | None = None,
    plan: Plan = PLAN,
    score: Score | None = None,
) -> Record:
    """The record of these targets, their answers scored so where the cases' truth is known."""
    task = replace(TASK, data=data(), scoring=scoring(score)) if score else TASK
    lineup = [Opening(one.name, {}, lambda one=one: nullcontext(one)) for one in targets]
    return benchmark(task, lineup, cases, Settings(plan, loads or Loads()), Extras(data=Path()))


def data() -> Data:
    """A folder of patients who are one case each."""
    return Data(
        patients=lambda _: [],
        read=lambda _, patient: [Case(patient, GREY, GREY[..., 0])],
        cases=lambda *_: [],
        check=lambda _: [],
        phantom=lambda *_: None,
        split=lambda *_: None,
    )


def scoring(score: Score) -> Scoring:
    """Scores of which Dice is the main one, and a grey picture of every answer."""
    return Scoring(
        main="dice",
        metrics=(DICE,),
        rows=lambda _, cases, answers: {case.id: score(answer) for case, answer in zip(cases, answers, strict=True)},
        case_of=lambda request: Case(request.name, GREY),
        masks=lambda cases, _: [np.zeros((8, 8), np.uint8) for _ in cases],
        views=lambda *_: [],
        drawn=lambda *_: GREY,
    )
