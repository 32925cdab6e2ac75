"""Runs as open engines: the file of each for an engine and a precision, and all of them as a pipeline's networks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.engines import Engine, kind_of, open_engine
from medseg.errors import RunError
from medseg.run import WEIGHTS, Run
from medseg.task import Infer, Networks


def exported_file(run: Run, engine: str, precision: str) -> Path:
    """The run's file for an engine in a precision. Raises RunError saying what the run holds."""
    kind = kind_of(engine)
    suffix, built = kind.suffix, f" --engine {engine}" if kind.builds else ""
    for name, facts in run.files.items():
        fits = name.endswith(suffix) and facts.get("engine", engine) == engine  # bf16.onnx is for OpenVINO alone
        if fits and facts.get("precision") == precision:
            return run.held(name)
    held = ", ".join(run.files) or "no files"
    lacks = f"run {run.path} has no {precision} {suffix} file for {engine}"
    raise RunError(f"{lacks}; it holds {held}: `medseg export{built}` makes one")


@contextmanager
def opened(runs: Sequence[Run], engine: str, precision: str) -> Iterator[Networks]:
    """The runs' networks, each open with one stream a core, closed at the end."""
    with ExitStack() as stack:
        engines: dict[str, Engine] = {}
        for run in runs:
            if run.network in engines:
                raise RunError(
                    f"run {run.path} holds {run.network}, like another of the runs; expected one run per network"
                )
            engines[run.network] = open_engine(engine, exported_file(run, engine, precision), streams=cores())
            stack.callback(engines[run.network].close)
        yield found_in(engines)


def made_by(runs: Sequence[Run], engine: str, precision: str) -> dict[str, Any]:
    """What made the answers of these runs: medseg's version, engine, precision, and each run's file and weights."""
    files = [(run, run.files[exported_file(run, engine, precision).name]) for run in runs]
    known = [
        {"network": run.network, "sha256": facts["sha256"], "weights_sha256": run.files.get(WEIGHTS, {}).get("sha256")}
        for run, facts in files
    ]
    return {"medseg": __version__, "engine": engine, "precision": precision, "runs": known}


def as_runs(runs: Iterable[Run | Path | str]) -> list[Run]:
    """The runs, those given by their folders opened. Raises RunError for what is no run."""
    return [run if isinstance(run, Run) else Run(run) for run in runs]


def lineups(runs: Sequence[Run], alone: bool = False) -> dict[str, list[Run]]:
    """The runs that answer together, by name: all, or each alone where they hold the same network or it is wanted."""
    networks = {run.network for run in runs}
    if len(runs) > 1 and (alone or len(networks) == 1):
        return {name: [run] for name, run in zip(_names(runs), runs, strict=True)}
    return {" + ".join(_names(runs)): list(runs)}


def found_in(engines: Mapping[str, Infer]) -> Networks:
    """Networks by name; RunError for one that is not there."""

    def find(name: str) -> Infer:
        if name not in engines:
            raise RunError(f"network {name!r} is not among the runs ({', '.join(engines)}): add its --run")
        return engines[name]

    return find


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def _names(runs: Sequence[Run]) -> list[str]:
    """The runs' folder names, or their whole paths where two folders have the same name."""
    short = [run.path.name for run in runs]
    return short if len(set(short)) == len(short) else [str(run.path) for run in runs]
