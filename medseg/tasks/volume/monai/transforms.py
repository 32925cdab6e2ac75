"""The meaning of a bundle's transforms for a description: the common ones, each with its supported arguments.

An unknown transform or argument is refused and named: leaving it out would silently change the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medseg.errors import InputError
from medseg.schema import number

_IGNORED = {  # arguments that do not change the answer
    "keys", "image_only", "reader", "ensure_channel_first", "simple_keys", "allow_missing_keys", "device", "dtype",
    "data_type", "track_meta", "channel_dim", "strict_check", "wrap_sequence", "labels", "lazy", "_target_",
    "_desc_", "_disabled_", "_requires_", "meta_keys", "meta_key_postfix", "orig_meta_keys", "orig_keys", "transform",
    "to_tensor", "source_key", "start_coord_key", "end_coord_key",
}  # fmt: skip


@dataclass
class Said:
    """What the transforms up to here mean."""

    orientation: str = ""
    spacing_mm: Sequence[float] | None = None
    scheme: dict[str, Any] | None = None
    normalised_last: bool = True
    crop: bool = False
    activation: str | None = None
    restored: bool = False
    decided: str | None = None  # argmax or threshold
    threshold: float = 0.5
    largest: list[list[int]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)


Transform = Mapping[str, Any]


def read(transforms: Sequence[Transform], channels: int, said: Said, known: Mapping[str, Callable[..., None]]) -> None:
    """Read the transforms. Raises InputError, which names the first that is unknown or in an unexpected place."""
    for one in transforms:
        if not isinstance(one, dict) or not isinstance(one.get("_target_"), str):
            raise InputError(
                "inference configuration: a transform has no _target_; expected MONAI's transforms by name"
            )
        if one.get("_disabled_") is True:
            continue
        name = plain_name(one["_target_"])
        if name not in known:
            raise InputError(
                f"the bundle uses the transform {one['_target_']!r}, which medseg does not know; expected one of "
                f"{', '.join(sorted(known))}: it cannot be imported"
            )
        known[name](said, _Arguments(one), channels)
        said.order.append(name)


def plain_name(target: str) -> str:
    """A transform's or class's name without module and without the ending of those for dictionaries."""
    name = target.rpartition(".")[2]
    for ending in ("Dict", "D", "d"):
        if name.removesuffix(ending) in _ALL and name not in _ALL:
            return name.removesuffix(ending)
    return name


class _Arguments:
    """A transform's arguments: known ones are read, all others are refused."""

    def __init__(self, transform: Transform) -> None:
        self.target = str(transform["_target_"])
        self._left = {name: value for name, value in transform.items() if name not in _IGNORED}

    def take(self, name: str, usual: Any = None) -> Any:
        """An argument, or its default."""
        return self._left.pop(name, usual)

    def only(self, name: str, *values: Any, usual: Any = None) -> None:
        """Raise InputError where an argument is not one of these values."""
        value = self.take(name, usual)
        if value not in values:
            raise self.refused(f"{name} {value!r}", " or ".join(map(repr, values)))

    def end(self) -> None:
        """Raise InputError for an argument that was not read."""
        if self._left:
            raise self.refused(f"the argument {next(iter(self._left))!r}", "those that medseg knows")

    def refused(self, what: str, expected: str) -> InputError:
        """What is wrong with the transform."""
        return InputError(
            f"the bundle's transform {self.target!r} has {what}; expected {expected}: it cannot be imported"
        )


def _nothing(_: Said, arguments: _Arguments, __: int) -> None:
    arguments.end()


def _orientation(said: Said, arguments: _Arguments, _: int) -> None:
    codes = arguments.take("axcodes")
    if not isinstance(codes, str) or len(codes) != 3 or said.spacing_mm is not None:
        raise arguments.refused(f"axcodes {codes!r}", "three letters such as RAS, before the spacing")
    said.orientation = codes
    arguments.end()


def _spacing(said: Said, arguments: _Arguments, _: int) -> None:
    pixdim = arguments.take("pixdim")
    if not isinstance(pixdim, list) or len(pixdim) != 3 or not all(number(one) and one > 0 for one in pixdim):
        raise arguments.refused(f"pixdim {pixdim!r}", "three numbers over 0")
    mode = arguments.take("mode", "bilinear")
    if mode not in ("bilinear", ["bilinear"]):
        raise arguments.refused(f"mode {mode!r}", "bilinear")
    padding = arguments.take("padding_mode", "border")
    if padding not in ("border", ["border"]):
        raise arguments.refused(f"padding_mode {padding!r}", "border")
    for name, usual in (
        ("diagonal", False),
        ("align_corners", False),
        ("scale_extent", False),
        ("recompute_affine", False),
    ):
        arguments.only(name, usual, [usual], usual=usual)
    said.spacing_mm, said.normalised_last = [float(one) for one in pixdim], said.scheme is None
    arguments.end()


def _once(said: Said, arguments: _Arguments) -> None:
    if said.scheme is not None:
        raise arguments.refused("a normalisation before it", "one")


