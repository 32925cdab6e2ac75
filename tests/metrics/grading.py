"""The UW-Madison rule of docs/metrics.md by brute force, with scipy's own distance."""

import numpy as np
from scipy.spatial.distance import directed_hausdorff


def scipys(answer: np.ndarray, truth: np.ndarray, scale: np.ndarray) -> float:
    """The larger of scipy's two directed distances, over every voxel."""
    one, other = (np.argwhere(mask) * scale for mask in (answer, truth))
    return max(directed_hausdorff(one, other)[0], directed_hausdorff(other, one)[0])


def graded(scans: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """The score of scans, each an answer and a truth (organ, slice, row, col)."""
    rows, distances = [], []
    for answer, truth in scans:
        for organ, index in np.ndindex(answer.shape[:2]):
            one, other = answer[organ, index] > 0, truth[organ, index] > 0
            if one.sum() + other.sum():
                rows.append(2 * (one & other).sum() / (one.sum() + other.sum()))
        one, other = answer.any(0), truth.any(0)
        if not one.any() and not other.any():
            continue
        far = not one.any() or not other.any() or one.sum() > 10 * other.sum()
        distances.append(1.0 if far else scipys(one, other, 1 / np.array(one.shape)) / np.sqrt(3))
    dice, distance = np.mean(rows), np.mean(distances)
    return {"score": 0.4 * dice + 0.6 * (1 - distance), "dice": dice, "hausdorff": distance}
