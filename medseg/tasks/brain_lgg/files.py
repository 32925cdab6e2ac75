"""The brain tumour's files: a request from a patient's slices; the answer as NIfTI, TIFF masks and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from medseg.data import overlay
from medseg.data.encoded import RGB, decode, encoded_tensor
from medseg.data.grid import png
from medseg.data.image import read_bytes
from medseg.data.volume import write_mask
from medseg.errors import InputError
from medseg.files import present, whole_file
from medseg.task import Array, Geometry, Reading, Request, Source, Tensors
from medseg.tasks.brain_lgg.slices import is_patient, volume_paths

_UNKNOWN = Geometry((1.0, 1.0, 1.0))  # the collection's TIFF files do not say how large a pixel is
_FILES = ("mask.nii.gz", "outline.png")
_SHOWN, _COLUMNS = 12, 4
_FLAIR = 1  # the channel in which a lower-grade glioma is bright


def sources(path: Path, _: Reading) -> list[Source]:
    """The volume in a patient's folder, or those in a folder of such folders. Raises InputError where there is none."""
    folders = [path] if is_patient(path) else sorted(folder for folder in path.glob("*") if is_patient(folder))
    if not folders:
        raise InputError(
            f"{path} holds no PATIENT_N.tif slices; expected a folder PATIENT, or a folder of such folders"
        )
    return [Source(folder, folder.resolve().name, partial(_request, folder)) for folder in folders]


def answered(_: str, folder: Path) -> list[Path]:
    """The files of an earlier answer in the folder."""
    return [*present(folder, _FILES), *sorted(folder.glob("*_mask.tif"))]


def _request(folder: Path) -> Request:
    paths = volume_paths(folder)
    return Request(folder.resolve().name, {"encoded": encoded_tensor([read_bytes(one) for one in paths])}, paths)


def write(request: Request, answer: Tensors, folder: Path) -> list[Path]:
    """Write mask.nii.gz, outline.png, and for each slice PATIENT_N_mask.tif as in the collection; returns their paths.

    The pixel size is unknown, so mask.nii.gz has a spacing of 1 mm.
    """
    import tifffile

    slices: list[Path] = request.source
    mask, paths = answer["mask"], [folder / name for name in _FILES]
    write_mask(paths[0], mask, _UNKNOWN)
    volume = np.stack(
        [decode(data, RGB, str(path)) for data, path in zip(request.tensors["encoded"], slices, strict=True)]
    )
    with whole_file(paths[1]) as temporary:
        temporary.write_bytes(png(picture(volume, {"tumour": mask})))
    for path, one in zip(slices, mask, strict=True):
        paths.append(folder / f"{path.stem}_mask.tif")
        with whole_file(paths[-1]) as temporary:
            tifffile.imwrite(temporary, one * np.uint8(255))
    return paths


def picture(volume: Array, masks: Mapping[str, Array]) -> Array:
    """At most 12 slices of a volume (n, h, w, 3), each named mask (n, h, w) outlined in its own colour, as RGB.

    The slices are those with the most pixels of the first mask; where it is empty, they are spread evenly.
    """
    colours = dict(zip(masks, (overlay.AMBER, overlay.BLUE, overlay.RED, overlay.GREEN), strict=False))
    chosen = _chosen(next(iter(masks.values())))
    panels = []
    for index in chosen:
        panel = overlay.grey(volume[index, ..., _FLAIR])
        for name, colour in colours.items():
            panel = overlay.painted(panel, masks[name][index], colour, tint=0.0, width=1)
        panels.append(panel)
    sheet = overlay.sheet(panels, [f"slice {index + 1}" for index in chosen], _COLUMNS)
    return overlay.legend(sheet, colours)


def _chosen(mask: Array) -> list[int]:
    sizes = np.count_nonzero(mask, axis=(1, 2))
    if not sizes.any():
        return sorted({int(index) for index in np.linspace(0, len(mask) - 1, _SHOWN)})
    return sorted(int(index) for index in np.argsort(-sizes, kind="stable")[:_SHOWN] if sizes[index])
