"""What `medseg serve` writes: a task's repository for a target, from runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.engines.runs import made_by
from medseg.errors import InputError
from medseg.run import Run
from medseg.task import Task
from medseg.triton_models.native import Serialized
from medseg.triton_models.repository import Swapped, served, swapped, write
from medseg.triton_models.targets import engine_for, target_named


@dataclass(frozen=True)
class Wanted:
    """How a repository is to be: for which target, by which engine (None is the target's default) and decoder.

    `instances` of each network share out the cores; None is one a core.
    """

    target: str
    engine: str | None
    precision: str
    decoder: str
    instances: int | None = None


def write_repository(folder: Path, task: Task, runs: Sequence[Path], wanted: Wanted) -> list[str]:
    """Write the repository and return its models' names in loading order.

    Raises InputError for no runs, an unknown target, engine or decoder, or an unfit number of instances; RunError where
    a run lacks the file, or the runs' networks are not enough for an answer.
    """
    target = target_named(wanted.target)
    engine = engine_for(target, wanted.engine)
    if not runs:
        raise InputError("`medseg serve` got no --run; expected one for each of the task's networks")
    held = [Run(path) for path in runs]
    task = task.answered_by([run.network for run in held])
    networks = served(task, held, engine, wanted.precision, target, wanted.instances)
    steps = swapped(task, wanted.decoder)
    steps = _serialized(task, steps, target.device) if target.native else steps
    return write(folder, task, networks, steps, target, made_by(held, engine, wanted.precision))


def _serialized(task: Task, steps: Swapped, device: str) -> Swapped:
    """DALI's steps as serialized pipelines, for Triton's own backend."""
    if not steps:
        return steps
    from medseg.dali_pipelines.decode import DEFINITIONS, serialize

    return dict.fromkeys(steps, Serialized(serialize(task.name, device), DEFINITIONS[task.name].most))
