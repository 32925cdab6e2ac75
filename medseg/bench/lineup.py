"""Lineup: the targets of one benchmark: engines x precisions, in this process and on the embedded server."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medseg.bench.target import Target, local_target, served_target
from medseg.engines import ENGINES, open_engine
from medseg.errors import EngineError, RunError
from medseg.run import Run
from medseg.task import Infer, Networks, Task

WHERE = ("local", "served")


@dataclass(frozen=True)
class Opening:
    """A target's name and facts, and how to open it."""

    name: str
    facts: Mapping[str, Any]
    open: Callable[[], AbstractContextManager[Target]]


@dataclass(frozen=True)
class Entry:
    """One target before it is opened."""

    engine: str
    precision: str
    where: str  # local, or served by an embedded Triton

    @property
    def name(self) -> str:
        """What the report calls it."""
        return f"{self.engine} {self.precision}, {self.where}"


def entries(engines: Sequence[str], precisions: Sequence[str], where: Sequence[str]) -> list[Entry]:
    """Every combination. Raises EngineError for an unknown engine."""
    for engine in engines:
        if engine not in ENGINES:
            raise EngineError(f"engine {engine!r} is unknown; expected one of {', '.join(ENGINES)}")
    return [Entry(engine, precision, place) for engine in engines for precision in precisions for place in where]


def lineup(task: Task, runs: Sequence[Run], entries: Sequence[Entry]) -> list[Opening]:
    """How to open each entry: engines in this process, or a server that is started for it and stopped after it."""
    return [Opening(entry.name, asdict(entry), partial(_OPENERS[entry.where], entry, task, runs)) for entry in entries]


def remote(task: Task, url: str) -> Opening:
    """How to open a target on a server that somebody else started."""
    facts = {"where": "remote", "url": url}
    return Opening(url, facts, lambda: nullcontext(served_target(url, task, url, facts)))


def exported(run: Run, entry: Entry) -> Path:
    """The run's file for an engine in a precision. Raises RunError saying what the run holds."""
    suffix = ENGINES[entry.engine][3]
    for name, facts in run.files.items():
        if name.endswith(suffix) and facts.get("precision") == entry.precision:
            return run.path / name
    held = ", ".join(run.files) or "no files"
    wanted = f"{entry.precision} {suffix} file for {entry.engine}"
    raise RunError(f"run {run.path} has no {wanted}; it holds {held}: `medseg export` makes one")


@contextmanager
def _local(entry: Entry, task: Task, runs: Sequence[Run]) -> Iterator[Target]:
    with ExitStack() as stack:
        engines: dict[str, Infer] = {}
        for run in runs:
            engine = open_engine(entry.engine, exported(run, entry), streams=_cores())
            stack.callback(engine.close)
            engines[run.network] = engine
        yield local_target(entry.name, task.pipeline, _finder(engines), asdict(entry))


def _finder(engines: dict[str, Infer]) -> Networks:
    def find(name: str) -> Infer:
        if name not in engines:
            held = ", ".join(engines)
            raise RunError(f"network {name!r} is not among the runs; they hold {held}: give its --run too")
        return engines[name]

    return find


@contextmanager
def _served(entry: Entry, task: Task, runs: Sequence[Run]) -> Iterator[Target]:
    from medseg.triton_models.config import Served
    from medseg.triton_models.repository import write
    from medseg.triton_models.server import free_ports, serving

    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as folder:
        files = {run.network: str(exported(run, entry).resolve()) for run in runs}
        served = [Served(task.network(name), file, entry.engine, _cores(), 1) for name, file in files.items()]
        names = write(Path(folder) / "models", task, served)
        with serving(Path(folder) / "models", names, free_ports(), Path(folder) / "triton.log") as server:
            yield served_target(entry.name, task, server.url, asdict(entry), [server.process.pid])


_OPENERS = {"local": _local, "served": _served}


def _cores() -> int:
    return len(os.sched_getaffinity(0))
