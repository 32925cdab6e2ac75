"""Inference as plain records: Network, Step and Pipeline, and what is refused as an answer. Needs numpy alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medseg.errors import EngineError, InputError
from medseg.tensor import Array, Tensor, Tensors, check_bounds

Infer = Callable[[Array], Array]  # (n, *input_shape) float32 -> (n, *output_shape) float32
Networks = Callable[[str], Infer]  # a network by its name: a local engine, a remote model, or a call inside Triton


@dataclass(frozen=True)
class Recipe:
    """The numbers of one training run; each can be overridden on the command line."""

    epochs: int
    batch_size: int
    lr: float
    optimizer: str = "adam"
    loss: str = "dice"
    weight_decay: float = 0.0
    schedule: str = "constant"
    momentum: float = 0.9  # of sgd alone
    precision: str = "32-true"
    seed: int = 0


@dataclass(frozen=True)
class Network:
    """One neural network: one tensor `input`, one tensor `output`, both float32 with a free batch axis first."""

    name: str
    input_shape: tuple[int, ...]  # without the batch axis, at the size it was trained for
    output_shape: tuple[int, ...]
    classes: tuple[str, ...]
    recipe: Recipe
    build: Callable[..., Any]  # (**options) -> torch.nn.Module in the form that is exported
    options: Mapping[str, Any] = field(default_factory=dict)  # defaults of build, recorded in the run
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of options that are words: what they may be
    free_axes: Mapping[int, int] = field(default_factory=dict)  # input axis (batch is 0) -> its sizes' common multiple
    keys: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None  # a published checkpoint's state -> ours
    unused: tuple[str, ...] = ()  # how keys of a checkpoint begin that the answer does not need; they are left out
    input_range: tuple[float, float] = (0.0, 1.0)  # of the values it is fed, e.g. HU; written into exported files
    activation: str = "sigmoid"  # what makes masks of its logits: each class for itself, or by "softmax" one a pixel
    threshold: float = 0.5  # of sigmoid: the probability above which a pixel is the class's
    folds: int = 1  # of one network in one file, whose logits lie one behind the other
    described_by: str = ""  # the text of the description that it was made of; "" of a task's own network

    def asked_shape(self, answer: Sequence[int]) -> tuple[int, ...]:
        """The shape of the batch to which this is the answer's shape; see `answer_shape`."""
        alike = len(self.input_shape) == len(self.output_shape)
        pairs = enumerate(self.input_shape, 1)
        return answer[0], *(answer[axis] if alike and axis in self.free_axes else size for axis, size in pairs)

    def answer_shape(self, batch: Sequence[int]) -> tuple[int, ...]:
        """The shape of its answer to a batch of this shape: a free axis keeps its size where both have as many axes."""
        alike = len(self.input_shape) == len(self.output_shape)
        pairs = enumerate(self.output_shape, 1)
        return batch[0], *(batch[axis] if alike and axis in self.free_axes else size for axis, size in pairs)


@dataclass(frozen=True)
class Step:
    """One step of a pipeline: a network by its name, or a plain function of the tensors it names."""

    name: str
    run: str | Callable[[Tensors, Networks], Tensors]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    takes_torch: bool = False  # the function takes torch's tensors too, on any device (medseg/data/numpy_or_torch.py)


@dataclass(frozen=True)
class Pipeline:
    """A task's inference: named steps over named tensors. It runs as it is; written out, it is a Triton ensemble."""

    tensors: tuple[Tensor, ...]  # every wire
    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    networks: tuple[Network, ...] = ()  # that its steps ask

    def __call__(self, tensors: Tensors, networks: Networks) -> Tensors:
        """The pipeline's outputs for these inputs; `networks` finds the networks.

        Raises InputError where a tensor is not what its wire says, EngineError where a network's answer is none, see
        `refuse_unsound`.
        """
        if unknown := [name for name in tensors if name not in self.inputs]:
            raise InputError(f"tensor {unknown[0]!r} is unknown; expected {', '.join(self.inputs)}")
        known, networks = dict(tensors), self.sound(networks)
        for step in self.steps:
            taken = {name: known[name] for name in step.inputs if name in known}
            self.check(step, taken)
            known |= run_step(step, taken, networks)
        return {name: known[name] for name in self.outputs if name in known}

    def check(self, step: Step, tensors: Tensors) -> None:
        """Raise InputError where a tensor that a step takes is not what its wire says, here and on a server."""
        check_bounds(tensors, map(self.tensor, step.inputs))

    def tensor(self, name: str) -> Tensor:
        """The wire of this name."""
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def sound(self, networks: Networks) -> Networks:
        """The networks, each of whose answers is looked at before a step sees it."""
        known = {network.name: network for network in self.networks}
        return lambda name: sound(known[name], networks(name)) if name in known else networks(name)


def sound(network: Network, infer: Infer) -> Infer:
    """The network, which raises EngineError instead of an answer that is none."""

    def answer(batch: Array) -> Array:
        logits = infer(batch)
        refuse_unsound(network, batch.shape, logits)
        return logits

    return answer


def refuse_unsound(network: Network, batch: Sequence[int], logits: Array) -> None:
    """Raise EngineError naming the network whose answer to a batch of this shape has a wrong shape, or holds NaN.

    Thresholds and arg max turn NaN into "nothing found" and strange shapes into findings. A look costs two passes over
    the answer, 0.1 % of the time that a network takes. Works on numpy's and torch's arrays, wherever they lie.
    """
    if tuple(logits.shape) != (expected := network.answer_shape(batch)):
        said = f"network {network.name!r} answered a batch of shape {tuple(batch)} with shape {tuple(logits.shape)}"
        raise EngineError(f"{said}; expected {expected}: its file is another network's or damaged: export it again")
    if math.prod(expected) and not math.isfinite(float(logits.min()) + float(logits.max())):
        said = f"network {network.name!r} answered with NaN or infinity"
        raise EngineError(f"{said}; expected finite numbers: its weights or its file are damaged: import it again")


def run_step(step: Step, tensors: Tensors, networks: Networks) -> Tensors:
    """The outputs of one step, without checks of its tensors."""
    if callable(step.run):
        return step.run(tensors, networks)
    return {step.outputs[0]: networks(step.run)(tensors[step.inputs[0]])}


def contradictions(pipeline: Pipeline) -> Iterator[str]:
    """What keeps a pipeline from being run, here or as an ensemble of Triton, in words that follow its task's name."""
    wires, made = {tensor.name for tensor in pipeline.tensors}, set(pipeline.inputs)
    for step in pipeline.steps:
        said = f"has a step {step.name!r} "
        yield from (f"{said}with {name!r}, which is not a Tensor" for name in _wires(step) if name not in wires)
        yield from (f"{said}that takes {name!r} before it is made" for name in step.inputs if name not in made)
        yield from (
            f"{said}that takes the output {name!r}; expected outputs that feed no step: an ensemble would wait for ever"
            for name in step.inputs
            if name in pipeline.outputs
        )
        made |= set(step.outputs)
    yield from (f"has an output {name!r} that no step makes" for name in pipeline.outputs if name not in made)


def _wires(step: Step) -> tuple[str, ...]:
    return (*step.inputs, *step.outputs)
