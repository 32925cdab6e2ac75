"""The nouns of the project: Task and its records, Request, Source, Case. Needs numpy alone.

Those of inference are in medseg/pipeline.py and medseg/tensor.py, and can be had from here too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.bringing import Bringing
from medseg.errors import InputError, RunError
from medseg.geometry import IDENTITY_DIRECTION as IDENTITY_DIRECTION
from medseg.geometry import Geometry as Geometry
from medseg.pipeline import Infer as Infer
from medseg.pipeline import Network as Network
from medseg.pipeline import Networks as Networks
from medseg.pipeline import Pipeline as Pipeline
from medseg.pipeline import Recipe as Recipe
from medseg.pipeline import Step as Step
from medseg.pipeline import refuse_unsound as refuse_unsound
from medseg.pipeline import run_step as run_step
from medseg.pipeline import sound as sound
from medseg.scoring import Scoring as Scoring
from medseg.tensor import Array as Array
from medseg.tensor import Tensor as Tensor
from medseg.tensor import Tensors as Tensors
from medseg.tensor import check_bounds

if TYPE_CHECKING:
    from medseg.data.augmentation import Augmentation, Colours
    from medseg.data.check import Inspected
    from medseg.data.encoded import Kind
    from medseg.data.samples import Samples
    from medseg.data.split import Split

Example = tuple[Array, Array | None]  # a network's input, and its truth where it is known


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
class Unread:
    """A case of a data folder, or an input file, that has not been read yet."""

    id: str  # of the Case
    ask: Callable[[], Tensors]  # the pipeline's inputs for it, read now
    files: tuple[Path, ...] = ()  # what they are read from
    patient: str = ""  # whose it is, in a data folder
    known: bool = False  # whether there is a truth


def _nobody(_: str) -> None:
    """Nobody waits."""


@dataclass(frozen=True)
class Reading:
    """What a person says of files that leave it open."""

    spacing_mm: tuple[float, float, float] | None = None  # x, y, z; of a volume whose file has none
    skip_damaged: bool = False  # go on without the files of a series that cannot be read, with a note
    real: bool = False  # voxels of any modality as float32 as they are, instead of a CT's as whole HU


@dataclass(frozen=True)
class Request:
    """One picture or volume as a pipeline's inputs, with what writing the answer needs to know of it."""

    name: str
    tensors: Tensors
    source: Any
    made_by: Mapping[str, Any] = field(default_factory=dict)  # runs, engine, options and so on
    extras: tuple[str, ...] = ()  # files that are asked for beside the usual ones, of those that Files.extras names
    tell: Callable[[str], None] = _nobody  # called with each note that writing the answer has for the user
    geometry: Geometry | None = None  # of a volume
    notes: tuple[str, ...] = ()  # what is doubtful about the file


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
class Files:
    """What a request is read from, and what an answer becomes."""

    sources: Callable[[Path, Reading], Sequence[Source]]  # a file or folder -> all there is to ask about, cheaply
    write: Callable[[Request, Tensors, Path], list[Path]]  # an answer -> files in the field's formats, in a folder
    answered: Callable[[str, Path], list[Path]]  # a name, a folder -> the files there that hold an answer of that name
    volumes: bool = False  # an answer is many files: where there are several answers, each gets a folder of its own
    reading: tuple[str, ...] = ()  # the fields of Reading that these formats can leave open
    extras: Mapping[str, str] = field(default_factory=dict)  # files on request -> what they hold
    measured: tuple[str, ...] = ()  # the outputs that a benchmark asks for, by name; empty: all
    # What was found on the image's own grid, for who asks in Python; None: the output `mask`.
    mask: Callable[[Request, Tensors], Array] | None = None
    table: Callable[[Tensors], Sequence[Mapping[str, float | int | str]]] | None = None  # where the answer is a list
    expects: str = ""  # how what it is asked about must lie, and whether a file can tell


@dataclass(frozen=True)
class Training:
    """How one network's training samples are drawn from a data folder, and changed at random."""

    samples: Callable[[Path, Sequence[str]], Samples]  # a data folder, patients -> what a fit draws from
    augmentation: Augmentation
    colours: Colours | None = None  # random changes of the values
    weights: Callable[[Samples], Array] | None = None  # how often each is drawn, (n,) float64; None: each once an epoch
    resizable: bool = True  # whether a fit may resize them (`train --size`)
    # A data folder, patients, how many -> inputs (1, *input_shape) float32 with their truths, to judge exported files
    # by; None: of each patient the middle one of the samples that hold what is looked for.
    calibration: Callable[[Path, Sequence[str], int], list[Example]] | None = None


@dataclass(frozen=True)
class Data:
    """A folder in the task's native layout: its patients, their truth, and what is learnt from it.

    A task without it cannot be trained or evaluated; its exported files are judged on made-up inputs.
    """

    patients: Callable[[Path], Sequence[str]]  # a data folder -> its patients, sorted
    read: Callable[[Path, str], Sequence[Case]]  # a data folder, a patient -> that patient's cases
    cases: Callable[[Path, str], Sequence[Unread]]  # the same ones in the same order, cheaply, and how to ask each
    check: Callable[[Path], Iterable[Inspected]]  # every patient and table, with every problem
    phantom: Callable[[Path, int, int], None]  # write n made-up patients in this layout: folder, n, seed
    split: Callable[[Path, int, int], Split]  # a data folder, a seed, a fold -> who is learnt from and who judges
    training: Mapping[str, Training] = field(default_factory=dict)  # by network


