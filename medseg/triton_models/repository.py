"""A task's model repository: one folder for each step and network, the ensemble on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tritonclient.grpc import model_config_pb2 as pb

from medseg.task import Task
from medseg.triton_models import config
from medseg.triton_models.config import Served

_NONE: Mapping[str, str] = MappingProxyType({})
# What takes a pipeline's `decode` step, by the name a user gives it: the step's own function, or DALI's decoder for it.
DECODERS: Mapping[str, Mapping[str, str]] = {
    "reference": _NONE,
    "dali": {"decode": "medseg.dali_pipelines.decode:Decoder"},
}
_MODEL = '''"""What this model does stands in config.pbtxt."""

from medseg.triton_models.node import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def models(task: Task, served: Sequence[Served], makers: Mapping[str, str]) -> list[pb.ModelConfig]:
    """The configurations of every model of a task's repository; the ensemble, which needs the others, comes last.

    `makers` names, for a step, the function that makes another one for it, as "module:function".
    """
    names = tuple(one.network.name for one in served)
    functions = [step for step in task.pipeline.steps if callable(step.run)]
    steps = [config.step(task.name, task.pipeline, step, names, makers.get(step.name)) for step in functions]
    return [*map(config.network, served), *steps, config.ensemble(task.name, task.pipeline)]


def write(folder: Path, task: Task, served: Sequence[Served], makers: Mapping[str, str] = _NONE) -> list[str]:
    """Write the repository into a folder and return its models' names, in the order in which they must be loaded."""
    configs = models(task, served, makers)
    for one in configs:
        version = folder / one.name / "1"
        version.mkdir(parents=True, exist_ok=True)
        (folder / one.name / "config.pbtxt").write_text(config.text(one))
        if one.backend == "python":
            (version / "model.py").write_text(_MODEL)
    return [one.name for one in configs]
