"""Finding: one place in one scan, with a number; the row of every LUNA16 table and of a submission."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A place in a scan, in world coordinates, and what a table says of it."""

    series: str  # the scan's UID
    xyz_mm: tuple[float, float, float]
    value: float  # by table: a diameter in mm, a class, a probability
