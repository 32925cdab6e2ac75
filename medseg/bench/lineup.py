"""Lineup: the targets of one benchmark: engines x precisions, in this process and on the embedded server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medseg.bench.target import Target, local_target, served_target
from medseg.engines import ENGINES
from medseg.engines.runs import cores, exported_file
from medseg.engines.runs import opened as runs_opened
from medseg.errors import EngineError, InputError
from medseg.run import Run
from medseg.task import Task

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


def held(runs: Sequence[Run]) -> list[str]:
    """The precisions in which every run holds a file, fp32 first."""
    known = [dict.fromkeys(facts["precision"] for facts in run.files.values() if "precision" in facts) for run in runs]
    return sorted(set.intersection(*map(set, known)), key=lambda name: (-int("".join(filter(str.isdigit, name))), name))


def entries(engines: Sequence[str], precisions: Sequence[str], where: Sequence[str]) -> list[Entry]:
    """Every combination. Raises EngineError for an unknown engine, InputError for an unknown place."""
    for place in where:
        if place not in WHERE:
            raise InputError(f"place {place!r} is unknown; expected one of {', '.join(WHERE)}")
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


@contextmanager
def _local(entry: Entry, task: Task, runs: Sequence[Run]) -> Iterator[Target]:
    with runs_opened(runs, entry.engine, entry.precision) as networks:
        yield local_target(entry.name, task.pipeline, networks, asdict(entry))


@contextmanager
def _served(entry: Entry, task: Task, runs: Sequence[Run]) -> Iterator[Target]:
    from medseg.triton_models.config import Served
    from medseg.triton_models.repository import write
    from medseg.triton_models.server import free_ports, serving

    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as folder:
        files = {run.network: str(exported_file(run, entry.engine, entry.precision).resolve()) for run in runs}
        served = [Served(task.network(name), file, entry.engine, cores(), 1) for name, file in files.items()]
        names = write(Path(folder) / "models", task, served)
        with serving(Path(folder) / "models", names, free_ports(), Path(folder) / "triton.log") as server:
            yield served_target(entry.name, task, server.url, asdict(entry), [server.process.pid])


_OPENERS = {"local": _local, "served": _served}
