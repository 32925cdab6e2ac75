"""config.pbtxt for Triton's own backends, as in NVIDIA's container images: their files are in the repository.

The wheel's server does not have these backends. So this was checked against Triton's schema and their documentation,
but not run.
"""

from __future__ import annotations

from dataclasses import dataclass

from tritonclient.grpc import model_config_pb2 as pb

from medseg.engines import ENGINES
from medseg.task import Pipeline, Step
from medseg.triton_models.config import Served, dtype_and_dims, network_boundary, parameters
from medseg.triton_models.names import network_model, step_model


def file_of(backend: str) -> str:
    """The name of a model's file in its version's folder."""
    return "model.dali" if backend == "dali" else f"model{ENGINES[backend].suffix}"


@dataclass(frozen=True)
class Serialized:
    """A step as a serialized DALI pipeline, and the most pictures that one request of it holds."""

    pipeline: bytes
    most: int


def network(served: Served) -> pb.ModelConfig:
    """One network in the backend of its engine's name."""
    return {"onnxruntime": _onnxruntime, "openvino": _openvino, "tensorrt": _tensorrt}[served.engine](served)


def step(task: str, pipeline: Pipeline, step: Step, serialized: Serialized, device: str) -> pb.ModelConfig:
    """One step in the `dali` backend: its pictures are the batch.

    No dynamic batching: DALI fails a whole batch for one damaged picture, and here a batch is one request. No warm-up:
    zeros are not a picture. config_comments.py gives the reasons for the settings that are used.
    """
    config = _model(step_model(task, step.name), "dali", serialized.most)
    config.instance_group.add(kind=_kind(device), count=1)
    for ours, names in ((config.input, step.inputs), (config.output, step.outputs)):
        for wire in map(pipeline.tensor, names):
            dtype, dims = dtype_and_dims(wire)
            ours.add(name=wire.name, data_type=dtype, dims=dims[1:])
    return config


def _onnxruntime(served: Served) -> pb.ModelConfig:
    """No dynamic batching: on a CPU it gained nothing, and a single request had to wait."""
    config = _model(network_model(served.network.name), "onnxruntime", served.max_batch)
    network_boundary(config, served.network)
    config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=served.instances)
    parameters(config, {"intra_op_thread_count": str(served.threads)})
    return config


def _openvino(served: Served) -> pb.ModelConfig:
    """No batch size: config_comments.py gives the reason."""
    config = _model(network_model(served.network.name), "openvino", 0)
    network_boundary(config, served.network, (-1,))
    config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=served.instances)
    config.default_model_filename = file_of("openvino")
    parameters(config, {"INFERENCE_NUM_THREADS": str(served.threads), "NUM_STREAMS": "1"})
    return config


def _tensorrt(served: Served) -> pb.ModelConfig:
    """A plan for one GPU, which takes batches up to the largest that it was built for."""
    config = _model(network_model(served.network.name), "tensorrt", served.max_batch)
    network_boundary(config, served.network)
    config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_GPU, count=served.instances)
    config.dynamic_batching.SetInParent()
    warm = config.model_warmup.add(name="zeros", batch_size=1)
    warm.inputs["input"].data_type = pb.TYPE_FP32
    warm.inputs["input"].dims.extend(served.network.input_shape)
    warm.inputs["input"].zero_data = True
    return config


def _model(name: str, backend: str, max_batch_size: int) -> pb.ModelConfig:
    config = pb.ModelConfig(name=name, backend=backend, max_batch_size=max_batch_size)
    config.version_policy.latest.num_versions = 1
    return config


def _kind(device: str) -> pb.ModelInstanceGroup.Kind:
    return pb.ModelInstanceGroup.KIND_GPU if device == "gpu" else pb.ModelInstanceGroup.KIND_CPU
