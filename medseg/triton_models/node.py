"""A step or a network as a Triton python model: the only file that knows `triton_python_backend_utils`.

Triton's python backend imports a model.py that holds nothing but the import of TritonPythonModel from here. What the
model is stands in its config.pbtxt, as parameters: `task` and `step`, or `network`, `file` and `engine` (see
config.py). A step's function may be made elsewhere: `maker` names what makes it of the step's Decode record, as DALI's
decoders do.
"""

from __future__ import annotations

import ctypes
import json
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from array_api_compat import is_torch_array

from medseg.data.byte_strings import framed, unframed
from medseg.data.numpy_or_torch import host
from medseg.errors import InputError, MedsegError, RunError, ServerError
from medseg.extras import needed
from medseg.task import Array, Infer, Network, Networks, Pipeline, Tensor, Tensors, refuse_unsound, run_step
from medseg.tasks import task_named
from medseg.tasks.streaming import cancellable
from medseg.tensor import check_bounds
from medseg.triton_models.cancelled import is_marked
from medseg.triton_models.heap import keep, settle
from medseg.triton_models.names import descriptions, network_model
from medseg.triton_models.network import opened
from medseg.triton_models.pulse import start_beating

_USED = b"used_dltensor"  # what DLPack calls a capsule whose tensor has a new owner; must outlive every capsule
_rename_capsule = ctypes.pythonapi.PyCapsule_SetName
_rename_capsule.argtypes = [ctypes.py_object, ctypes.c_char_p]

Answer = Tensors | Any  # a request's: tensors, or pb_utils.TritonError
Asked = tuple[Tensors, Callable[[], bool]]  # a request's tensors, and whether it was cancelled
Work = Callable[[list[Asked]], list[Answer]]
ArrayOf = Callable[[Any], Any]  # pb_utils.Tensor -> a view of it


class TritonPythonModel:
    """What Triton's python backend calls: every request of a batch gets its own answer or its own error."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the model's configuration and open what it names."""
        start_beating()
        keep()
        config = json.loads(args["model_config"])
        parameters = {name: entry["string_value"] for name, entry in config["parameters"].items()}
        self._outputs = [output["name"] for output in config["output"]]
        self._array = _array_of(parameters)
        with needed():
            if "engine" in parameters:
                self._work = _network(parameters, config["input"][0]["dims"])
            else:
                texts = descriptions(Path(args["model_repository"]) / args["model_version"])
                self._work = _step(parameters, texts, self._array)
        settle()

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, in order."""
        asked = [self._asked(request) for request in requests]
        pairs = zip(requests, self._work(asked), strict=True)
        return [self._response(set(request.requested_output_names()), answer) for request, answer in pairs]

    def _asked(self, request: Any) -> Asked:
        return {tensor.name(): self._array(tensor) for tensor in request.inputs()}, partial(_is_left, request)

    def _response(self, wanted: set[str], answer: Answer) -> Any:
        if isinstance(answer, pb_utils.TritonError):
            return pb_utils.InferenceResponse(output_tensors=[], error=answer)
        names = [name for name in self._outputs if name in answer and (not wanted or name in wanted)]
        return pb_utils.InferenceResponse([_tensor(name, answer[name]) for name in names])


def _is_left(request: Any) -> bool:
    """Whether the request was cancelled."""
    return bool(request.is_cancelled()) or is_marked(request.request_id())


def _step(parameters: dict[str, str], texts: list[str], array: ArrayOf) -> Work:
    """One step of a task's pipeline; the networks it asks for are models of the same server."""
    names = tuple(name for name in parameters["networks"].split(",") if name)
    task = task_named(parameters["task"])
    if task.described:
        task = task.described(texts)
    elif names:
        task = task.answered_by(names)
    step = next(step for step in task.pipeline.steps if step.name == parameters["step"])
    if "maker" in parameters:
        module, maker = parameters["maker"].split(":")
        step = replace(step, run=getattr(import_module(module), maker)(task.decoding[step.name]))
    networks = task.pipeline.sound(_networks(names, array, parameters.get("networks_on") == "gpu"))
    answered = _answered_by(task.pipeline)
    framing = {tensor.name for tensor in task.pipeline.tensors if tensor.dtype == "bytes"}

    def answer(tensors: Tensors, cancelled: Callable[[], bool]) -> Tensors:
        if cancelled():
            raise CancelledError
        known = {name: unframed(host(array), name) if name in framing else array for name, array in tensors.items()}
        task.pipeline.check(step, known)
        for name, network in answered.items():
            if name in known:  # if one of Triton's own backends opened the network, its answers are not checked yet
                refuse_unsound(network, network.asked_shape(known[name].shape), known[name])
        made = run_step(step, known, cancellable(networks, cancelled))
        return {name: framed(array) if name in framing else array for name, array in made.items()}

    return lambda requests: [_tried(partial(answer, *asked)) for asked in requests]


def _answered_by(pipeline: Pipeline) -> dict[str, Network]:
    """The wires that hold a network's answer as it is."""
    known = {network.name: network for network in pipeline.networks}
    return {step.outputs[0]: known[step.run] for step in pipeline.steps if step.run in known}


