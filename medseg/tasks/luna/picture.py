"""The top nodules as a picture: axial cut-outs with the mask's outline, coordinates and probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.volume import Volume
from medseg.files import whole_file
from medseg.task import Array

_SHOWN = 8
_COLUMNS = 4
_SIDE_MM = 60.0
_LUNG_WINDOW_HU = (-1350, 150)  # radiology's lung window: centre -600, width 1500
_OUTLINE = "#ffb000"


def draw(path: Path, volume: Volume, mask: Array, rows: list[dict[str, Any]]) -> None:
    """Write a PNG of the most probable nodules (at most 8): axial cut-outs 60 mm wide, rows and columns as stored.

    A cross marks the nodule's centre, the outline is that of the candidates' mask in that slice.
    """
    from matplotlib.figure import Figure

    shown = rows[:_SHOWN]
    width = min(_COLUMNS, max(1, len(shown)))
    height = max(1, -(-len(shown) // _COLUMNS))
    figure = Figure(figsize=(3.2 * max(2, width), 3.9 * height + 0.5), dpi=110, facecolor="white", layout="constrained")
    count = f"{len(rows)} nodule{'s' * (len(rows) != 1)}"
    figure.suptitle(
        f"{count} found" + (f", the {_SHOWN} most probable shown" if len(rows) > _SHOWN else ""), fontsize=12
    )
    panels = figure.subplots(height, width, squeeze=False).ravel()
    for panel in panels:
        panel.axis("off")
    for number, (panel, row) in enumerate(zip(panels, shown, strict=False), 1):
        _panel(panel, volume, mask, row)
        panel.set_title(_caption(number, row), fontsize=8.5, loc="left")
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")


def _panel(panel: Any, volume: Volume, mask: Array, row: dict[str, Any]) -> None:
    from matplotlib.patheffects import Normal, Stroke

    index, line, column = (row[f"center_{axis}"] for axis in ("index", "row", "col"))
    across, down, _ = volume.geometry.spacing_mm
    half_row, half_col = round(_SIDE_MM / 2 / down), round(_SIDE_MM / 2 / across)
    plane = volume.array[round(index)]
    outline = mask[round(index)]
    low, high = _LUNG_WINDOW_HU
    panel.imshow(plane, cmap="gray", vmin=low, vmax=high, aspect=down / across, interpolation="bilinear")
    if outline.any():
        panel.contour(outline.astype(np.uint8), [0.5], colors=[_OUTLINE], linewidths=1.2)
    panel.set_xlim(column - half_col, column + half_col)
    panel.set_ylim(line + half_row, line - half_row)
    panel.plot(column, line, "+", color=_OUTLINE, markersize=7, markeredgewidth=1.2)
    dark = [Stroke(linewidth=3, foreground="black"), Normal()]  # readable on lung and on bone
    left, bottom = column - half_col + 5 / across, line + half_row * 0.9
    panel.plot([left, left + 10 / across], [bottom] * 2, color="white", lw=2, path_effects=dark)
    panel.text(left + 5 / across, bottom - 2 / down, "10 mm", color="white", fontsize=7, ha="center", path_effects=dark)


def _caption(number: int, row: dict[str, Any]) -> str:
    place = ", ".join(f"{row[f'center_{axis}_mm']:.1f}" for axis in "xyz")
    lines = [f"{number}.  nodule {row['nodule_probability']:.1%}", f"{place} mm, slice {round(row['center_index'])}"]
    if "malignancy_probability" in row:
        lines[0] += f", malignant {row['malignancy_probability']:.1%}"
    return "\n".join([*lines, f"diameter {row['diameter_mm']:.1f} mm"])
