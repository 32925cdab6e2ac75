"""A CT of 512 x 512 x 800 voxels through a stand-in network of 117 classes, as a program: prints its peak memory.

    python -m tests.tasks.volume.known_ct SPACING_MM     of the CT; the network's grid has 1.5 mm, its patch is 128 wide

The CT's values name its classes, and the network finds in each voxel the one that is named: so the answer is known.
"""

from __future__ import annotations

import json
import resource
import sys

import numpy as np

from medseg.data.geometry import geometry_tensor
from medseg.task import Array, Geometry
from medseg.tasks.volume import described
from medseg.tasks.volume.plan import described_plan
from medseg.tasks.volume.statistics import statistics
from tests.tasks.volume.test_task import description

SHAPE, CLASSES = (800, 512, 512), 117
_EDGE = 64  # voxels of a cube of one class


def known() -> Array:
    """Labels (z, y, x) in cubes, neighbours two or more apart."""
    z, y, x = (np.arange(size, dtype=np.int32) // _EDGE for size in SHAPE)
    return ((z[:, None, None] * 31 + y[:, None] * 17 + x * 7) % (CLASSES + 1)).astype(np.uint8)


def infer(batch: Array) -> Array:
    """Logits (n, 118, ...) of a batch (n, 1, ...)."""
    found = np.zeros((len(batch), CLASSES + 1, *batch.shape[2:]), np.float32)
    named = np.clip(np.round(batch), 0, CLASSES).astype(np.uint8)
    np.put_along_axis(found, named.astype(np.intp), 9, axis=1)
    return found


def main(spacing: float) -> None:
    """Print the share of voxels, cubes' borders left out, that have their class, and the peak in GB."""
    window = description()["window"] | {"patch": [128, 128, 128]}
    classes = [{"name": f"class {value}", "value": value} for value in range(1, CLASSES + 1)]
    asked = description(classes=classes, window=window, spacing_mm=[1.5] * 3, mirror_axes=[], crop=True)
    task, labels = described([json.dumps(asked)]), known()
    geometry = Geometry((spacing, spacing, 1.0 if spacing < 1.5 else spacing))
    tensors = {"image": labels.astype(np.float32)[None], "geometry": geometry_tensor(geometry)}
    mask = task.pipeline(tensors, lambda _: infer)["mask"]
    statistics(described_plan(asked, "it")[0], mask, tensors["image"], geometry.spacing_mm)
    inside = np.ix_(*(np.flatnonzero(abs(np.arange(size) % _EDGE - _EDGE / 2) < _EDGE / 2 - 4) for size in SHAPE))
    right = float((mask[inside] == labels[inside]).mean())
    print(json.dumps({"right": right, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}))


if __name__ == "__main__":
    main(float(sys.argv[1]))
