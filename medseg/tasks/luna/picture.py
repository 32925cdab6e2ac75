"""Nodules as a picture: axial cut-outs with the mask's outline and the marks, alone or beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.data.upright import orientation_of
from medseg.data.volume import Volume
from medseg.files import whole_file
from medseg.metrics.finding import Finding
from medseg.task import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Voxel = tuple[float, float, float]  # index, row, col
_SHOWN, _COLUMNS = 8, 4
_BESIDE_SHOWN, _BESIDE_COLUMNS = 6, 3  # fewer and thus larger where several pictures stand side by side
_SURE = 0.5  # false marks below this are no news
_SIDE_MM = 60.0
_LUNG_WINDOW_HU = (-1350, 150)  # radiology's lung window: centre -600, width 1500
_OUTLINE, _TRUTH = "#ffb000", "#40d070"
_DPI, _BESIDE_DPI = 110, 80


def draw(path: Path, volume: Volume, mask: Array, rows: list[dict[str, Any]]) -> None:
    """Write a PNG of the most probable nodules (at most 8): axial cut-outs 60 mm wide, however the volume is stored.

    The patient's front is up, their right on the picture's left. A cross marks the nodule's centre, the outline is that
    of the mask (index, row, col) in that slice.
    """
    volume, mask, places = _upright(volume, mask, rows)
    shown = rows[:_SHOWN]
    count = f"{len(rows)} nodule{'s' * (len(rows) != 1)}"
    title = f"{count} found" + (f", the {_SHOWN} most probable shown" if len(rows) > _SHOWN else "")
    figure, panels = _figure(title, len(shown), _COLUMNS, _DPI)
    for number, (panel, row, place) in enumerate(zip(panels, shown, places, strict=False), 1):
        _panel(panel, volume, mask, place)
        _cross(panel, place)
        panel.set_title(_caption(number, row), fontsize=8.5, loc="left")
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")


def beside_truth(volume: Volume, mask: Array, rows: list[dict[str, Any]], nodules: Sequence[Finding]) -> Array:
    """An answer's marks beside the annotated nodules, (h, w, 3) uint8: at most 6 axial cut-outs 60 mm wide.

    First the nodules, those that were missed or are least probable before the others, then the most probable marks
    that hit none, from probability 0.5 on. A green circle is a nodule, an amber cross a mark, the amber outline the
    candidates' mask.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    volume, mask, voxels = _upright(volume, mask, rows)
    voxel = {id(row): place for row, place in zip(rows, voxels, strict=True)}
    hits = [[row for row in rows if _hits(row, nodule)] for nodule in nodules]
    surer = [row for row in rows if row["nodule_probability"] >= _SURE]
    false = [row for row in surer if not any(_hits(row, nodule) for nodule in nodules)]
    best = [max((row["nodule_probability"] for row in found), default=None) for found in hits]
    order = sorted(range(len(nodules)), key=lambda one: best[one] or 0.0)
    centres = volume.geometry.voxel_from_world(np.array([nodule.xyz_mm for nodule in nodules]).reshape(-1, 3))
    places = [(tuple(centres[one]), hits[one], _nodule_caption(nodules[one], best[one])) for one in order]
    places += [(voxel[id(row)], [row], f"no nodule: marked at {row['nodule_probability']:.1%}") for row in false]
    marked = sum(one is not None for one in best)
    title, shown = f"{marked} of {len(nodules)} nodules marked", min(len(places), _BESIDE_SHOWN)
    figure, panels = _figure(title, shown, _BESIDE_COLUMNS, _BESIDE_DPI)
    for panel, (centre, crosses, caption) in zip(panels, places, strict=False):
        _panel(panel, volume, mask, centre)
        for row in crosses:
            _cross(panel, voxel[id(row)])
        for nodule, place in zip(nodules, centres, strict=True):
            _circle(panel, volume, nodule.value, place - centre[0] * np.array([1, 0, 0]))
        panel.set_title(f"{caption}\nslice {round(centre[0])}", fontsize=11, loc="left")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _hits(row: dict[str, Any], nodule: Finding) -> bool:
    """Whether a mark lies closer to a nodule's centre than its radius, as LUNA16 counts."""
    place = np.array([row[f"center_{axis}_mm"] for axis in "xyz"])
    return bool(np.linalg.norm(place - nodule.xyz_mm) < nodule.value / 2)


