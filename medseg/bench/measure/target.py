"""BenchTarget: something that answers requests and can be measured, in this process or behind a URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import thread_time
from typing import Any

from medseg.bench.measure.clock import Clock, timed_pipeline
from medseg.bench.record import Facts
from medseg.task import Networks, Pipeline, Task, Tensors, Unread

SERVER = "server"  # the stage of a remote request that the server's own statistics break down further
INPUTS = "inference_count"  # how many inputs a model was given, whatever the batches they came in
_GRACE_S = 1.0  # the client gives up this much later than the measurement, so that it counts as a timeout

Statistics = Mapping[str, Mapping[str, Any]]  # model -> Triton's inference_stats, and its inference_count


@dataclass(frozen=True)
class BenchTarget:
    """A named way to answer, with what it is made of and, for a server, its own statistics."""

    name: str
    answer: Callable[[Unread, Clock], Tensors]
    facts: Facts = field(default_factory=dict)  # engine, precision, where
    statistics: Callable[[], Statistics] | None = None
    ping: Callable[[], None] | None = None  # an empty request, over the same connection
    pids: Sequence[int] = ()  # processes besides this one whose memory belongs to this target
    close: Callable[[], None] = lambda: None


def local_target(name: str, pipeline: Pipeline, networks: Networks, facts: Facts) -> BenchTarget:
    """A target that runs the pipeline in this process."""

    def answer(case: Unread, clock: Clock) -> Tensors:
        with clock("read"):
            tensors = case.ask()
        return timed_pipeline(pipeline, clock)(tensors, networks)

    return BenchTarget(name, answer, {"where": "local", **facts})


@dataclass(frozen=True)
class At:
    """Where a server is: its address, its processes here, and how long a call to it may take."""

    url: str
    pids: Sequence[int] = ()
    timeout_s: float = 600.0


def served_target(name: str, task: Task, at: At, facts: Facts) -> BenchTarget:
    """A target that asks the task's ensemble on a Triton server; through shared memory where the facts say so."""
    from medseg.engines.clients import Clients
    from medseg.engines.triton import served_pipeline  # here, so that local benchmarks need no client

    shared, timeout_s = bool(facts.get("shared_memory")), at.timeout_s + _GRACE_S
    clients = Clients(lambda: served_pipeline(at.url, task, shared, timeout_s))

    def answer(case: Unread, clock: Clock) -> Tensors:
        with clock("read"):
            tensors = case.ask()
        one, start_s = clients.mine(), thread_time()
        with clock(SERVER):
            found = one.ask(tensors, _outputs(task, tensors))
        clock.client_s = thread_time() - start_s
        return found

    def statistics() -> Statistics:
        entries = clients.mine().statistics()["model_stats"]
        given = {entry["name"]: {INPUTS: entry.get("inference_count", 0)} for entry in entries}
        return {entry["name"]: entry["inference_stats"] | given[entry["name"]] for entry in entries}

    known = {"where": "served", **facts}
    return BenchTarget(name, answer, known, statistics, lambda: clients.mine().ping(), at.pids, clients.close)


def _outputs(task: Task, tensors: Tensors) -> tuple[str, ...]:
    """The outputs that a request wants; all of them if it does not say."""
    wanted = tensors.get("wanted")
    return task.pipeline.outputs if wanted is None else tuple(name.decode() for name in wanted)
