"""A task's model repository for a target, from runs, and the embedded Triton server on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medseg.engines.runs import as_runs, made_by
from medseg.errors import InputError
from medseg.run import Run
from medseg.scratch import Scratch
from medseg.task import Task
from medseg.tasks import task_as, task_named
from medseg.triton_models.access import Access
from medseg.triton_models.native import Serialized
from medseg.triton_models.repository import Swapped, served, swapped, write
from medseg.triton_models.server import ANY, LOCAL, Ports, Server, serving
from medseg.triton_models.targets import engine_for, target_named
from medseg.triton_models.wheel import wheel


@dataclass(frozen=True)
class Repository:
    """What a repository is for: the target, the engine (None is the target's default) and the decoder.

    `instances` of each network share the cores; None is one per core.
    """

    target: str = "embedded"
    engine: str | None = None
    precision: str = "fp32"
    decoder: str = "dali"
    instances: int | None = None


EMBEDDED = Repository()


@contextmanager
def serve(
    task: str,
    runs: Sequence[Run | Path | str],
    repository: Repository = EMBEDDED,
    ports: Ports = ANY,
    log: Path | str = "triton.log",
    access: Access = LOCAL,
) -> Iterator[Server]:
    """The task's ensemble on a Triton server of this machine, ready at `.url`; stopped when the block is left.

    `medseg.triton_models.watch.watch(server, tell)`, which blocks, restarts what dies in the meantime. Without `ports`,
    free ones are taken. Raises InputError for a target that is not served here, ServerError where it does not start.

    >>> import medseg
    >>> with medseg.serve("luna", ["runs/luna-segment", "runs/luna-nodule"]) as server:
    ...     (answer,) = medseg.predict("luna", "ct.mhd", url=server.url)
    >>> answer.request.made_by["served"]["engine"]
    'openvino'
    """
    if repository.target != "embedded":
        raise InputError(
            f"--target {repository.target} is served by NVIDIA's container image, not here: add --write-only DIR "
            "(see deploy/)"
        )
    wheel()  # a missing server is reported before anything is read
    with Scratch("repository") as folder:
        names = write_repository(Path(folder), task_named(task), runs, repository)
        with serving(Path(folder), names, Path(log), ports, access) as server:
            yield server


def write_repository(folder: Path, task: Task, runs: Sequence[Run | Path | str], wanted: Repository) -> list[str]:
    """Write the repository and return its models' names in loading order.

    Raises InputError for no runs, an unknown target, engine or decoder, or an unfit number of instances; RunError where
    a run lacks the file, or the runs' networks are not enough for an answer.
    """
    target = target_named(wanted.target)
    engine = engine_for(target, wanted.engine)
    if not runs:
        raise InputError("`medseg serve` got no --run; expected one for each of the task's networks")
    held = as_runs(runs)
    task = task_as(task.name, held)
    networks = served(task, held, engine, wanted.precision, target, wanted.instances)
    steps = swapped(task, wanted.decoder)
    steps = _serialized(task, steps, target.device) if target.native else steps
    return write(folder, task, networks, steps, target, made_by(held, engine, wanted.precision))


def _serialized(task: Task, steps: Swapped, device: str) -> Swapped:
    """DALI's steps as serialized pipelines, for Triton's own backend."""
    if not steps:
        return steps
    from medseg.dali_pipelines.decode import serialize

    decoding = task.decoding
    return {name: Serialized(serialize(decoding[name], device), decoding[name].most) for name in steps}
