"""A volume's description of inference, as records: how the image is prepared, cut into tiles, and restored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.description import Description, Kind, described, read_description
from medseg.errors import RunError
from medseg.schema import Check, a, closed, count, either, number, one_of, sequence, text, within
from medseg.tasks.volume.normalise import Scheme, check_scheme
from medseg.tasks.volume.resample import Rule
from medseg.tasks.volume.restore import Heads
from medseg.tasks.volume.window import Window

KIND_NAME = "volume"
_MOST_VOXELS = 1 << 28  # of a patch with all its channels


@dataclass(frozen=True)
class Plan:
    """One network's inference."""

    schemes: tuple[Scheme, ...]  # the normalisation of each channel
    orientation: str  # where x, y and z run as the network learnt them, such as RAS; "" as they are stored
    axes: tuple[int, int, int]  # of the turned array, in the order in which the network has them
    spacing_mm: tuple[float, ...]  # in that order; two numbers where slices keep their own distance
    crop: bool  # to what is not 0
    numerics: str  # nnunet: centres of voxels, splines; monai: first voxels on each other, linear
    resampled_first: bool  # before the values are normalised
    image: Rule
    answer: Rule
    of: str  # what is resampled back: logits or probabilities
    window: Window
    mirrors: tuple[int, ...]
    folds: int
    heads: Heads
    largest: tuple[tuple[int, ...], ...]  # only the largest connected component of each group of labels is kept
    previous: str  # the configuration whose answer this one refines, "" if it takes only the image
    earlier: tuple[int, ...]  # the labels of that answer, one channel for each

    @property
    def flat(self) -> bool:
        """Whether the network sees slices."""
        return len(self.window.patch) == 2

    @property
    def channels(self) -> int:
        """How many channels the network takes."""
        return len(self.schemes) + len(self.earlier)


def _some(item: Check, *lengths: int) -> Check:
    every = sequence(item)

    def check(value: Any, where: str) -> str | None:
        if isinstance(value, list) and len(value) not in lengths:
            return f"{where} has {len(value)} entries; expected {' or '.join(map(str, lengths))}"
        return every(value, where)

    return check


_POSITIVE = a("a number over 0", lambda value: number(value) and 0 < value <= 1000, quoted=True)
_WHETHER = a("true, false or null", lambda value: value is None or isinstance(value, bool))
_YES_OR_NO = a("true or false", lambda value: isinstance(value, bool))
_LABEL = count(0, 255)
_RULE = closed(
    {"order": a("0, 1 or 3", lambda value: either(value, int) and value in (0, 1, 3), quoted=True)},
    {
        "between": a("0 or 1", lambda value: either(value, int) and value in (0, 1), quoted=True),
        "separate": _WHETHER,
    },
)
_AXES = a(
    "the axes 0, 1 and 2 in some order",
    lambda value: isinstance(value, list) and sorted(map(str, value)) == ["0", "1", "2"],
)
_ORIENTATION = a(
    "three letters of R or L, A or P, S or I, or nothing",
    lambda value: value == "" or (isinstance(value, str) and len(value) == 3 and _directions(value)),
    quoted=True,
)


def _directions(letters: str) -> bool:
    return sorted("RAS".index(kind) for one in letters for kind in "RAS" if one in _OPPOSITE[kind]) == [0, 1, 2]


_OPPOSITE = {"R": "RL", "A": "AP", "S": "SI"}

