"""Batches: one network alone, without its pipeline, answering batches of several sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np

from medseg.bench.lineup import Entry, Opening
from medseg.bench.measure.clock import Clock
from medseg.bench.measure.target import BenchTarget
from medseg.bench.record import Facts
from medseg.engines.runs import opened
from medseg.run import Run
from medseg.task import Network, Task, Tensors, Unread


def batches(
    task: Task, runs: Sequence[Run], entries: Sequence[Entry], sizes: Sequence[int]
) -> list[tuple[Opening, Unread]]:
    """How to open each run's network in each engine and precision of the entries, and the batch it is asked."""
    engines = dict.fromkeys((entry.engine, entry.precision) for entry in entries)
    return [
        _opening(task.network(run.network), run, engine, precision, size)
        for run in runs
        for engine, precision in engines
        for size in sizes
    ]


def _opening(network: Network, run: Run, engine: str, precision: str, size: int) -> tuple[Opening, Unread]:
    facts: Facts = {"network": network.name, "engine": engine, "precision": precision, "batch": size}
    name = f"{network.name} alone, {engine} {precision}, batch {size}"
    case = Unread(f"batch of {size}", partial(_made_up, network, size))
    return Opening(name, facts, partial(_open, name, facts, run)), case


@contextmanager
def _open(name: str, facts: Facts, run: Run) -> Iterator[BenchTarget]:
    with opened([run], str(facts["engine"]), str(facts["precision"])) as networks:

        def answer(case: Unread, clock: Clock) -> Tensors:
            batch = case.ask()["input"]
            with clock(run.network):
                return {"output": networks(run.network)(batch)}

        yield BenchTarget(name, answer, facts)


def _made_up(network: Network, size: int) -> Tensors:
    """Numbers over the network's input range: the time of an answer does not depend on what is asked."""
    draw = np.random.default_rng(0)
    return {"input": draw.uniform(*network.input_range, (size, *network.input_shape)).astype(np.float32)}