@dataclass(frozen=True)
class Decode:
    """How encoded pictures, the rows of `packed`, become a step's output, in words that every decoder keeps.

    The output is float32 planes (n, channels, *size) where a size is given, else the pixels (n, h, w, c) as they are
    stored. medseg/data/decoding.py makes the step's function of it, medseg/dali_pipelines DALI's graph.
    """

    kind: Kind
    output: str  # the wire
    size: tuple[int, int] | None = None  # rows and columns, bilinear with half-pixel centres, not antialiased
    # What becomes 0 and 1. "bits": 0, and the largest value that so many bits hold; "maximum": 0, and the picture's own
    # brightest value; "range": its darkest and its brightest; "": 0 and 1, which leaves the values as they are.
    scaled: str = ""
    mean: tuple[float, ...] = ()  # then subtracted, a number for each channel
    std: tuple[float, ...] = ()  # and by what is divided then
    channels: int = 3  # a grey picture is shown to each
    most: int = 1  # pictures of a request
    called: str = "picture"  # in messages


@dataclass(frozen=True)
class Option:
    """Something that a request may ask for: a wire that the command line, `medseg info` and the docs show as an option.

    A word is sent as its place among the choices. The server holds the wire to its own bounds, see Tensor.
    """

    name: str  # of the wire, and of the command line's --name
    help: str
    default: float | str
    choices: tuple[str, ...] = ()  # of a word; empty: a number within the wire's bounds
    switch: bool = False  # --name and --no-name, of three choices: what it is unsaid, no, and yes

    def number(self, value: float | str) -> float:
        """The value as it is sent. Raises InputError for a word that is no choice, or where a number is expected."""
        if self.choices and value not in self.choices:
            raise InputError(f"{self.name} is {value!r}; expected {' or '.join(map(repr, self.choices))}")
        try:
            return float(self.choices.index(str(value)) if self.choices else value)
        except ValueError as error:
            raise InputError(f"{self.name} is {value!r}; expected a number") from error


@dataclass(frozen=True)
class Task:
    """A clinical question and everything that makes it that question."""

    name: str
    title: str
    networks: tuple[Network, ...]
    pipeline: Pipeline
    files: Files
    options: tuple[Option, ...] = ()
    data: Data | None = None
    scoring: Scoring | None = None
    decoding: Mapping[str, Decode] = field(default_factory=dict)  # by step: what a decoder other than ours may do
    listing: Listing | None = None  # where the answer is a list
    optional: tuple[str, ...] = ()  # networks without which the answer has less in it
    pipeline_of: Callable[[Sequence[str]], Pipeline] | None = None  # where fewer networks than all can answer too
    # The texts of descriptions that runs bring along (segmentation.json) -> the task as these describe it; such a task
    # has neither networks nor steps before. Raises RunError where they do not describe one.
    described: Callable[[Sequence[str]], Task] | None = None
    descriptions: tuple[str, ...] = ()  # that it was made of
    bringing: Bringing | None = None  # how such a task gets its networks

    def network(self, name: str) -> Network:
        """The task's network of this name."""
        return next(network for network in self.networks if network.name == name)

    def optional_tensors(self, options: Mapping[str, float | str]) -> Tensors:
        """The wires that these options are, by name, each (1,). Raises InputError for one that the task has not."""
        known = {option.name: option for option in self.options}
        for name in options:
            if name not in known:
                has = ", ".join(known) or "none"
                raise InputError(f"option {name!r} is not one of task {self.name!r}; it has {has}: leave it out")
        found = {name: np.array([known[name].number(value)]) for name, value in options.items()}
        tensors = {name: value.astype(self.pipeline.tensor(name).dtype) for name, value in found.items()}
        check_bounds(tensors, map(self.pipeline.tensor, tensors))
        return tensors

    def known_data(self, doing: str) -> Data:
        """The task's data. Raises InputError where it has none; `doing` says what would need it."""
        if self.data is None:
            raise InputError(f"task {self.name!r} has no data layout, so it cannot {doing}: give its Task a Data")
        return self.data

    def known_scoring(self, doing: str) -> Scoring:
        """The task's scoring. Raises InputError where it has none; `doing` says what would need it."""
        if self.scoring is None:
            raise InputError(f"task {self.name!r} has no scores, so it cannot {doing}: give its Task a Scoring")
        return self.scoring

    def answered_by(self, networks: Sequence[str]) -> Task:
        """The task as these networks answer it, by name. Raises RunError for another's, one given twice or missing."""
        known = [network.name for network in self.networks]
        for name in networks:
            if name not in known:
                raise RunError(
                    f"network {name!r} does not belong to {self.name}, which has {_and(known)}: leave its run out"
                )
            if networks.count(name) > 1:
                raise RunError(
                    f"{self.name} got several runs of {name}; expected one run per network: leave the others out"
                )
        if self.pipeline_of:
            return replace(self, pipeline=self.pipeline_of(networks))
        needed = [name for name in known if name not in self.optional]
        missing = [name for name in needed if name not in networks]
        if missing:
            also = f", optionally {_and(self.optional)}" if self.optional else ""
            raise RunError(
                f"{self.name} got no run of {_and(missing)}; expected runs of {_and(needed)}{also}: add each with --run"
            )
        return self


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
