"""What there is to ask about in a path: volumes' files, nnU-Net's NAME_0000 channels, DICOM series."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from medseg.data.geometry import geometry_tensor
from medseg.data.series import Found, found
from medseg.data.voxels import SUFFIXES, Volume, is_volume_file, stem
from medseg.errors import InputError
from medseg.task import Array, Geometry, Reading, Request, Source

_CHANNEL = re.compile(r"(?P<name>.+)_(?P<channel>\d{4})")
_SAME_SPACING, _SAME_COSINE = 1e-3, 1e-2  # a share, and by which directions of one case's channels may differ


@dataclass(frozen=True)
class Asked:
    """One case as it was read: a volume a channel, the first of which says where the answer lies."""

    volumes: tuple[Volume, ...]
    notes: tuple[str, ...] = ()

    @property
    def geometry(self) -> Geometry:
        """Where the case lies."""
        return self.volumes[0].geometry

    @property
    def image(self) -> Array:
        """The voxels (channels, z, y, x) float32."""
        return np.stack([volume.array for volume in self.volumes])


def sources(channels: Sequence[str], path: Path, reading: Reading) -> list[Source]:
    """Every case in a path, of so many channels. Raises InputError where it holds none, or a channel is missing."""
    as_it_is = replace(reading, real=True)
    files = volume_files(path)
    named = numbered(files)
    if path.is_file() and is_volume_file(path) and path in files:
        return [_of_file(path, channels, as_it_is)]
    if named:
        return list(of_channels(path, named, channels, as_it_is))
    if len(channels) > 1:
        raise InputError(
            f"{path} holds no files NAME_0000 to NAME_{len(channels) - 1:04}; expected one per channel, "
            f"{', '.join(channels)}, each a volume ({', '.join(SUFFIXES)}): name them so"
        )
    return [Source(one.path, one.name, partial(_single, one)) for one in found(path, as_it_is)]


def volume_files(path: Path) -> list[Path]:
    """The volumes' files in a folder, those below it left out; a file by itself."""
    if path.is_dir():
        return sorted(one for one in path.iterdir() if one.is_file() and is_volume_file(one) and one.name[0] != ".")
    return [path] if path.is_file() and is_volume_file(path) else []


def numbered(files: Sequence[Path]) -> dict[str, dict[int, Path]]:
    """Files whose names end in a channel's number, by name and number."""
    cases: dict[str, dict[int, Path]] = defaultdict(dict)
    for file in files:
        if match := _CHANNEL.fullmatch(stem(file)):
            known = cases[match["name"]].setdefault(int(match["channel"]), file)
            if known != file:
                raise InputError(f"{file} is the same channel as {known.name}; expected one file of each: remove one")
    return dict(cases)


def _of_file(path: Path, channels: Sequence[str], reading: Reading) -> Source:
    """The case that a file begins: the volume in it, or with its siblings where it is channel 0."""
    match = _CHANNEL.fullmatch(stem(path))
    if len(channels) == 1:
        name = match["name"] if match and int(match["channel"]) == 0 else stem(path)
        return Source(path, name, partial(_several, name, [path], reading))
    if not match:
        raise InputError(
            f"{path} is one volume, and the network takes {len(channels)} channels ({', '.join(channels)}); expected "
            f"files NAME_0000 to NAME_{len(channels) - 1:04}: name the folder that holds them, or the first"
        )
    if int(match["channel"]):
        raise InputError(
            f"{path} is channel {int(match['channel'])} of {match['name']}; expected channel 0: give that file (the "
            "other channels are found beside it), or the folder"
        )
    siblings = numbered(volume_files(path.parent))
    case = {match["name"]: siblings[match["name"]]}
    return next(of_channels(path, case, channels, reading))


def of_channels(
    path: Path, cases: dict[str, dict[int, Path]], channels: Sequence[str], reading: Reading
) -> Iterator[Source]:
    """Each case with its channels in order. Raises InputError where one is missing or one too many."""
    for name, files in sorted(cases.items()):
        first = next(iter(files.values()))
        for number, channel in enumerate(channels):
            if number not in files:
                raise InputError(
                    f"{first.parent}: {name} has no channel {number} ({channel}); expected {name}_{number:04} beside "
                    f"{first.name}: copy it there"
                )
        if more := [number for number in files if number >= len(channels)]:
            raise InputError(
                f"{files[more[0]]} is channel {more[0]}, and the network takes {len(channels)} "
                f"({', '.join(channels)}); expected no more: is this the right network for these images?"
            )
        where = path if path.is_file() else files[0]
        yield Source(where, name, partial(_several, name, [files[number] for number in range(len(channels))], reading))


def _single(one: Found) -> Request:
    return _request(one.name, [one.load()])


def _several(name: str, files: Sequence[Path], reading: Reading) -> Request:
    volumes = [found(file, reading)[0].load() for file in files]
    return _request(name, volumes)


def _request(name: str, volumes: Sequence[Volume]) -> Request:
    notes = list(check_alike(volumes))
    asked = Asked(tuple(volumes), (*(note for one in volumes for note in one.notes), *notes))
    return Request(name, {"image": asked.image, "geometry": geometry_tensor(asked.geometry)}, asked)


def check_alike(volumes: Sequence[Volume]) -> Iterator[str]:
    """Notes where channels of one case lie a little apart. Raises InputError where they are no channels of one case."""
    first = volumes[0]
    for other in volumes[1:]:
        if other.array.shape != first.array.shape:
            sizes = (" x ".join(map(str, one.array.shape[::-1])) for one in (other, first))
            raise InputError("{} has {} voxels; expected {} as {}".format(other.path, *sizes, first.path.name))
        spacing, expected = other.geometry.spacing_mm, first.geometry.spacing_mm
        if not np.allclose(spacing, expected, rtol=_SAME_SPACING):
            raise InputError(
                f"{other.path} has spacing {_mm(spacing)}; expected {_mm(expected)} as {first.path.name}: resample it"
            )
        if np.abs(np.subtract(other.geometry.direction, first.geometry.direction)).max() > _SAME_COSINE:
            raise InputError(
                f"{other.path} has another orientation than {first.path.name} (its direction differs); expected the "
                "same orientation for all channels of a case: reorient it"
            )
        apart = np.linalg.norm(np.subtract(other.geometry.origin_mm, first.geometry.origin_mm))
        if apart > min(expected) / 2:
            yield f"{other.path} lies {apart:.1f} mm from {first.path.name}; the voxels are assumed to match"


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in spacing) + " mm"
