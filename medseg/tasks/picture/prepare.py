"""From a picture's grid to the network's: resizing, filling and normalising; and back, for the answer.

The functions use the array API, so on a GPU server they take torch tensors on their own device.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from array_api_compat import array_namespace

from medseg.data.grid import NEAREST, resized
from medseg.data.numpy_or_torch import host
from medseg.task import Array
from medseg.tasks.picture.description import Picture

_FLAT = 1e-6  # a smaller spread counts as none, and nothing is divided by it


def prepare(pixels: Array, picture: Picture) -> Array:
    """The network's input (channels, height, width) float32, from a picture's pixels (h, w, c) uint8 or uint16."""
    xp = array_namespace(pixels)
    planes = xp.astype(xp.permute_dims(pixels, (2, 0, 1)), xp.float32)
    scale, shift = _normalisation(planes, picture)
    small = _resized(planes, inner(tuple(pixels.shape[:2]), picture), picture.resampling)
    filled = _filled(small, outer(tuple(pixels.shape[:2]), picture), picture.size.fill)
    channels = len(picture.shared.channels)
    shown = filled if filled.shape[0] == channels else xp.concat([filled] * channels, axis=0)
    return shown * scale + shift


def prepared_mask(mask: Array, picture: Picture) -> Array:
    """Masks (n, h, w) uint8 on the network's grid, (n, height, width), by nearest pixels; filled pixels are 0."""
    size = tuple(mask.shape[1:])
    return _filled(resized(mask, inner(size, picture), NEAREST), outer(size, picture), 0)


def inner(size: tuple[int, ...], picture: Picture) -> tuple[int, int]:
    """Height and width of the picture itself on the network's grid, without filling, for a picture of this size."""
    rule, height, width = picture.size.rule, picture.size.height, picture.size.width
    if rule == "pad":
        return size[0], size[1]
    if rule == "stretch":
        return height, width
    factor = min(height / size[0], width / size[1])
    return min(height, max(1, round(size[0] * factor))), min(width, max(1, round(size[1] * factor)))


def outer(size: tuple[int, ...], picture: Picture) -> tuple[int, int]:
    """Height and width of the network's whole grid, for a picture of this size."""
    if not picture.size.free:
        return picture.size.height, picture.size.width
    step = picture.size.multiple
    return -(-size[0] // step) * step, -(-size[1] // step) * step


def _resized(planes: Array, size: tuple[int, int], resampling: str) -> Array:
    # The mean over areas is only for reducing; enlarging is always bilinear.
    if resampling == "bilinear" or planes.shape[1] < size[0] or planes.shape[2] < size[1]:
        return resized(planes, size)
    return resized(host(planes), size, cv2.INTER_AREA)


def _filled(planes: Array, size: tuple[int, int], fill: int) -> Array:
    """The planes at the top left of a grid of this size; the rest has the value `fill`."""
    below, right = size[0] - planes.shape[1], size[1] - planes.shape[2]
    xp = array_namespace(planes)

    def rest(height: int, width: int) -> Array:
        shape = (planes.shape[0], height, width)
        made: Array = xp.full(shape, fill, dtype=planes.dtype, device=planes.device)
        return made

    if right:
        planes = xp.concat([planes, rest(planes.shape[1], right)], axis=2)
    return xp.concat([planes, rest(below, size[1])], axis=1) if below else planes


def _normalisation(planes: Array, picture: Picture) -> tuple[Array, Array]:
    """The factors for a picture's values, and the numbers that are then added, each (channels, 1, 1) float32.

    They are computed from the picture before it is resized.
    """
    xp = array_namespace(planes)
    scheme = picture.shared.channels[0].normalisation["scheme"]
    pairs = [_pair(planes, index, scheme, dict(one.normalisation)) for index, one in enumerate(picture.shared.channels)]
    scale, shift = ([pair[part] for pair in pairs] for part in (0, 1))
    made = (xp.asarray(part, dtype=xp.float32, device=planes.device) for part in (scale, shift))
    first, second = (xp.reshape(part, (len(pairs), 1, 1)) for part in made)
    return first, second


def _pair(planes: Any, index: int, scheme: str, how: dict[str, Any]) -> tuple[float, float]:
    """A channel's factor, and the number that is then added."""
    if scheme.endswith("z-score"):
        values = planes if scheme.startswith("picture") or planes.shape[0] == 1 else planes[index : index + 1]
        mean, spread = _moments(values)
    elif scheme == "range":
        mean, spread = how["low"], how["high"] - how["low"]
    else:
        low = float(planes.min()) if scheme == "picture-range" else 0.0
        mean, spread = low, float(planes.max()) - low
    spread = spread if spread > _FLAT else 1.0
    shift, factor = how.get("mean", 0.0), 1 / how.get("std", 1.0)
    return factor / spread, (-mean / spread - shift) * factor


def _moments(values: Array) -> tuple[float, float]:
    """Mean and standard deviation, in float64."""
    xp = array_namespace(values)
    exact = xp.astype(values, xp.float64)
    return float(xp.mean(exact)), float(xp.std(exact))


def restored(planes: Array, size: tuple[int, int], picture: Picture, nearest: bool = False) -> Array:
    """Planes (n, height, width) on the network's grid as planes (n, *size) on the picture's own grid."""
    height, width = inner(size, picture)
    cut = planes[:, :height, :width]
    return resized(host(cut), size, NEAREST) if nearest else resized(cut, size)


def normalised_range(picture: Picture) -> tuple[float, float]:
    """The usual smallest and largest value of the network's input, for made-up inputs."""
    if picture.shared.channels[0].normalisation["scheme"].endswith("z-score"):
        return -2.0, 2.0
    hows = [dict(channel.normalisation) for channel in picture.shared.channels]
    ends = [[(end - how.get("mean", 0.0)) / how.get("std", 1.0) for how in hows] for end in (0.0, 1.0)]
    return float(np.min(ends[0])), float(np.max(ends[1]))
