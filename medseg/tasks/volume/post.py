"""Post-processing of labels: of some, only the largest connected component is kept."""

from __future__ import annotations

import cc3d
import numpy as np

from medseg.task import Array
from medseg.tasks.volume.plan import Plan


def cleaned(labels: Array, plan: Plan) -> Array:
    """Labels (z, y, x) in which each group of the plan has one piece alone, of voxels that touch in any way."""
    for group in plan.largest:
        inside = np.isin(labels, group)
        kept = cc3d.largest_k(inside, k=1, connectivity=26) > 0
        labels[inside & ~kept] = 0
    return labels