def _network(parameters: dict[str, str], dims: list[int]) -> Work:
    """One exported file, open in its engine; requests of one shape are answered as one batch."""
    engine = opened(parameters)
    wires = (Tensor("input", "float32", (-1, *dims)),)

    def fitting(tensors: Tensors, cancelled: Callable[[], bool]) -> Tensors:
        check_bounds(tensors, wires)
        if cancelled():
            raise CancelledError
        return {}

    def work(requests: list[Asked]) -> list[Answer]:
        answers = [_tried(partial(fitting, *asked)) for asked in requests]
        alike = defaultdict(list)
        for index, (tensors, _) in enumerate(requests):
            if not isinstance(answers[index], pb_utils.TritonError):
                alike[tensors["input"].shape[1:]].append(index)
        for indices in alike.values():
            for index, answer in zip(
                indices, _batched(engine, [requests[i][0]["input"] for i in indices]), strict=True
            ):
                answers[index] = answer
        return answers

    return work


def _batched(engine: Infer, inputs: list[Array]) -> list[Answer]:
    """The answers to several inputs of one shape, computed as one batch; alone where there is only one."""
    batch = inputs[0] if len(inputs) == 1 else np.concatenate(inputs)
    outcome = _tried(lambda: {"output": engine(batch)})
    if isinstance(outcome, pb_utils.TritonError):
        return [outcome] * len(inputs)
    parts = np.split(outcome["output"], np.cumsum([len(one) for one in inputs])[:-1])
    return [{"output": part} for part in parts]


def _tried(work: Callable[[], Tensors]) -> Answer:
    """What `work` returns, or its error as the client reads it: it belongs to its own request, not to the whole batch.

    The exception is not kept. Its traceback holds the frames, which hold the tensors and the list of answers that it
    would be in: a cycle. Until that were collected, the request's part of the shared memory would not be free.
    """
    try:
        return work()
    except Exception as error:
        return _refusal(error)


def _networks(names: tuple[str, ...], array: ArrayOf, to_host: bool) -> Networks:
    """The networks that other models of this server are; RunError for one that is not served.

    A numpy step asks for what a GPU answers in host memory. Only there: on a CPU server the preference changes nothing,
    but keeps an unloaded network's processes alive (server 2.51).
    """
    options = {"preferred_memory": pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0)} if to_host else {}

    def find(name: str) -> Infer:
        if name not in names:
            raise RunError(f"network {name!r} is not served here; expected one of {', '.join(names)}")
        return lambda batch: array(_ask(network_model(name), batch, options))

    return find


def _ask(model: str, batch: Array, options: dict[str, Any]) -> Any:
    inputs = [_tensor("input", batch)]
    request = pb_utils.InferenceRequest(model_name=model, requested_output_names=["output"], inputs=inputs, **options)
    response = request.exec()
    if response.has_error():
        raise ServerError(f"network {model!r} did not answer: {response.error().message()}")
    return pb_utils.get_output_tensor_by_name(response, "output")


def _array_of(parameters: dict[str, str]) -> ArrayOf:
    """What makes a view of a tensor: numpy's, or torch's on the device where the tensor lies.

    Through DLPack: the stub was built for numpy 1, its `as_numpy` is wrong under numpy 2.
    """
    if parameters.get("arrays") != "torch":
        return _on_host
    from torch.utils.dlpack import from_dlpack

    return from_dlpack


def _on_host(tensor: Any) -> Array:
    """A view of a tensor as numpy's; a copy if it came on a GPU: the preferred memory is not always used."""
    if tensor.is_cpu():
        return np.from_dlpack(tensor)
    from torch.utils.dlpack import from_dlpack

    return from_dlpack(tensor).numpy(force=True)


def _tensor(name: str, array: Any) -> Any:
    """A tensor that shares the memory of an array, numpy's or torch's.

    torch's is handed over as it is: of a bare capsule the stub could not know the stream on which its numbers are still
    being computed. It compares strides to the letter, also on axes of length 0 and 1, where numpy leaves them open;
    reshaping sets them. It also renames the capsule to something else than the protocol says, of which numpy would
    print a traceback into the log for every tensor: the right name is set again.
    """
    if is_torch_array(array):
        return pb_utils.Tensor.from_dlpack(name, array.contiguous().reshape(-1).reshape(array.shape))
    whole = np.require(array, requirements=("C", "W"))
    capsule = whole.reshape(-1).reshape(array.shape).__dlpack__()
    tensor = pb_utils.Tensor.from_dlpack(name, capsule)
    _rename_capsule(capsule, _USED)
    return tensor


def _refusal(error: Exception) -> Any:
    """The error as its client reads it: a user's mistake in its own words, a bug without the server's paths."""
    if isinstance(error, InputError):
        return pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
    if isinstance(error, CancelledError):
        return pb_utils.TritonError("the request was cancelled by its client", pb_utils.TritonError.CANCELLED)
    if isinstance(error, MedsegError):
        return pb_utils.TritonError(str(error), pb_utils.TritonError.UNAVAILABLE)
    pb_utils.Logger.log_error(f"{type(error).__name__}: {error}")
    message = f"internal error ({type(error).__name__}): the server's log has more"
    return pb_utils.TritonError(message, pb_utils.TritonError.INTERNAL)
