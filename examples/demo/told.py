"""Compares a nodules.csv with a phantom's annotations: what was found or missed, and which marks are false."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

SURE = 0.5  # from here on a mark says "nodule"

Row = dict[str, str]


def main(answer: Path, truth: Path) -> None:
    """Print a line for each nodule and each false mark, and how good the result is."""
    marks, nodules = _rows(answer), _rows(truth)
    hits = [[mark for mark in marks if _hits(mark, nodule)] for nodule in nodules]
    for nodule, found in zip(nodules, hits, strict=True):
        print(f"  nodule of {float(nodule['diameter_mm']):4.1f} mm: {_told(found)}")
    false = [mark for mark in marks if not any(_hits(mark, nodule) for nodule in nodules)]
    for mark in false:
        print(f"  false mark: {_share(mark)} in slice {mark['slice']}, where there is no nodule")
    surely = sum(any(_sure(mark) for mark in found) for found in hits)
    wrongly = sum(map(_sure, false))
    false_marks = f"{wrongly} false mark{'s' * (wrongly != 1)}"
    print(f"At {SURE:.0%} or more: {surely} of {len(nodules)} nodules found, {false_marks}.")
    print(_verdict(len(nodules) - surely, wrongly))


def _told(found: list[Row]) -> str:
    return f"found, at {max(map(_share, found))}" if found else "missed"


def _verdict(missed: int, wrongly: int) -> str:
    if not missed and not wrongly:
        return "Perfect: every nodule was found, and nothing else. These are made-up CTs; real ones are much harder."
    parts = [f"{missed} missed"] * bool(missed) + [f"{wrongly} too many"] * bool(wrongly)
    return f"Not perfect ({', '.join(parts)}): both networks were trained for only a few minutes, on 24 made-up CTs."


def _hits(mark: Row, nodule: Row) -> bool:
    """Whether a mark lies closer to a nodule's centre than its radius, as LUNA16 counts."""
    axes = [(float(mark[f"center_{axis}_mm"]), float(nodule[f"coord{axis.upper()}"])) for axis in "xyz"]
    return math.dist(*zip(*axes, strict=True)) < float(nodule["diameter_mm"]) / 2


def _sure(mark: Row) -> bool:
    return float(mark["nodule_probability"]) >= SURE


def _share(mark: Row) -> str:
    return f"{float(mark['nodule_probability']):6.1%}"


def _rows(path: Path) -> list[Row]:
    with path.open() as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
