"""The nouns of the project: Task, Network, Pipeline, Step, Tensor, Case and Recipe. Needs numpy alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import EngineError, InputError, RunError
from medseg.tensor import Array as Array
from medseg.tensor import Tensor as Tensor
from medseg.tensor import Tensors as Tensors
from medseg.tensor import check_bounds

Infer = Callable[[Array], Array]  # (n, *input_shape) float32 -> (n, *output_shape) float32
Networks = Callable[[str], Infer]  # a network by its name: a local engine, a remote model, or a call inside Triton

IDENTITY_DIRECTION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Geometry:
    """Where a volume lies in the patient: millimetres, axes in the order x, y, z (that of SimpleITK and DICOM).

    A volume's array is indexed (index, row, col), the reverse: index runs along z, row along y, col along x.
    """

    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = IDENTITY_DIRECTION  # 3 x 3 cosines, row by row

    def world_from_voxel(self, irc: Array) -> Array:
        """World coordinates (n, 3) x, y, z in mm of voxel coordinates (n, 3) index, row, col."""
        cri = np.asarray(irc, np.float64)[..., ::-1]
        return (cri * self.spacing_mm) @ self._direction.T + np.asarray(self.origin_mm)

    def voxel_from_world(self, xyz_mm: Array) -> Array:
        """Voxel coordinates (n, 3) index, row, col, not rounded, of world coordinates (n, 3) x, y, z in mm."""
        shifted = np.asarray(xyz_mm, np.float64) - np.asarray(self.origin_mm)
        return ((shifted @ np.linalg.inv(self._direction).T) / self.spacing_mm)[..., ::-1]

    def nearest_voxel(self, xyz_mm: Array) -> Array:
        """Nearest voxel (n, 3) index, row, col as int64 of world coordinates (n, 3) in mm; halves round to even."""
        return np.round(self.voxel_from_world(xyz_mm)).astype(np.int64)

    @property
    def _direction(self) -> Array:
        return np.asarray(self.direction, np.float64).reshape(3, 3)


@dataclass(frozen=True)
class Case:
    """One picture or volume with its truth: what a metric, a fit or a benchmark works on."""

    id: str
    image: Array
    mask: Array | None = None
    geometry: Geometry | None = None

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Voxel spacing in array order (index, row, col), or None where the format has none."""
        return self.geometry.spacing_mm[::-1] if self.geometry else None


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
    free_axes: Mapping[int, int] = field(default_factory=dict)  # input axis (batch is 0) -> its sizes' common multiple
    keys: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None  # a published checkpoint's state -> ours
    unused: tuple[str, ...] = ()  # how keys of a checkpoint begin that the answer does not need; they are left out
    input_range: tuple[float, float] = (0.0, 1.0)  # of the values it is fed, e.g. HU; written into exported files

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
    anywhere: bool = False  # the function takes torch's tensors too, on any device (medseg/data/arrays.py)


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
    """The outputs of one step, whose tensors nobody looks at."""
    if callable(step.run):
        return step.run(tensors, networks)
    return {step.outputs[0]: networks(step.run)(tensors[step.inputs[0]])}


def _nobody(_: str) -> None:
    """Nobody waits."""


@dataclass(frozen=True)
class Reading:
    """What a person says of files that leave it open."""

    spacing_mm: tuple[float, float, float] | None = None  # x, y, z; of a volume whose file has none
    skip_damaged: bool = False  # go on without the files of a series that cannot be read, with a note


@dataclass(frozen=True)
class Request:
    """One picture or volume as a pipeline's inputs, with what writing the answer needs to know of it."""

    name: str
    tensors: Tensors
    source: Any
    made_by: Mapping[str, Any] = field(default_factory=dict)  # runs, engine, options and so on
    extras: tuple[str, ...] = ()  # files that are asked for beside the usual ones: "candidates" of luna
    tell: Callable[[str], None] = _nobody  # called with each note that writing the answer has for who waits for it


@dataclass(frozen=True)
class Source:
    """Something to ask about, found but not read yet: a picture, a volume, one series of a folder."""

    path: Path  # where it lies, which tells it apart from others of its name
    name: str  # of its answer's files or folder
    load: Callable[[], Request]  # raises InputError where it cannot be read


@dataclass(frozen=True)
class Listing:
    """What a task's answer lists, so that an exported file is judged on what a reader would be shown."""

    # A data folder, a patient, the networks there are -> the pipeline's inputs, so that everything is listed, with the
    # wires that absent networks would have led to; None where these networks list nothing.
    question: Callable[[Path, str, Collection[str]], Tensors | None]
    wires: tuple[str, ...]  # what `items` reads beside the inputs
    items: Callable[[Tensors], Mapping[str, Array]]  # wires -> lists by name, each (n, 4): x, y, z in mm, probability
    near_mm: float  # what lies nearer to each other is the same
    threshold: float  # the probability from which on something is listed


@dataclass(frozen=True)
class Task:
    """A clinical question and everything that makes it that question."""

    name: str
    title: str
    networks: tuple[Network, ...]
    pipeline: Pipeline
    patients: Callable[[Path], Sequence[str]]  # a data folder -> its patients, sorted
    read: Callable[[Path, str], Sequence[Case]]  # a data folder, a patient -> that patient's cases
    phantom: Callable[[Path, int, int], None]  # write n made-up patients in the native layout: folder, n, seed
    sources: Callable[[Path, Reading], Sequence[Source]]  # a file or folder -> all there is to ask about, cheaply
    write: Callable[[Request, Tensors, Path], list[Path]]  # an answer -> files in the field's formats, in a folder
    answered: Callable[[str, Path], list[Path]]  # a name, a folder -> the files there that hold an answer of that name
    volumes: bool = False  # an answer is many files: where there are several answers, each gets a folder of its own
    pipeline_of: Callable[[Sequence[str]], Pipeline] | None = None  # where fewer networks than all can answer too
    optional: tuple[str, ...] = ()  # networks without which the answer has less in it
    listing: Listing | None = None  # where the answer is a list
    expects: str = ""  # how what it is asked about must lie, and whether a file can tell

    def network(self, name: str) -> Network:
        """The task's network of this name."""
        return next(network for network in self.networks if network.name == name)

    def answered_by(self, networks: Sequence[str]) -> Task:
        """The task as these networks answer it, by name. Raises RunError for another's, one given twice or missing."""
        known = [network.name for network in self.networks]
        for name in networks:
            if name not in known:
                raise RunError(f"network {name!r} is none of {self.name}'s, {_and(known)}: leave its run out")
            if networks.count(name) > 1:
                raise RunError(f"{self.name} got several runs of {name}; expected one run a network: leave others out")
        if self.pipeline_of:
            return replace(self, pipeline=self.pipeline_of(networks))
        needed = [name for name in known if name not in self.optional]
        missing = [name for name in needed if name not in networks]
        if missing:
            also = f", {_and(self.optional)} if wanted" if self.optional else ""
            raise RunError(
                f"{self.name} got no run of {_and(missing)}; expected runs of {_and(needed)}{also}: add a --run of each"
            )
        return self


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
