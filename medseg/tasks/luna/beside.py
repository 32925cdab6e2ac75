"""Answers' marks beside the annotated nodules: what was found, missed, and marked where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.data.picture import RUN_COLOURS
from medseg.data.volume import Volume
from medseg.metrics.finding import Finding
from medseg.task import Array
from medseg.tasks.luna import panels

Row = dict[str, Any]
_SHOWN, _COLUMNS, _DPI = 6, 3, 80
_SURE = 0.5  # false positives below this are not worth showing
_MARKS = "+x1234"


@dataclass(frozen=True)
class _Place:
    """The subject of a panel: a nodule, or a mark that hits none."""

    voxel: panels.Voxel
    caption: str
    marks: Sequence[tuple[int, panels.Voxel]]  # whose, where


def beside_truth(
    volume: Volume, masks: Mapping[str, Array], rows: Mapping[str, Sequence[Row]], nodules: Sequence[Finding]
) -> Array:
    """Answers' marks beside the annotated nodules, (h, w, 3) uint8: at most 6 axial cut-outs 60 mm wide.

    First the nodules, those that were missed or are least probable before the others, then the most probable marks that
    hit none, from probability 0.5 on. A nodule is filled in green; each answer's marks and the outline of its
    candidates' mask have their own colour, named in the title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    seen, turned = panels.upright(volume, list(masks.values()))
    centres = seen.geometry.voxel_from_world(np.array([nodule.xyz_mm for nodule in nodules]).reshape(-1, 3))
    places = [*_nodule_places(volume, rows, nodules, centres), *_false_places(volume, rows, nodules)]
    figure, axes = panels.figure("", min(len(places), _SHOWN), _COLUMNS, _DPI)
    _legend(figure, masks)
    for panel, place in zip(axes, places, strict=False):
        panels.cut_out(panel, seen, place.voxel)
        for nodule, centre in zip(nodules, centres, strict=True):
            _fill(panel, seen, nodule.value, centre - place.voxel[0] * np.array([1, 0, 0]))
        for number, mask in enumerate(turned):
            wide = 1.2 + 1.3 * (len(turned) - 1 - number)  # so that all are visible if they are at the same place
            panels.outline(panel, mask[panels.plane_of(seen, place.voxel)], _colour(number), wide)
        for number, voxel in place.marks:
            panels.cross(panel, voxel, _colour(number), _MARKS[number])
        panel.set_title(place.caption, fontsize=10, loc="left", color=panels.INK)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _nodule_places(
    volume: Volume, rows: Mapping[str, Sequence[Row]], nodules: Sequence[Finding], centres: Array
) -> list[_Place]:
    """The nodules, the least probable first."""
    hits = [[[row for row in found if _hits(row, nodule)] for found in rows.values()] for nodule in nodules]
    best = [[max((row["nodule_probability"] for row in one), default=None) for one in found] for found in hits]
    order = sorted(range(len(nodules)), key=lambda one: min((value or 0.0 for value in best[one]), default=0.0))
    return [
        _Place(tuple(centres[one]), _caption(nodules[one], best[one], centres[one]), _marks(volume, hits[one]))
        for one in order
    ]


def _false_places(volume: Volume, rows: Mapping[str, Sequence[Row]], nodules: Sequence[Finding]) -> list[_Place]:
    """The marks that hit no nodule, the most probable first."""
    found = [
        (row, number)
        for number, listed in enumerate(rows.values())
        for row in listed
        if row["nodule_probability"] >= _SURE and not any(_hits(row, nodule) for nodule in nodules)
    ]
    places = []
    for row, number in sorted(found, key=lambda one: -one[0]["nodule_probability"]):
        (voxel,) = panels.voxels(volume, [row])
        whose = f"by {list(rows)[number]}, " if len(rows) > 1 else "axial "
        caption = f"no nodule: marked at {row['nodule_probability']:.1%}\n{whose}slice {round(voxel[0]) + 1}"
        places.append(_Place(voxel, caption, [(number, voxel)]))
    return places


def _marks(volume: Volume, found: Sequence[Sequence[Row]]) -> list[tuple[int, panels.Voxel]]:
    return [(number, voxel) for number, rows in enumerate(found) for voxel in panels.voxels(volume, rows)]


def _hits(row: Row, nodule: Finding) -> bool:
    """Whether a mark lies closer to a nodule's centre than its radius, as LUNA16 counts."""
    place = np.array([row[f"center_{axis}_mm"] for axis in "xyz"])
    return bool(np.linalg.norm(place - nodule.xyz_mm) < nodule.value / 2)


def _caption(nodule: Finding, probabilities: Sequence[float | None], centre: Array) -> str:
    told = ["missed" if one is None else f"{one:.1%}" for one in probabilities]
    found = f"marked at {told[0]}" if len(set(told)) == 1 and told[0] != "missed" else ", ".join(told)
    said = "missed" if set(told) == {"missed"} else found
    return f"nodule of {nodule.value:.1f} mm: {said}\naxial slice {round(centre[0]) + 1}"


def _legend(figure: Any, names: Mapping[str, Array]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries: list[Any] = [Patch(facecolor=panels.GREEN, alpha=0.5, label="annotated nodule")]
    entries += [
        Line2D([], [], color=_colour(number), marker=_MARKS[number], label=name) for number, name in enumerate(names)
    ]
    how = {"loc": "outside lower center", "ncols": 2, "frameon": False, "fontsize": 10, "labelcolor": panels.INK}
    figure.legend(handles=entries, **how)


def _colour(number: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*RUN_COLOURS[number])


def _fill(panel: Any, volume: Volume, diameter_mm: float, offset: Array) -> None:
    """A ball in the panel's slice; `offset` is its centre, the index counted from that slice."""
    from matplotlib.patches import Ellipse

    across, down, between = volume.geometry.spacing_mm
    width_mm = np.sqrt(max(0.0, diameter_mm**2 - (2 * offset[0] * between) ** 2))
    if width_mm:
        size = {"width": width_mm / across, "height": width_mm / down}
        panel.add_patch(Ellipse((offset[2], offset[1]), **size, facecolor=panels.GREEN, alpha=0.4))
