"""Functions that the array API lacks, so that one step works with numpy arrays and with torch tensors.

An `Array` is a numpy array if nothing else is said. Steps after a network also take torch tensors on any device: on a
GPU server an answer stays on the GPU until it is a mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace, device, is_torch_array, to_device

from medseg.task import Array


def host(array: Array) -> Array:
    """The array as a numpy array in host memory; a numpy array is returned as it is."""
    return np.asarray(to_device(array, "cpu")) if is_torch_array(array) else array


def joined(arrays: Sequence[Array]) -> Array:
    """The arrays concatenated along the first axis, on the device of the first one."""
    first = arrays[0]
    found: Array = array_namespace(first).concat([to_device(array, device(first)) for array in arrays])
    return found


def as_uint8(array: Array) -> Array:
    """The array's values as uint8; booleans become 0 and 1."""
    xp = array_namespace(array)
    found: Array = xp.astype(array, xp.uint8)
    return found
