"""The task's files: requests from pictures; answers as masks, an overlay, and statistics in JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from medseg.data import overlay
from medseg.data.encoded import decode, encoded_tensor
from medseg.data.grid import png
from medseg.data.image import pictures_in, read_bytes
from medseg.files import whole_file
from medseg.task import Array, Reading, Request, Source, Tensors
from medseg.tasks.picture.description import Picture, known
from medseg.tasks.picture.kinds import SUFFIXES, kind_of
from medseg.tasks.picture.score import shown
from medseg.tasks.picture.statistics import COLUMNS, class_planes

COLOURS = (overlay.AMBER, overlay.BLUE, overlay.RED, overlay.GREEN, (214, 93, 255), (0, 214, 214), (255, 128, 0))
_MASK, _OVERLAY, _STATISTICS = "_mask", "_overlay.png", "_statistics"
_WIDEST_PX = 800


def sources(path: Path, _: Reading) -> list[Source]:
    """The picture in a file, or every picture in a folder. Raises InputError where a folder has none."""
    return [Source(file, file.stem, partial(_request, file)) for file in pictures_in(path, SUFFIXES)]


def _request(file: Path) -> Request:
    data = read_bytes(file)
    return Request(file.stem, {"encoded": encoded_tensor([data])}, (file, data))


def names(picture: Picture, name: str) -> tuple[str, ...]:
    """The names of an answer's files: its masks, the overlay, and the statistics as JSON and as CSV."""
    single = picture.softmax or len(picture.classes) == 1
    masks = [f"{name}{_MASK}.png"] if single else [f"{name}{_MASK}_{one}.png" for one in picture.classes]
    return *masks, f"{name}{_OVERLAY}", f"{name}{_STATISTICS}.json", f"{name}{_STATISTICS}.csv"


def answered(picture: Picture | None, name: str, folder: Path) -> list[Path]:
    """The files of an earlier answer to a picture that exist in the folder."""
    if picture:
        return [path for one in names(picture, name) if (path := folder / one).exists()]
    return sorted(path for path in folder.glob("*") if path.name.startswith((f"{name}{_MASK}", f"{name}{_STATISTICS}")))


def write(picture: Picture | None, request: Request, answer: Tensors, folder: Path) -> list[Path]:
    """Write the masks, the overlay and the statistics, see `names`; returns their paths."""
    picture = known(picture)
    file, data = request.source
    found = json.loads(answer["statistics"][0])
    document = {"picture": file.name, **found, "made_by": dict(request.made_by)}
    pixels = decode(data, kind_of(picture), str(file))
    contents = (
        *answer["mask_png"],
        png(drawn(picture, pixels, answer["mask"])),
        (json.dumps(document, indent=2) + "\n").encode(),
        _table(found["classes"]).encode(),
    )
    paths = [folder / name for name in names(picture, request.name)]
    for path, content in zip(paths, contents, strict=True):
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    return paths


def drawn(picture: Picture, pixels: Array, mask: Array) -> Array:
    """The picture as RGB, enlarged if it is small, with each class tinted and outlined, and a legend below."""
    found = shown(pixels)
    found = overlay.enlarged(found, max(1, _WIDEST_PX // found.shape[1]))
    colours = [one.colour or COLOURS[index % len(COLOURS)] for index, one in enumerate(picture.shared.classes)]
    for plane, colour in zip(class_planes(picture, mask), colours, strict=True):
        found = overlay.painted(found, plane, colour)
    return overlay.legend(found, dict(zip(picture.classes, colours, strict=True)))


def _table(records: Sequence[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()
