"""Target: something that answers questions and can be measured, here or behind a URL. Question: one case to ask it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import local
from typing import TYPE_CHECKING, Any

from medseg.bench.clock import Clock, timed_pipeline
from medseg.task import Array, Networks, Pipeline, Task, Tensors

if TYPE_CHECKING:
    from medseg.engines.triton import TritonModel

SERVER = "server"  # the stage of a remote request that the server's own statistics break down further

Scores = Mapping[str, float]
Statistics = Mapping[str, Mapping[str, Any]]  # model -> Triton's inference_stats


@dataclass(frozen=True)
class Whole:
    """What several questions are parts of and are scored as: the scan that slices belong to."""

    id: str
    score: Callable[[Mapping[str, Array]], Scores]  # of the answered masks by question


@dataclass(frozen=True)
class Question:
    """One case: how to read it into the pipeline's inputs, and how good an answer to it is."""

    id: str
    read: Callable[[], Tensors]
    files: tuple[Path, ...] = ()
    score: Callable[[Tensors], Scores] | None = None
    picture: Callable[[Tensors], Array] | None = None  # (h, w, 3) uint8: truth and answer drawn over the image
    whole: Whole | None = None


@dataclass(frozen=True)
class Target:
    """A named way to answer, with what it is made of and, for a server, its own statistics."""

    name: str
    answer: Callable[[Question, Clock], Tensors]
    facts: Mapping[str, Any] = field(default_factory=dict)  # engine, precision, where
    statistics: Callable[[], Statistics] | None = None
    pids: Sequence[int] = ()  # processes whose memory belongs to this target, besides our own
    close: Callable[[], None] = lambda: None


def local_target(name: str, pipeline: Pipeline, networks: Networks, facts: Mapping[str, Any]) -> Target:
    """A target that runs the pipeline in this process."""

    def answer(question: Question, clock: Clock) -> Tensors:
        with clock("read"):
            tensors = question.read()
        return timed_pipeline(pipeline, clock)(tensors, networks)

    return Target(name, answer, {"where": "local", **facts})


def served_target(name: str, task: Task, url: str, facts: Mapping[str, Any], pids: Sequence[int] = ()) -> Target:
    """A target that asks the task's ensemble on a Triton server; through shared memory where the facts say so."""
    from medseg.engines.triton import served_pipeline  # here, so that local benchmarks need no client

    own = local()
    models: list[TritonModel] = []

    def model() -> TritonModel:
        # A client for each thread: Triton's HTTP client must not be shared between threads.
        if not hasattr(own, "model"):
            own.model = served_pipeline(url, task, bool(facts.get("shared_memory")))
            models.append(own.model)
        return own.model

    def answer(question: Question, clock: Clock) -> Tensors:
        with clock("read"):
            tensors = question.read()
        with clock(SERVER):
            return model().ask(tensors, _outputs(task, tensors))

    def statistics() -> Statistics:
        return {entry["name"]: entry["inference_stats"] for entry in model().statistics()["model_stats"]}

    def close() -> None:
        for one in models:
            one.close()

    return Target(name, answer, {"where": "served", **facts}, statistics, pids, close)


def _outputs(task: Task, tensors: Tensors) -> tuple[str, ...]:
    """The outputs a question wants: all of them where it does not say."""
    wanted = tensors.get("wanted")
    return task.pipeline.outputs if wanted is None else tuple(name.decode() for name in wanted)
