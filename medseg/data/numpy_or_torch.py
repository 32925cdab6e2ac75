"""What the array API leaves open, so that a step is written once: for numpy here, for torch where an answer lies.

An `Array` is numpy's wherever nothing else is said. What stands behind a network takes torch's tensors too, on any
device: on a GPU server an answer stays there until it is a mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace, device, is_torch_array, to_device

from medseg.task import Array


def host(array: Array) -> Array:
    """The array as numpy's, in host memory: itself where it is that already."""
    return np.asarray(to_device(array, "cpu")) if is_torch_array(array) else array


def joined(arrays: Sequence[Array]) -> Array:
    """The arrays one behind the other along the first axis, on the device of the first one."""
    first = arrays[0]
    found: Array = array_namespace(first).concat([to_device(array, device(first)) for array in arrays])
    return found


def as_uint8(array: Array) -> Array:
    """The array's values as uint8; of booleans 0 and 1."""
    xp = array_namespace(array)
    found: Array = xp.astype(array, xp.uint8)
    return found
