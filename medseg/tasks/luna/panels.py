"""Panels of CT pictures: axial cut-outs 60 mm wide on black, with scale, letters of orientation and a locator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.data.upright import orientation_of
from medseg.data.volume import Volume
from medseg.task import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Voxel = tuple[float, float, float]  # index, row, col
AMBER, GREEN, FRAME, PAPER, INK = "#ffb000", "#40d070", "#9fd0ff", "#0b0d10", "#e8ecf1"
_SIDE_MM = 60.0
_LUNG_WINDOW_HU = (-1350, 150)  # radiology's lung window: centre -600, width 1500
_LOCATOR = (0.66, 0.66, 0.33, 0.33)  # of a panel: left, bottom, width, height


def figure(title: str, panels: int, columns: int, dpi: int) -> tuple[Figure, Any]:
    """A black figure and its empty panels."""
    from matplotlib.figure import Figure

    height = max(1, -(-panels // columns))
    width = max(1, -(-panels // height))  # five are three and two, not four and one
    size = (3.2 * max(2, width), 3.9 * height + 0.5)
    made = Figure(figsize=size, dpi=dpi, facecolor=PAPER, layout="constrained")
    made.suptitle(title, fontsize=12, color=INK)
    axes = made.subplots(height, width, squeeze=False).ravel()
    for one in axes:
        one.axis("off")
    return made, axes


def upright(volume: Volume, masks: Sequence[Array]) -> tuple[Volume, list[Array]]:
    """The volume and masks on its grid as views of axial slices."""
    turn, shape = orientation_of(volume.geometry), volume.array.shape
    seen = replace(volume, array=turn.seen(volume.array), geometry=turn.seen_geometry(volume.geometry, shape))
    return seen, [turn.seen(mask) for mask in masks]


def voxels(volume: Volume, rows: Sequence[dict[str, Any]]) -> list[Voxel]:
    """Where an answer's rows lie in the upright view of a volume."""
    turn, shape = orientation_of(volume.geometry), volume.array.shape
    stored = np.array([[row[f"center_{axis}"] for axis in ("index", "row", "col")] for row in rows]).reshape(-1, 3)
    return [(index, row, column) for index, row, column in turn.seen_voxels(stored, shape).tolist()]


def plane_of(volume: Volume, voxel: Voxel) -> int:
    """The nearest slice: an annotation may lie a little outside."""
    return min(max(0, round(voxel[0])), len(volume.array) - 1)


def cross(panel: Any, voxel: Voxel, colour: str = AMBER, mark: str = "+") -> None:
    """Mark a voxel."""
    panel.plot(voxel[2], voxel[1], mark, color=colour, markersize=7, markeredgewidth=1.2, fillstyle="none")


def outline(panel: Any, mask: Array, colour: str = AMBER, width: float = 1.2) -> None:
    """The outline of a slice's mask."""
    if mask.any():
        panel.contour((mask > 0).astype(np.uint8), [0.5], colors=[colour], linewidths=width)


def slice_shown(panel: Any, volume: Volume, index: int) -> None:
    """A whole axial slice."""
    across, down, _ = volume.geometry.spacing_mm
    low, high = _LUNG_WINDOW_HU
    plane = volume.array[index]
    panel.imshow(plane, cmap="gray", vmin=low, vmax=high, aspect=down / across, interpolation="bilinear")


def cut_out(panel: Any, volume: Volume, voxel: Voxel) -> None:
    """The 60 mm around a voxel, with a scale, R L A P at the edges, and where that is on the whole slice."""
    slice_shown(panel, volume, plane_of(volume, voxel))
    across, down, _ = volume.geometry.spacing_mm
    half_col, half_row = round(_SIDE_MM / 2 / across), round(_SIDE_MM / 2 / down)
    left, top = voxel[2] - half_col, voxel[1] - half_row
    panel.set_xlim(left, left + 2 * half_col)
    panel.set_ylim(top + 2 * half_row, top)
    start, bottom = left + 5 / across, top + 1.9 * half_row
    panel.plot([start, start + 10 / across], [bottom] * 2, color="white", lw=2, path_effects=_dark())
    panel.text(
        start + 5 / across, bottom - 2 / down, "10 mm", color="white", fontsize=7, ha="center", path_effects=_dark()
    )
    letters(panel)
    _locate(panel, volume, voxel, (left, top, 2 * half_col, 2 * half_row))


def letters(panel: Any) -> None:
    """The patient's right and left, front and back at the panel's edges, as viewers have them."""
    for word, across, up in (("R", 0.02, 0.5), ("L", 0.98, 0.5), ("A", 0.5, 0.98), ("P", 0.5, 0.02)):
        sides = {0.02: "left", 0.5: "center", 0.98: "right"}
        heights = {0.02: "bottom", 0.5: "center", 0.98: "top"}
        how = {"ha": sides[across], "va": heights[up], "transform": panel.transAxes, "path_effects": _dark()}
        panel.text(across, up, word, color=FRAME, fontsize=8, **how)


def _locate(panel: Any, volume: Volume, voxel: Voxel, box: tuple[float, float, float, float]) -> None:
    """The whole slice in the panel's upper right corner, the cut-out framed on it."""
    from matplotlib.patches import Rectangle

    inset = panel.inset_axes(_LOCATOR)
    slice_shown(inset, volume, plane_of(volume, voxel))
    inset.add_patch(Rectangle(box[:2], *box[2:], fill=False, edgecolor=FRAME, lw=1.2))
    inset.set(xticks=[], yticks=[], xlim=(0, volume.array.shape[2]), ylim=(volume.array.shape[1], 0))
    for side in inset.spines.values():
        side.set(color=INK, linewidth=0.6)


def _dark() -> list[Any]:
    """A dark border that keeps letters readable on lung and on bone."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=3, foreground="black"), Normal()]
