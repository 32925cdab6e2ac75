"""What each score means: the one table that `medseg info` shows and docs/metrics.md holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

HIGHER, LOWER, NEITHER = "higher", "lower", "-"  # which is better; of what only describes a case, neither
SHARE, COUNT, MM, PX = "0 to 1", "count", "mm", "pixels"


@dataclass(frozen=True)
class Metric:
    """A score by the name that tables and JSON have it under, in one sentence.

    A word in capitals that ends the key, as in `dice_CLASS`, stands for a name, or a number.
    """

    key: str
    unit: str
    better: str
    meaning: str


def metric_of(metrics: Sequence[Metric], key: str) -> Metric | None:
    """The metric that a key is one of, None where there is none."""
    exact = next((metric for metric in metrics if metric.key == key), None)
    return exact or next((metric for metric in metrics if _stands_for(metric.key, key)), None)


def _stands_for(pattern: str, key: str) -> bool:
    beginning = re.sub("[A-Z]+$", "", pattern)
    return beginning != pattern and key.startswith(beginning) and key != beginning


def of(metric: Metric, prefix: str, key: str = "") -> Metric:
    """A metric with words before its meaning, and under another name where one is given."""
    return replace(metric, key=key or metric.key, meaning=f"{prefix}{metric.meaning}")


DICE = Metric(
    "dice", SHARE, HIGHER, "twice the overlap divided by the sum of both masks; 1 if both are empty, 0 if one is"
)
IOU = Metric("iou", SHARE, HIGHER, "the overlap divided by the union of both masks; 1 if both are empty")
PRECISION = Metric("precision", SHARE, HIGHER, "the share of the answer that is correct; 1 if both masks are empty")
RECALL = Metric("recall", SHARE, HIGHER, "the share of the truth that was found; 1 if both masks are empty")
HAUSDORFF_PX = Metric(
    "hausdorff_px", PX, LOWER, "the largest distance from a border pixel of one mask to the other mask's border"
)
HD95_PX = Metric(
    "hd95_px",
    PX,
    LOWER,
    "the 95th percentile of the distances from the border pixels of one mask to the other mask's border, the larger "
    "of the two directions",
)
ASSD_PX = Metric(
    "assd_px",
    PX,
    LOWER,
    "the mean distance from the border pixels of each mask to the other mask's border, over both directions",
)
MASK = (DICE, IOU, PRECISION, RECALL, HAUSDORFF_PX, HD95_PX, ASSD_PX)


def markdown(metrics: Sequence[Metric]) -> str:
    """The metrics as a Markdown table."""
    rows = [f"| `{one.key}` | {one.unit} | {one.better} | {one.meaning} |" for one in metrics]
    return "\n".join(["| key | unit | better | meaning |", "| --- | --- | --- | --- |", *rows])