KIND = Kind(
    KIND_NAME,
    normalisation=check_scheme,
    required={
        "orientation": _ORIENTATION,
        "axes": _AXES,
        "spacing_mm": _some(_POSITIVE, 2, 3),
        "crop": _YES_OR_NO,
        "resampling": closed(
            {"numerics": one_of("nnunet", "monai"), "image": _RULE, "answer": _RULE},
            {"of": one_of("logits", "probabilities"), "first": _YES_OR_NO},
        ),
        "window": closed(
            {
                "patch": _some(count(1, 4096), 2, 3),
                "overlap": within(0, 0.95),
                "blending": one_of("gaussian", "constant"),
                "steps": one_of("even", "fixed"),
                "accumulator": one_of("float16", "float32"),
            }
        ),
        "mirror_axes": sequence(count(0, 2)),
        "folds": count(1, 64),
        "network": closed({"name": text(200)}, {"arguments": a("an object", lambda value: isinstance(value, dict))}),
    },
    optional={
        "configuration": text(80),
        "largest_piece": sequence(sequence(_LABEL)),
        "previous": closed({"configuration": text(80), "labels": sequence(_LABEL)}),
        "order": sequence(_LABEL),
        "heads": sequence(_LABEL),
    },
)


def read_plan(folder: Path) -> tuple[Description, Plan]:
    """A run's description and what it says. Raises RunError where it is not one, or cannot be followed."""
    description = read_description(folder, KIND)
    return description, plan_of(description, str(folder))


def described_plan(document: Any, name: str) -> tuple[Description, Plan]:
    """A description's document and what it says. Raises RunError as `read_plan` does."""
    description = described(document, KIND, name)
    return description, plan_of(description, name)


def plan_of(description: Description, name: str) -> Plan:
    """What a description says of inference. Raises RunError for entries that do not fit each other."""
    own = description.own
    window, resampling, previous = own["window"], own["resampling"], own.get("previous", {})
    plan = Plan(
        schemes=tuple(channel.normalisation for channel in description.channels),
        orientation=own["orientation"],
        axes=tuple(own["axes"]),
        spacing_mm=tuple(map(float, own["spacing_mm"])),
        crop=own["crop"],
        numerics=resampling["numerics"],
        resampled_first=resampling.get("first", False),
        image=Rule(**resampling["image"]),
        answer=Rule(**resampling["answer"]),
        of=resampling.get("of", "logits"),
        window=Window(**{**window, "patch": tuple(window["patch"])}),
        mirrors=tuple(own["mirror_axes"]),
        folds=own["folds"],
        heads=heads_of(description),
        largest=tuple(map(tuple, own.get("largest_piece", ()))),
        previous=previous.get("configuration", ""),
        earlier=tuple(previous.get("labels", ())),
    )
    if problem := next(_misfits(plan), None):
        raise RunError(f"{name} contradicts itself: {problem}; correct it, or import again")
    return plan


def heads_of(description: Description) -> Heads:
    """The meaning of the network's output channels: with softmax labels from 0, with sigmoid the classes."""
    if description.activation == "softmax":
        values = [one.value for one in description.classes if one.value is not None]
        return Heads(tuple(range(max(values) + 1)), exclusive=True)
    threshold = math.log(description.threshold / (1 - description.threshold)) if 0 < description.threshold < 1 else 0.0
    order: Sequence[int] = description.own.get("order", range(1, len(description.classes) + 1))
    return Heads(tuple(order), exclusive=False, threshold=max(threshold, _HALF) if threshold == 0 else threshold)


_HALF = 2.0**-23  # up to this logit, the sigmoid in float32 is not over 0.5


def _misfits(plan: Plan) -> Iterator[str]:
    rank = len(plan.window.patch)
    if len(plan.spacing_mm) != rank:
        yield f"spacing_mm has {len(plan.spacing_mm)} numbers and the patch {rank}; expected as many"
    if len(set(plan.mirrors)) != len(plan.mirrors) or any(axis >= rank for axis in plan.mirrors):
        yield f"mirror_axes is {list(plan.mirrors)}; expected axes under {rank}, each once"
    if math.prod(plan.window.patch) * (plan.channels + plan.folds * len(plan.heads.values)) > _MOST_VOXELS:
        yield f"a patch of {plan.window.patch} is too large; expected at most {_MOST_VOXELS} voxels with all channels"


def wire_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A description without what a server's steps do not need."""
    return {name: value for name, value in document.items() if name not in ("source",)}
