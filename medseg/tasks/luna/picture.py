"""Nodules as a picture: axial cut-outs with the mask's outline and the marks; where none is found, the whole CT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.volume import Volume
from medseg.files import whole_file
from medseg.task import Array
from medseg.tasks.luna import panels

_SHOWN, _COLUMNS, _DPI = 8, 4, 110


def draw(path: Path, volume: Volume, mask: Array, rows: Sequence[dict[str, Any]]) -> None:
    """Write a PNG of the most probable nodules (at most 8): axial cut-outs 60 mm wide, however the volume is stored.

    The patient's front is up, their right on the picture's left. A cross marks the nodule's centre, the outline is that
    of the mask (index, row, col) in that slice. If no nodule is listed, the mask is that of the candidates: eight whole
    slices with their outlines.
    """
    figure = _nodules(volume, mask, rows) if rows else _nothing(volume, mask)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight", facecolor=panels.PAPER)


def _nodules(volume: Volume, mask: Array, rows: Sequence[dict[str, Any]]) -> Any:
    seen, (turned,) = panels.upright(volume, [mask])
    shown = rows[:_SHOWN]
    count = f"{len(rows)} nodule{'s' * (len(rows) != 1)} found"
    title = f"{count}, the {_SHOWN} most probable shown" if len(rows) > _SHOWN else count
    figure, axes = panels.figure(title, len(shown), _COLUMNS, _DPI)
    for panel, row, place in zip(axes, shown, panels.voxels(volume, shown), strict=False):
        panels.cut_out(panel, seen, place)
        panels.outline(panel, turned[panels.plane_of(seen, place)])
        panels.cross(panel, place)
        panel.set_title(_caption(row, len(volume.array)), fontsize=8.5, loc="left", color=panels.INK)
    return figure


def _nothing(volume: Volume, candidates: Array) -> Any:
    """Eight slices of the whole CT, those with most of the candidates if there are any."""
    seen, (turned,) = panels.upright(volume, [candidates])
    looked = turned.any((1, 2))
    told = "the outlines are the candidates" if looked.any() else "there were no candidates"
    figure, axes = panels.figure(f"no nodule found; {told}", _SHOWN, _COLUMNS, _DPI)
    for panel, index in zip(axes, _spread(turned), strict=False):
        panels.slice_shown(panel, seen, index)
        panels.outline(panel, turned[index])
        panels.letters(panel)
        panel.set_title(
            f"axial slice {index + 1} of {len(turned)}, from the feet", fontsize=8.5, loc="left", color=panels.INK
        )
    return figure


def _spread(mask: Array) -> list[int]:
    """Up to eight slices in order, one of each eighth of the volume: the one with most of the mask, else its middle."""
    parts = np.array_split(np.arange(len(mask)), min(_SHOWN, len(mask)))
    sizes = mask.sum((1, 2))
    return [int(part[np.argmax(sizes[part])] if sizes[part].any() else part[len(part) // 2]) for part in parts]


def _caption(row: dict[str, Any], slices: int) -> str:
    place = ", ".join(f"{row[f'center_{axis}_mm']:.1f}" for axis in "xyz")
    lines = [
        f"{row['nodule']}.  nodule {row['nodule_probability']:.1%}",
        f"slice {row['slice']} of {slices}, {place} mm",
    ]
    if "malignancy_probability" in row:
        lines[0] += f", malignant {row['malignancy_probability']:.1%}"
    return "\n".join([*lines, f"diameter {row['diameter_mm']:.1f} mm"])
