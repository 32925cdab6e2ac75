"""Clock: what happened when, within one request, and how long each stage held the request up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from time import perf_counter

from medseg.task import Array, Infer, Networks, Pipeline, Step, Tensors, run_step

OTHER = "other"


@dataclass(frozen=True)
class Span:
    """One stretch of time spent in a stage, in perf_counter seconds; `inside` names the stage that contains it."""

    stage: str
    start_s: float
    end_s: float
    inside: str | None = None
    items: int = 1  # a network's batch size


class Clock:
    """The spans of one request; threads of the request may write to it at once."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.client_s = 0.0  # CPU time that the asking thread spent on packing, sending and unpacking

    @contextmanager
    def __call__(self, stage: str, inside: str | None = None, items: int = 1) -> Iterator[None]:
        """Time a stage."""
        start_s = perf_counter()
        try:
            yield
        finally:
            self.spans.append(Span(stage, start_s, perf_counter(), inside, items))


def shares(spans: Sequence[Span], start_s: float, end_s: float) -> dict[str, float]:
    """Seconds per stage between two moments, summing to exactly their distance.

    A moment belongs to the innermost stage running then, is halved where two run at once, and is `other` where none is.
    """
    marks = {edge for span in spans for edge in (span.start_s, span.end_s) if start_s < edge < end_s}
    edges = sorted({start_s, end_s, *marks})
    seconds: dict[str, float] = {}
    for begin_s, stop_s in pairwise(edges):
        running = [span for span in spans if span.start_s <= begin_s and span.end_s >= stop_s]
        outer = {span.inside for span in running}
        stages = [span.stage for span in running if span.stage not in outer] or [OTHER]
        for stage in stages:
            seconds[stage] = seconds.get(stage, 0.0) + (stop_s - begin_s) / len(stages)
    unexplained = {OTHER: seconds.pop(OTHER)} if OTHER in seconds else {}
    return seconds | unexplained


def fan_out(spans: Sequence[Span]) -> dict[str, int]:
    """How many items each stage inside another was given: the slices and candidates of one CT, for example."""
    items: dict[str, int] = {}
    for span in spans:
        if span.inside is not None:
            items[span.stage] = items.get(span.stage, 0) + span.items
    return items


def timed_pipeline(pipeline: Pipeline, clock: Clock) -> Pipeline:
    """The same pipeline, every step and every network inside a step timed by the clock."""
    return replace(pipeline, steps=tuple(replace(step, run=_timed_step(step, clock)) for step in pipeline.steps))


def _timed_step(step: Step, clock: Clock) -> Callable[[Tensors, Networks], Tensors]:
    def run(tensors: Tensors, networks: Networks) -> Tensors:
        with clock(step.name):
            return run_step(step, tensors, lambda name: _timed_network(networks(name), name, step.name, clock))

    return run


def _timed_network(infer: Infer, name: str, step: str, clock: Clock) -> Infer:
    def run(batch: Array) -> Array:
        with clock(f"{step}: {name}", inside=step, items=len(batch)):
            return infer(batch)

    return run
