"""Slices as one straight stack: alike, in order, none missing, none doubled. Slices that do not fit are named."""

from __future__ import annotations

import filecmp
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medseg.data.dicom import Slice
from medseg.data.placing import placed, spacing_of
from medseg.errors import InputError
from medseg.task import Array, Geometry, Reading

_SAME_MM = 0.02  # headers round positions to hundredths of a millimetre
_ROUNDED_MM = 0.11  # a position rounded to 0.1 mm is off by 0.05 mm, and so are the ends that the line goes through
_COSINE = 1e-3  # how much the axes of slices of one stack may differ
_SPREAD = 1e-3  # the share by which their pixel spacings may differ

Stack = tuple[list[Slice], Geometry, tuple[str, ...]]


def stacked(where: Path, slices: Sequence[Slice], reading: Reading) -> Stack:
    """The slices in order along their normal, lowest first; where they lie; and notes.

    Raises InputError where the slices are of several patients or studies, or differ in size, spacing or orientation;
    where they drift by more than half a pixel over the stack (gantry tilt); and where slices are doubled, missing or
    unequally spaced. Messages name files and series numbers, never a patient or a UID.
    """
    _check_owner(where, slices)
    kept, notes = _once(where, slices)
    kept, more = _alike(where, kept, reading)
    if len(kept) < 2:
        raise InputError(f"{where} holds 1 DICOM slice; expected a volume of at least 2")
    first = kept[0]
    stated = np.isfinite(first.spacing).all() and first.spacing.min() > 0
    across, noted = (first.spacing, ()) if stated else spacing_of(where, np.append(first.spacing, np.nan), reading)
    normal = first.normal / np.linalg.norm(first.normal)
    kept.sort(key=lambda one: float(one.position @ normal))
    step = _step(where, kept, normal, float(min(across[:2])))
    spacing = np.array([across[0], across[1], step])
    geometry, skewed = placed(where, spacing, np.vstack([first.axes, normal]), kept[0].position)
    return kept, geometry, (*notes, *more, *noted, *skewed, *_remarks(where, kept))


def _check_owner(where: Path, slices: Sequence[Slice]) -> None:
    owners = Counter(one.owner for one in slices)
    if len(owners) > 1:
        odd = next(one for one in slices if one.owner == owners.most_common()[-1][0])
        raise InputError(
            f"{where} holds slices of {len(owners)} patients or studies under one series ({odd.name} belongs to "
            "another); "
            "expected one: keep one series per folder"
        )


def _once(where: Path, slices: Sequence[Slice]) -> tuple[list[Slice], tuple[str, ...]]:
    """The slices without byte-for-byte copies of other files, and a note. Raises InputError where copies differ."""
    kept: dict[object, Slice] = {}
    copies = []
    for one in slices:
        key = (one.instance, one.frame) if one.instance else (one.path, one.frame)
        same = kept.setdefault(key, one)
        if same is one:
            continue
        if not filecmp.cmp(same.path, one.path, shallow=False):
            raise InputError(
                f"{where} holds two different files of one slice, {same.name} and {one.name}: remove the wrong one"
            )
        copies.append(one.name)
    notes = (f"{where}: left out {len(copies)} copies of other slices ({_some(copies)})",) if copies else ()
    return list(kept.values()), notes


def _alike(where: Path, slices: list[Slice], reading: Reading) -> tuple[list[Slice], tuple[str, ...]]:
    """The slices that are like most others, and notes.

    Raises InputError with the names of the others, or leaves them out where damaged files are skipped.
    """
    kept, notes = slices, []
    for what, differ, shown in _RULES:
        usual = _usual(kept, differ)
        odd = [one for one in kept if differ(one, usual)]
        if not odd:
            continue
        message = (
            f"{where}: {_some([one.name for one in odd])} differ(s) in {what} from the other {len(kept) - len(odd)} "
            f"slices ({shown(odd[0])}, elsewhere {shown(usual)})"
        )
        if not reading.skip_damaged:
            raise InputError(f"{message}; expected slices of one stack: remove those that differ, or export it again")
        kept = [one for one in kept if not differ(one, usual)]
        notes.append(f"{message}; left out")
    return kept, tuple(notes)


def _usual(slices: list[Slice], differ: Callable[[Slice, Slice], bool]) -> Slice:
    """The first slice of the largest group of slices that are alike."""
    best, most = slices[0], 0
    rest = slices
    while len(rest) > most:
        alike = [one for one in rest if not differ(one, rest[0])]
        if len(alike) > most:
            best, most = rest[0], len(alike)
        rest = [one for one in rest[1:] if differ(one, rest[0])]
    return best


