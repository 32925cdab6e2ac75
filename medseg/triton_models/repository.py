"""A task's model repository: one folder for each step and network, the ensemble on top."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from medseg.engines.runs import cores, exported_file
from medseg.engines.triton import DESCRIPTIONS, MADE_BY, VERSION
from medseg.errors import InputError
from medseg.files import sha256
from medseg.run import Run
from medseg.task import Network, Step, Task
from medseg.triton_models import config, native
from medseg.triton_models.config import Served
from medseg.triton_models.names import description_names, network_model, step_model
from medseg.triton_models.targets import EMBEDDED, Target

# What replaces a step: a function that makes another step, as "module:function", or a DALI pipeline.
Swapped = Mapping[str, str | native.Serialized]
_NONE: Swapped = MappingProxyType({})
# What decodes, by the name a user gives: the steps' own functions, or what makes others from their Decode records.
DECODERS = {"reference": "", "dali": "medseg.dali_pipelines.decode:Decoder"}
_MODEL = '''"""config.pbtxt says what this model does."""

from medseg.triton_models.node import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def served(
    task: Task,
    runs: Sequence[Run],
    engine: str,
    precision: str,
    target: Target = EMBEDDED,
    instances: int | None = None,
) -> list[Served]:
    """How each run's network is served: on CPUs by this many instances, one per core by default.

    Raises RunError where a run lacks the engine's file of this precision, InputError for more instances than cores, or
    several on a GPU.
    """
    most = cores() if target.device == "cpu" else 1
    if instances is not None and not 1 <= instances <= most:
        expected = (
            f"1 to {most}, the cores of this machine"
            if target.device == "cpu"
            else "1, because a GPU has no room for a second"
        )
        raise InputError(f"--instances is {instances}; expected {expected}")
    return [_served(task.network(run.network), run, engine, precision, target, instances or most) for run in runs]


def swapped(task: Task, decoder: str) -> Swapped:
    """What takes the place of the task's steps, for a decoder's name. Raises InputError listing the names."""
    if decoder not in DECODERS:
        raise InputError(f"--decoder is {decoder!r}; expected one of {', '.join(DECODERS)}")
    maker = DECODERS[decoder]
    return dict.fromkeys(task.decoding, maker) if maker else _NONE


def _served(network: Network, run: Run, engine: str, precision: str, target: Target, instances: int) -> Served:
    if target.native and precision == "bf16":
        raise InputError(
            f"target {target.name!r} has no bf16, because Triton's own backends do not support it: choose embedded"
        )
    file = exported_file(run, engine, precision).resolve()
    if target.device == "cpu":
        return Served(network, str(file), engine, instances, cores() // instances, sha256=_sha256(run, file))
    largest = run.files[file.name]["target"]["batches"][2]  # of the plan's optimization profile
    return Served(network, str(file), engine, instances, 1, largest, _sha256(run, file))


def _sha256(run: Run, file: Path) -> str:
    """The sha256 of a run's file: the recorded one, which was checked; if it was not checked, the file's own."""
    return run.files[file.name]["sha256"] if run.verify else sha256(file)


def models(task: Task, served: Sequence[Served], swapped: Swapped, target: Target) -> list[pb.ModelConfig]:
    """The configurations of every model of a task's repository; the ensemble, which needs the others, comes last."""
    names = tuple(one.network.name for one in served)
    networks = map(native.network if target.native else config.network, served)
    steps = [
        native.step(task.name, task.pipeline, step, other, target.device)
        if isinstance(other := swapped.get(step.name), native.Serialized)
        else config.step(task.name, task.pipeline, step, names, _extra(step, other, target))
        for step in task.pipeline.steps
        if callable(step.run)
    ]
    return [*networks, *steps, config.ensemble(task.name, task.pipeline)]


def _extra(step: Step, maker: str | None, target: Target) -> dict[str, str]:
    """Further parameters of a step's model: what makes its function, and on a GPU server where its tensors lie.

    If its function accepts GPU tensors, Triton's own parameter leaves the inputs on the GPU.
    """
    made = {"maker": maker} if maker else {}
    if target.device == "cpu":
        return made
    if step.takes_torch:
        return made | {"arrays": "torch", "FORCE_CPU_ONLY_INPUT_TENSORS": "no"}
    return made | {"networks_on": "gpu"}


def write(
    folder: Path,
    task: Task,
    served: Sequence[Served],
    swapped: Swapped = _NONE,
    target: Target = EMBEDDED,
    made_by: Mapping[str, Any] = MappingProxyType({}),
) -> list[str]:
    """Write the repository into a folder and return its models' names, in the order in which they must be loaded.

    The ensemble's parameters say what its answers are made by, for the files that clients write.
    """
    files = {network_model(one.network.name): Path(one.file) for one in served}
    pipelines = {step_model(task.name, name): other for name, other in swapped.items()}
    configs = models(task, served, swapped, target)
    config.parameters(configs[-1], {MADE_BY: json.dumps(dict(made_by))} if made_by else {})
    config.parameters(configs[-1], {DESCRIPTIONS: json.dumps(task.descriptions)} if task.descriptions else {})
    for one in configs:
        version = folder / one.name / VERSION
        version.mkdir(parents=True, exist_ok=True)
        (folder / one.name / "config.pbtxt").write_text(config.text(one))
        if one.backend == "python":
            (version / "model.py").write_text(_MODEL)
            for name, text in zip(description_names(len(task.descriptions)), task.descriptions, strict=True):
                (version / name).write_text(text)
        elif one.name in files:
            shutil.copyfile(files[one.name], version / native.file_of(one.backend))
        elif isinstance(other := pipelines.get(one.name), native.Serialized):
            (version / native.file_of(one.backend)).write_bytes(other.pipeline)
    return [one.name for one in configs]
