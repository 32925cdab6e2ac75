"""STAS's files: requests from pictures; answers as a PNG mask, LabelMe JSON and a picture."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np

from medseg.data import overlay
from medseg.data.encoded import RGB, decode, encoded_tensor
from medseg.data.grid import png
from medseg.data.image import pictures_in, read_bytes
from medseg.files import present, whole_file
from medseg.task import Array, Reading, Request, Source, Tensors
from medseg.tasks.stas.reader import SUFFIXES


def sources(path: Path, _: Reading) -> list[Source]:
    """The picture in a file, or every picture in a folder. Raises InputError where a folder has none."""
    return [Source(file, file.stem, partial(_request, file)) for file in pictures_in(path, SUFFIXES)]


def answered(name: str, folder: Path) -> list[Path]:
    """The files of an earlier answer to a picture that exist in the folder."""
    return present(folder, _names(name))


def _names(name: str) -> tuple[str, str, str]:
    return f"{name}_mask.png", f"{name}.json", f"{name}_overlay.png"


def _request(file: Path) -> Request:
    data = read_bytes(file)
    return Request(file.stem, {"encoded": encoded_tensor([data])}, (file, data))


def write(request: Request, answer: Tensors, folder: Path) -> list[Path]:
    """Write NAME_mask.png (0/255), NAME.json for LabelMe and NAME_overlay.png; returns their paths."""
    file, data = request.source
    document = json.loads(answer["polygons"][0]) | {"imagePath": file.name}
    shown = png(picture(decode(data, RGB, str(file)), answer["mask"], answer["votes"]))
    contents = (answer["mask_png"][0], json.dumps(document, indent=2).encode(), shown)
    paths = [folder / name for name in _names(request.name)]
    for path, content in zip(paths, contents, strict=True):
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    return paths


def picture(pixels: Array, mask: Array, votes: Array) -> Array:
    """The picture (h, w, 3) with the mask outlined, and a legend below, as RGB.

    With three votes (3, h, w), pixels that only one network marked are tinted too.
    """
    if len(votes) == 1:
        return overlay.legend(overlay.painted(pixels, mask, overlay.BLUE, tint=0.15, width=3), {"STAS": overlay.BLUE})
    shown = overlay.painted(pixels, np.count_nonzero(votes, axis=0) == 1, overlay.AMBER, tint=0.3, width=1)
    shown = overlay.painted(shown, mask, overlay.BLUE, tint=0.15, width=3)
    return overlay.legend(shown, {"STAS, by at least two of three": overlay.BLUE, "one voter alone": overlay.AMBER})
