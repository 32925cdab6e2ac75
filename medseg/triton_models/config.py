"""config.pbtxt of every model of a task's repository, as messages of Triton's own protobuf schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from medseg.task import Network, Pipeline, Step, Tensor
from medseg.triton_models.config_comments import commented
from medseg.triton_models.names import network_model, step_model
from medseg.triton_models.network import facts

_TYPES = {
    "bool": pb.TYPE_BOOL,
    "uint8": pb.TYPE_UINT8,
    "uint16": pb.TYPE_UINT16,
    "uint32": pb.TYPE_UINT32,
    "uint64": pb.TYPE_UINT64,
    "int8": pb.TYPE_INT8,
    "int16": pb.TYPE_INT16,
    "int32": pb.TYPE_INT32,
    "int64": pb.TYPE_INT64,
    "float16": pb.TYPE_FP16,
    "float32": pb.TYPE_FP32,
    "float64": pb.TYPE_FP64,
    "bytes": pb.TYPE_UINT8,  # framed, see medseg/data/byte_strings.py
}


@dataclass(frozen=True)
class Served:
    """One network as it is served: the exported file, the engine that opens it, and how it shares the cores."""

    network: Network
    file: str
    engine: str
    instances: int
    threads: int  # of each instance
    max_batch: int = 64  # a crop batch of the LUNA chain is 8; larger requests gain nothing on a CPU
    sha256: str = ""  # of the file, which may be opened again days later; "" accepts whatever is there then


def ensemble(task: str, pipeline: Pipeline) -> pb.ModelConfig:
    """The task itself: its steps joined by the pipeline's wires."""
    config = pb.ModelConfig(name=task, platform="ensemble", max_batch_size=0)
    config.version_policy.latest.num_versions = 1
    _boundary(config, pipeline, pipeline.inputs, pipeline.outputs)
    taken = {wire for step in pipeline.steps for wire in step.inputs} | set(pipeline.outputs)
    for step in pipeline.steps:
        part = config.ensemble_scheduling.step.add(model_version=-1)
        part.model_name = network_model(step.run) if isinstance(step.run, str) else step_model(task, step.name)
        ours = (("input",), ("output",)) if isinstance(step.run, str) else (step.inputs, step.outputs)
        part.input_map.update(zip(ours[0], step.inputs, strict=True))
        made = zip(ours[1], step.outputs, strict=True)
        part.output_map.update({name: wire for name, wire in made if wire in taken})
    return config


def step(
    task: str, pipeline: Pipeline, step: Step, networks: tuple[str, ...], extra: Mapping[str, str]
) -> pb.ModelConfig:
    """One step in plain Python; `networks` are those it may call, `extra` are further parameters that node.py reads.

    `maker` (module:function) makes another function, `arrays` is "torch" where tensors lie on a GPU and stay there,
    `networks_on` is "gpu" where the networks answer on one and the step does not take that.
    """
    config = _python_model(step_model(task, step.name), 0, 1)
    _boundary(config, pipeline, step.inputs, step.outputs)
    parameters(config, {"task": task, "step": step.name, "networks": ",".join(networks), **extra})
    return config


def network(served: Served) -> pb.ModelConfig:
    """One network in the engine that opens its file."""
    config = _python_model(network_model(served.network.name), served.max_batch, served.instances)
    network_boundary(config, served.network)
    opened = {"file": served.file, "engine": served.engine, "threads": str(served.threads)}
    parameters(config, facts(served.network) | opened | ({"sha256": served.sha256} if served.sha256 else {}))
    return config


def network_boundary(config: pb.ModelConfig, network: Network, batch: tuple[int, ...] = ()) -> None:
    """Add a network's `input` and `output`; `batch` is (-1,) where Triton is not told of the batch axis otherwise."""
    shape = [-1 if axis in network.free_axes else size for axis, size in enumerate(network.input_shape, 1)]
    answer = network.answer_shape((-1, *shape))[1:]
    config.input.add(name="input", data_type=pb.TYPE_FP32, dims=[*batch, *shape])
    config.output.add(name="output", data_type=pb.TYPE_FP32, dims=[*batch, *answer])


def text(config: pb.ModelConfig) -> str:
    """The file's text, with the reason above each setting.

    `max_batch_size: 0` is written out: if it is left out, Triton asks the model for the settings that the file does not
    give.
    """
    lines = text_format.MessageToString(config)
    return commented(lines if config.max_batch_size else lines + "max_batch_size: 0\n", config)


def _python_model(name: str, max_batch_size: int, instances: int) -> pb.ModelConfig:
    config = pb.ModelConfig(name=name, backend="python", max_batch_size=max_batch_size)
    config.version_policy.latest.num_versions = 1
    config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=instances)
    return config


def _boundary(config: pb.ModelConfig, pipeline: Pipeline, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    for wire in map(pipeline.tensor, inputs):
        optional = (
            wire.optional or wire.name in pipeline.inputs
        )  # Triton reports a missing one as a deadlock; the step names it
        config.input.add(name=wire.name, data_type=_TYPES[wire.dtype], dims=_dims(wire), optional=optional)
    for wire in map(pipeline.tensor, outputs):
        config.output.add(name=wire.name, data_type=_TYPES[wire.dtype], dims=_dims(wire))


def dtype_and_dims(wire: Tensor) -> tuple[pb.DataType, tuple[int, ...]]:
    """How a wire is declared, batch axis and all."""
    return _TYPES[wire.dtype], _dims(wire)


def _dims(wire: Tensor) -> tuple[int, ...]:
    return (-1,) if wire.dtype == "bytes" else wire.shape


def parameters(config: pb.ModelConfig, values: Mapping[str, str]) -> None:
    """Add parameters, which every backend reads as text."""
    for name, value in values.items():
        config.parameters[name].string_value = value