def _other_size(one: Slice, usual: Slice) -> bool:
    return one.shape != usual.shape


def _other_spacing(one: Slice, usual: Slice) -> bool:
    return not np.allclose(one.spacing, usual.spacing, rtol=_SPREAD, atol=0, equal_nan=True)


def _other_orientation(one: Slice, usual: Slice) -> bool:
    """Whether its axes differ by more than rounding, or enough to move its far corner by more than half a pixel."""
    apart = abs(one.axes - usual.axes)
    pixels = np.linalg.norm(one.axes - usual.axes, axis=1) * one.shape[::-1]
    return bool(apart.max() > _COSINE or pixels.sum() > 0.5)


def _size(one: Slice) -> str:
    return f"{one.shape[0]} x {one.shape[1]}"


def _spacing(one: Slice) -> str:
    return f"{one.spacing[0]:.5g} x {one.spacing[1]:.5g} mm"


def _axes(one: Slice) -> str:
    return " ".join(f"{value:.3g}" for value in one.axes.ravel())


_RULES = (
    ("size", _other_size, _size),
    ("orientation", _other_orientation, _axes),
    ("pixel spacing", _other_spacing, _spacing),
)


def _step(where: Path, slices: list[Slice], normal: Array, pixel_mm: float) -> float:
    """The distance in mm between neighbouring slices, which are in order. Raises InputError as `stacked` says."""
    positions = np.array([one.position for one in slices])
    heights = positions @ normal
    _check_single(where, heights)
    apart = positions - positions[0]
    sideways = float(np.linalg.norm(apart - (apart @ normal)[:, None] * normal, axis=1).max())
    if sideways > max(pixel_mm / 2, _SAME_MM):
        raise InputError(
            f"{where}: slices shift by {sideways:.2f} mm sideways over the stack (gantry tilt); expected less than "
            f"half a pixel ({pixel_mm / 2:.2f} mm): resample it to a straight stack"
        )
    _check_gaps(where, slices, heights)
    return float((heights[-1] - heights[0]) / (len(heights) - 1))


def _check_single(where: Path, heights: Array) -> None:
    doubled = int((np.diff(heights) < _SAME_MM).sum())
    if not doubled:
        return
    several = len(heights) / (len(heights) - doubled)
    more = f"; each about {several:.0f} times: phases or reconstructions under one series?" if several > 1.9 else ""
    raise InputError(
        f"{where} holds two slices at one position ({doubled} of {len(heights)} slices{more}); expected one slice per "
        "position: keep one set"
    )


def _check_gaps(where: Path, slices: list[Slice], heights: Array) -> None:
    steps = np.diff(heights)
    mean, usual = float(steps.mean()), float(np.median(steps))
    off = abs(heights - heights[0] - mean * np.arange(len(heights))).max()
    if off <= max(min(_ROUNDED_MM, mean / 4), 0.01 * mean):
        return
    at = int(abs(steps - usual).argmax())
    gap, between = float(steps[at]), f"between {slices[at].name} and {slices[at + 1].name}"
    missing = round(gap / usual) - 1
    if missing >= 1 and abs(gap - (missing + 1) * usual) < 0.05 * usual:
        raise InputError(
            f"{where} lacks {missing} slice(s) {between} (gap {gap:.2f} mm, spacing {usual:.2f} mm): export it whole"
        )
    raise InputError(
        f"{where} has unequal spacing {between} ({gap:.2f} mm, elsewhere {usual:.2f} mm): resample it first"
    )


def _remarks(where: Path, slices: list[Slice]) -> tuple[str, ...]:
    """Notes on slices that are used as they are, for those who read the answer."""
    count = len({one.frame_of_reference for one in slices})
    slopes = {one.rescale for one in slices}
    found = {
        f"its slices have {len(slopes)} different rescales to HU, each its own": len(slopes) > 1,
        "its slices store their values in different ways": len({(one.bits, one.padding) for one in slices}) > 1,
        f"its slices name {count} frames of reference; their positions are assumed to be in one": count > 1,
        "it is derived from another series (ImageType DERIVED), which may be the better input": slices[0].derived,
        "MONOCHROME1 says how to show it; its values are HU as stored": slices[0].inverse,
        "it has no RescaleSlope and RescaleIntercept; its values are assumed to be HU": any(
            one.rescale is None for one in slices
        ),
    }
    return tuple(f"{where}: {what}" for what, true in found.items() if true)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