def _nodule_caption(nodule: Finding, probability: float | None) -> str:
    found = "missed" if probability is None else f"marked at {probability:.1%}"
    return f"nodule of {nodule.value:.1f} mm: {found}"


def _figure(title: str, panels: int, columns: int, dpi: int) -> tuple[Figure, Any]:
    """A figure and its empty panels."""
    from matplotlib.figure import Figure

    width = min(columns, max(1, panels))
    height = max(1, -(-panels // columns))
    figure = Figure(figsize=(3.2 * max(2, width), 3.9 * height + 0.5), dpi=dpi, facecolor="white", layout="constrained")
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(height, width, squeeze=False).ravel()
    for one in axes:
        one.axis("off")
    return figure, axes


def _upright(volume: Volume, mask: Array, rows: Sequence[dict[str, Any]]) -> tuple[Volume, Array, list[Voxel]]:
    """The volume and its mask as a view of axial slices, and the rows' voxels there."""
    turn, shape = orientation_of(volume.geometry), volume.array.shape
    stored = np.array([[row[f"center_{axis}"] for axis in ("index", "row", "col")] for row in rows]).reshape(-1, 3)
    voxels = [(index, row, column) for index, row, column in turn.seen_voxels(stored, shape).tolist()]
    seen = replace(volume, array=turn.seen(volume.array), geometry=turn.seen_geometry(volume.geometry, shape))
    return seen, turn.seen(mask), voxels


def _cross(panel: Any, voxel: Voxel) -> None:
    panel.plot(voxel[2], voxel[1], "+", color=_OUTLINE, markersize=7, markeredgewidth=1.2)


def _circle(panel: Any, volume: Volume, diameter_mm: float, offset: Array) -> None:
    """The outline of a ball in the panel's slice; `offset` is its centre, the index counted from that slice."""
    from matplotlib.patches import Ellipse

    across, down, between = volume.geometry.spacing_mm
    width_mm = np.sqrt(max(0.0, diameter_mm**2 - (2 * offset[0] * between) ** 2))
    if width_mm:
        size = {"width": width_mm / across, "height": width_mm / down}
        panel.add_patch(Ellipse((offset[2], offset[1]), **size, fill=False, edgecolor=_TRUTH, lw=1.2))


def _panel(panel: Any, volume: Volume, mask: Array, voxel: Voxel) -> None:
    """The cut-out around a voxel, with the mask's outline and a scale."""
    from matplotlib.patheffects import Normal, Stroke

    index, line, column = voxel
    across, down, _ = volume.geometry.spacing_mm
    half_row, half_col = round(_SIDE_MM / 2 / down), round(_SIDE_MM / 2 / across)
    nearest = min(max(0, round(index)), len(volume.array) - 1)  # an annotation may lie a little outside
    plane, outline = volume.array[nearest], mask[nearest]
    low, high = _LUNG_WINDOW_HU
    panel.imshow(plane, cmap="gray", vmin=low, vmax=high, aspect=down / across, interpolation="bilinear")
    if outline.any():
        panel.contour((outline > 0).astype(np.uint8), [0.5], colors=[_OUTLINE], linewidths=1.2)
    panel.set_xlim(column - half_col, column + half_col)
    panel.set_ylim(line + half_row, line - half_row)
    dark = [Stroke(linewidth=3, foreground="black"), Normal()]  # readable on lung and on bone
    left, bottom = column - half_col + 5 / across, line + half_row * 0.9
    panel.plot([left, left + 10 / across], [bottom] * 2, color="white", lw=2, path_effects=dark)
    panel.text(left + 5 / across, bottom - 2 / down, "10 mm", color="white", fontsize=7, ha="center", path_effects=dark)


def _caption(number: int, row: dict[str, Any]) -> str:
    place = ", ".join(f"{row[f'center_{axis}_mm']:.1f}" for axis in "xyz")
    lines = [f"{number}.  nodule {row['nodule_probability']:.1%}", f"{place} mm, index {round(row['center_index'])}"]
    if "malignancy_probability" in row:
        lines[0] += f", malignant {row['malignancy_probability']:.1%}"
    return "\n".join([*lines, f"diameter {row['diameter_mm']:.1f} mm"])