def _range(said: Said, arguments: _Arguments, _: int) -> None:
    _once(said, arguments)
    names = {"low": "a_min", "high": "a_max", "to_low": "b_min", "to_high": "b_max"}
    found = {ours: arguments.take(theirs) for ours, theirs in names.items()}
    if not all(map(number, found.values())) or found["low"] == found["high"]:
        raise arguments.refused(f"the range {list(found.values())}", "a_min, a_max, b_min and b_max in numbers")
    said.scheme = {"scheme": "range", **found, "clip": bool(arguments.take("clip", False))}
    arguments.end()


def _normalise(said: Said, arguments: _Arguments, channels: int) -> None:
    _once(said, arguments)
    scheme: dict[str, Any] = {"scheme": "standard", "nonzero": bool(arguments.take("nonzero", False))}
    if not arguments.take("channel_wise", False) and channels > 1:
        raise arguments.refused("channel_wise False with several channels", "channel_wise True")
    for ours, theirs in (("mean", "subtrahend"), ("std", "divisor")):
        value = arguments.take(theirs)
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if value is not None:
            if not number(value):
                raise arguments.refused(f"{theirs} {value!r}", "one number")
            scheme[ours] = float(value)
    said.scheme = scheme
    arguments.end()


def _scale(said: Said, arguments: _Arguments, channels: int) -> None:
    _once(said, arguments)
    arguments.only("minv", 0, 0.0, usual=0)
    arguments.only("maxv", 1, 1.0, usual=1)
    arguments.only("factor", None)
    if not arguments.take("channel_wise", False) and channels > 1:
        raise arguments.refused("channel_wise False with several channels", "channel_wise True")
    said.scheme = {"scheme": "share"}
    arguments.end()


def _crop(said: Said, arguments: _Arguments, _: int) -> None:
    if said.spacing_mm is None or said.scheme is None:
        raise arguments.refused("its place before spacing or values are the network's", "it after them")
    arguments.only("margin", 0, usual=0)
    arguments.only("allow_smaller", True, False, usual=True)
    arguments.only("k_divisible", 1, usual=1)
    said.crop = True
    arguments.end()


def _activations(said: Said, arguments: _Arguments, _: int) -> None:
    found = [name for name in ("softmax", "sigmoid") if arguments.take(name, False)]
    if len(found) != 1 or said.decided:
        raise arguments.refused(f"{' and '.join(found) or 'no activation'}", "softmax or sigmoid, before AsDiscrete")
    said.activation = found[0]
    arguments.end()


def _invert(said: Said, arguments: _Arguments, _: int) -> None:
    arguments.only("nearest_interp", False, usual=True)
    if said.decided:
        raise arguments.refused("its place after AsDiscrete", "it before, so that probabilities are brought back")
    said.restored = True
    arguments.end()


def _discrete(said: Said, arguments: _Arguments, _: int) -> None:
    if arguments.take("argmax", False):
        said.decided = "argmax"
    threshold = arguments.take("threshold")
    if threshold is not None:
        if not number(threshold) or said.decided:
            raise arguments.refused(f"threshold {threshold!r}", "a number, without argmax")
        said.decided, said.threshold = "threshold", float(threshold)
    if not said.decided:
        raise arguments.refused("neither argmax nor threshold", "one of them")
    arguments.only("to_onehot", None)
    arguments.end()


def _largest(said: Said, arguments: _Arguments, _: int) -> None:
    labels = arguments.take("applied_labels")
    labels = [labels] if isinstance(labels, int) else labels
    if not isinstance(labels, list) or not all(isinstance(one, int) for one in labels) or said.decided != "argmax":
        raise arguments.refused(f"applied_labels {labels!r}", "labels in whole numbers, after argmax")
    arguments.only("connectivity", None, 3)
    arguments.only("is_onehot", None, False)
    independent = arguments.take("independent", True)
    said.largest += [[one] for one in labels] if independent else [labels]
    arguments.end()


def _saved(_: Said, __: _Arguments, ___: int) -> None:
    """The file names that MONAI would use do not matter for the answer."""


BEFORE: dict[str, Callable[[Said, _Arguments, int], None]] = {
    **dict.fromkeys(("LoadImage", "EnsureChannelFirst", "EnsureType", "ToTensor", "CastToType"), _nothing),
    "Orientation": _orientation,
    "Spacing": _spacing,
    "ScaleIntensityRange": _range,
    "NormalizeIntensity": _normalise,
    "ScaleIntensity": _scale,
    "CropForeground": _crop,
}
AFTER: dict[str, Callable[[Said, _Arguments, int], None]] = {
    **dict.fromkeys(("EnsureType", "ToTensor", "CastToType"), _nothing),
    "Activations": _activations,
    "Invert": _invert,
    "AsDiscrete": _discrete,
    "KeepLargestConnectedComponent": _largest,
    "SaveImage": _saved,
}
_ALL = {*BEFORE, *AFTER}
