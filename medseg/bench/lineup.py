"""Lineup: the targets of one benchmark: engines x precisions, in this process and on the embedded server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from medseg.bench.measure.early_exit import early_exit
from medseg.bench.measure.target import At, BenchTarget, local_target, served_target
from medseg.bench.record import Facts
from medseg.engines import CPU_DEFAULT, ENGINES, kind_of
from medseg.engines.runs import cores, exported_file
from medseg.engines.runs import opened as runs_opened
from medseg.errors import InputError, RunError, unknown
from medseg.run import Run
from medseg.scratch import Scratch
from medseg.task import Task

WHERE = ("local", "served")


@dataclass(frozen=True)
class Opening:
    """A target's name and facts, and how to open it."""

    name: str
    facts: Facts
    open: Callable[[], AbstractContextManager[BenchTarget]]


@dataclass(frozen=True)
class Entry:
    """One target before it is opened."""

    engine: str
    precision: str
    where: str  # local, or served by an embedded Triton
    decoder: str = "dali"  # of a served target, as in `medseg serve`; local targets use the step's own function
    shared_memory: bool = False  # a served target's inputs lie in shared memory
    # Of three voters: the share of pixels on which two must differ for the third to be asked.
    early_exit: float | None = None
    instances: int | None = None  # of each network on a server, as in `medseg serve`

    @property
    def name(self) -> str:
        """What the report calls it."""
        decoder = ", reference decoder" if self.where == "served" and self.decoder != "dali" else ""
        memory = ", shared memory" if self.shared_memory else ""
        exits = "" if self.early_exit is None else f", early exit at {self.early_exit:g}"
        count = f", instances: {self.instances}" if self.instances else ""
        return f"{self.engine} {self.precision}, {self.where}{decoder}{memory}{exits}{count}"


def held(runs: Sequence[Run]) -> list[str]:
    """The precisions in which every run holds a file, fp32 first."""
    known = [dict.fromkeys(facts["precision"] for facts in run.files.values() if "precision" in facts) for run in runs]
    return sorted(set.intersection(*map(set, known)), key=lambda name: (-int("".join(filter(str.isdigit, name))), name))


def usual(runs: Sequence[Run], quick: bool) -> list[Entry]:
    """What is measured if nothing is chosen: the CPU's best engine in every precision that the runs hold.

    Each is served, and the first also runs here, to show the server's share. Without `quick`, all of them run here, and
    so do the other installed engines in the first precision.
    """
    precisions = held(runs)
    if not precisions:
        raise InputError(
            f"runs {', '.join(str(run.path) for run in runs)} hold no precision in common: `medseg export` makes one"
        )
    if quick:
        here = [Entry(CPU_DEFAULT, precisions[0], "local")]
        return here + entries([CPU_DEFAULT], precisions, ["served"])
    others = [name for name, kind in ENGINES.items() if not kind.builds and _usable(runs, name)]
    return entries([CPU_DEFAULT], precisions, WHERE) + entries(others, precisions[:1], ["local"])


def _usable(runs: Sequence[Run], engine: str) -> bool:
    """Whether an engine that is not the usual one is installed, and every run has a file for it."""
    suffix, package = ENGINES[engine].suffix, ENGINES[engine].package
    there = engine != CPU_DEFAULT and find_spec(package) is not None
    return there and all(any(name.endswith(suffix) for name in run.files) for run in runs)


def entries(engines: Sequence[str], precisions: Sequence[str], where: Sequence[str]) -> list[Entry]:
    """Every combination. Raises EngineError for an unknown engine, InputError for an unknown place."""
    for place in where:
        if place not in WHERE:
            raise InputError(unknown("place", place, WHERE))
    for engine in engines:
        kind_of(engine)
    return [Entry(engine, precision, place) for engine in engines for precision in precisions for place in where]


def files(runs: Sequence[Run], engines: Sequence[str], precisions: Sequence[str]) -> list[Entry]:
    """The files that every run holds for these engines, fp32 first, each opened in this process."""
    return [entry for entry in entries(engines, precisions, ["local"]) if is_held(runs, entry)]


def is_held(runs: Sequence[Run], entry: Entry) -> bool:
    """Whether every run holds the file that the entry opens."""
    try:
        return bool([exported_file(run, entry.engine, entry.precision) for run in runs])
    except RunError:
        return False


def ways_to_serve(task: Task, entry: Entry) -> list[Entry]:
    """An engine and precision on a server: by every decoder, and by 1, 2, 4 ... instances up to one a core."""
    most = cores()
    counts = [*(2**power for power in range(most.bit_length()) if 2**power < most), most]
    decoders = ("dali", "reference") if task.decoding else ("dali",)
    several = [(decoder, count) for decoder in decoders for count in counts]
    return [replace(entry, where="served", decoder=decoder, instances=count) for decoder, count in several]


def with_variants(entries: Sequence[Entry], shared_memory: bool, exit_at: float | None) -> list[Entry]:
    """The entries; a served one is followed by the same with shared memory, a local one by the same with early exit."""
    found: list[Entry] = []
    for entry in entries:
        found.append(entry)
        if shared_memory and entry.where == "served":
            found.append(replace(entry, shared_memory=True))
        if exit_at is not None and entry.where == "local":
            found.append(replace(entry, early_exit=exit_at))
    return found


def lineup(task: Task, runs: Sequence[Run], entries: Sequence[Entry], timeout_s: float) -> list[Opening]:
    """How to open each entry: engines in this process, or a server that is started for it and stopped after it."""
    openers = {"local": partial(_local, task, runs), "served": partial(_served, task, runs, timeout_s)}
    return [Opening(entry.name, asdict(entry), partial(openers[entry.where], entry)) for entry in entries]


def remote(task: Task, url: str, timeout_s: float) -> Opening:
    """How to open a target on a server that is already running."""
    facts = {"where": "remote", "url": url}
    return Opening(url, facts, lambda: _closing(served_target(url, task, At(url, timeout_s=timeout_s), facts)))


@contextmanager
def _local(task: Task, runs: Sequence[Run], entry: Entry) -> Iterator[BenchTarget]:
    pipeline = task.pipeline if entry.early_exit is None else early_exit(task.pipeline, entry.early_exit)
    with runs_opened(runs, entry.engine, entry.precision) as networks:
        yield local_target(entry.name, pipeline, networks, asdict(entry))


@contextmanager
def _closing(target: BenchTarget) -> Iterator[BenchTarget]:
    try:
        yield target
    finally:
        target.close()


@contextmanager
def _served(task: Task, runs: Sequence[Run], timeout_s: float, entry: Entry) -> Iterator[BenchTarget]:
    from medseg.api.serve import Repository, write_repository
    from medseg.triton_models.server import serving

    with Scratch("bench") as folder:
        how = Repository("embedded", entry.engine, entry.precision, entry.decoder, entry.instances)
        names = write_repository(Path(folder) / "models", task, [run.path for run in runs], how)
        with serving(Path(folder) / "models", names, Path(folder) / "triton.log") as server:
            at = At(server.url, [server.process.pid], timeout_s)
            with _closing(served_target(entry.name, task, at, asdict(entry))) as target:
                yield target
