"""Why each setting of a config.pbtxt is there: the comment above it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tritonclient.grpc import model_config_pb2 as pb

_THREADS = ("threads", "intra_op_thread_count", "INFERENCE_NUM_THREADS")  # of an instance, by each backend's name
_SETTING = re.compile(r"^(\w+)(?: \{|:)", re.MULTILINE)


def commented(text: str, config: pb.ModelConfig) -> str:
    """A configuration's text with a comment line above the first line of each setting that needs a reason."""
    reasons = dict(_reasons(config))
    return _SETTING.sub(
        lambda line: f"# {reason}\n{line[0]}" if (reason := reasons.pop(line[1], "")) else line[0], text
    )


def _reasons(config: pb.ModelConfig) -> Mapping[str, str]:
    return {
        "version_policy": "one version: a change replaces the whole repository, two versions never run together",
        "max_batch_size": _batch(config),
        "instance_group": _instances(config),
        "dynamic_batching": "a GPU answers a batch in little more time than one request; no request waits for others",
        "model_warmup": "the first inference, which loads kernels and allocates memory, is made before users can ask",
        "default_model_filename": "without it this backend looks for OpenVINO's own format",
        "parameters": _parameters(config),
    }


def _batch(config: pb.ModelConfig) -> str:
    if config.max_batch_size:
        return "the largest batch of one call: larger ones are not faster, or the file was not built for them"
    if config.backend == "openvino":
        return "the batch axis is part of the tensor: with a batch size set, this backend takes only full batches"
    return "a request is one picture or one volume with its own size, so Triton cannot batch requests"


def _instances(config: pb.ModelConfig) -> str:
    if config.backend == "dali":
        return "one: each instance has its own decoders and buffers"
    if config.instance_group[:1] and config.instance_group[0].kind == pb.ModelInstanceGroup.KIND_GPU:
        return "one: a second instance would load the weights again and wait for the same GPU"
    if config.max_batch_size or config.backend == "openvino":
        threads = [config.parameters[name].string_value for name in _THREADS if name in config.parameters]
        if threads != ["1"]:
            return "as chosen by --instances; they share the cores: single requests are faster, but fewer are "
            "answered at "
            "the same time"
        return "one per core, with one thread each: every request gets a core, and threads do not compete"
    return "one: a step takes little time compared with the networks, and each process needs its own memory"


def _parameters(config: pb.ModelConfig) -> str:
    if config.backend == "python":
        read = "read by medseg/triton_models/node.py: the step or the file of this model"
        return read + ("; inputs stay on their GPU" if "FORCE_CPU_ONLY_INPUT_TENSORS" in config.parameters else "")
    if config.platform == "ensemble":
        return "what the answers are made by: clients write it into their files"
    return "without these, every instance would start a thread for every core, and the threads would compete"
