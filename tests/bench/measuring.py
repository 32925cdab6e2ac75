"""Records of our own small targets, as the command would make them."""

from __future__ import annotations

from contextlib import nullcontext

from medseg.bench.benchmark import Settings, benchmark
from medseg.bench.lineup import Opening
from medseg.bench.load import Plan
from medseg.bench.measure import Loads
from medseg.bench.record import Record
from medseg.bench.target import Question, Target
from medseg.task import Files, Pipeline, Task

PIPELINE = Pipeline((), (), (), ())
TASK = Task(
    "ours",
    "numbers",
    (),
    PIPELINE,
    Files(lambda *_: [], lambda *_: [], lambda *_: []),
)
PLAN = Plan(warmup=2, rounds=10, window_s=0.2, limit_s=1.0, timeout_s=1.0)


def measured(targets: list[Target], questions: list[Question], loads: Loads | None = None, plan: Plan = PLAN) -> Record:
    """The record of these targets."""
    lineup = [Opening(one.name, {}, lambda one=one: nullcontext(one)) for one in targets]
    return benchmark(TASK, lineup, questions, Settings(plan, loads or Loads()))
