"""The truth of a picture as one mask per class, from a mask of values, one file per class, or LabelMe's shapes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medseg.data.encoded import Kind, check, decode, mode_of, orientation_of
from medseg.data.image import read_bytes
from medseg.data.labelme import Annotation, mask_of, read_labelme
from medseg.description import Class
from medseg.errors import InputError
from medseg.task import Array
from medseg.tasks.picture.layout import Entry

# The modes that hold values: grey, palette, black and white, 16-bit grey.
_KINDS = {mode: Kind("a mask: a PNG or TIFF of one channel", ("PNG", "TIFF"), mode) for mode in ("L", "P", "1", "I;16")}
_WHITE = 255


def truth(entry: Entry, size: tuple[int, int], classes: Sequence[Class], turned: int = 1) -> Array | None:
    """A picture's masks (classes, row, col) uint8 0/1 on its own grid of this size, None where it has no truth.

    Without `classes`, a mask of values gives one mask of all that is not 0; otherwise the files or the LabelMe labels
    are the classes. `turned` is the picture's orientation. Raises InputError, with the file's name, where a file is
    missing, of another size, or holds an unknown class.
    """
    if entry.masks:
        return _apart(entry, size, classes)
    if entry.mask is None:
        return None
    if entry.mask.suffix.lower() == ".json":
        return _drawn(entry.mask, size, classes, turned)
    values = _read(entry.mask, size, turned)
    found = sorted(set(np.unique(values).tolist()) - {0})
    if not classes:
        return (values != 0)[np.newaxis].astype(np.uint8)
    if len(classes) == 1 and found == [_WHITE]:  # black and white
        return (values != 0)[np.newaxis].astype(np.uint8)
    known = {one.value for one in classes}
    if unknown := [value for value in found if value not in known]:
        named = ", ".join(f"{one.value} ({one.name})" for one in classes)
        raise InputError(
            f"{entry.mask}: holds the value {unknown[0]}; expected 0 for the background and {named}: correct the mask, "
            "or name more --classes"
        )
    return np.stack([values == one.value for one in classes]).astype(np.uint8)


def values_of(entry: Entry) -> list[int]:
    """The values other than 0 in a mask of values, sorted; empty where there is no such mask."""
    if entry.mask is None or entry.mask.suffix.lower() == ".json":
        return []
    content = read_bytes(entry.mask)
    found = decode(content, _kind(content, entry.mask), str(entry.mask))
    return sorted(set(np.unique(found).astype(int).tolist()) - {0})


def labels_of(entry: Entry) -> list[str]:
    """The labels in the picture's LabelMe file, sorted; empty where there is none."""
    if entry.mask is None or entry.mask.suffix.lower() != ".json":
        return []
    return sorted({shape.label for shape in read_labelme(entry.mask).shapes})


def _apart(entry: Entry, size: tuple[int, int], classes: Sequence[Class]) -> Array:
    names = [one.name for one in classes] or sorted(entry.masks)
    for name in names:
        if name not in entry.masks:
            raise InputError(
                f"{entry.picture}: has no mask of class {name!r}, but one of {next(iter(entry.masks))!r}; expected "
                "one for each class, an empty one if there is nothing: add it"
            )
    planes = [_read(entry.masks[name], size, 1) for name in names]
    for name, plane in zip(names, planes, strict=True):
        if len(set(np.unique(plane).tolist()) - {0}) > 1:
            raise InputError(
                f"{entry.masks[name]}: holds several values beside 0; expected one, for this is the mask of class "
                f"{name!r} alone: correct the mask"
            )
    return np.stack([plane != 0 for plane in planes]).astype(np.uint8)


def _drawn(path: Path, size: tuple[int, int], classes: Sequence[Class], turned: int) -> Array:
    """One mask per class, each drawn from the shapes with its label and those that cut holes."""
    names = [one.name for one in classes]
    note = read_labelme(path, names)
    wanted = names or sorted({shape.label for shape in note.shapes})
    if not wanted:
        return np.zeros((1, *size), np.uint8)
    return np.stack([mask_of(_of_label(note, name, wanted), size, turned) for name in wanted])


def _of_label(note: Annotation, name: str, names: Sequence[str]) -> Annotation:
    """The annotation with only the shapes of one class, and those that cut holes."""
    others = set(names) - {name}
    shapes = tuple(shape for shape in note.shapes if shape.label not in others)
    return Annotation(note.path, shapes, note.size, note.image_name, None)


def _read(path: Path, size: tuple[int, int], turned: int) -> Array:
    """The values of a mask (row, col) as it is shown.

    Raises InputError where its size is not its picture's, or its orientation is not that of a turned picture.
    """
    content = read_bytes(path)
    kind = _kind(content, path)
    check(content, kind, str(path))
    values = decode(content, kind, str(path))
    if values.shape != size:
        raise InputError(
            f"{path}: is {values.shape[0]} x {values.shape[1]} pixels; expected {size[0]} x {size[1]} as its picture "
            "is shown: save it in that size"
        )
    own = orientation_of(content, kind, str(path))
    if turned not in (1, own):
        raise InputError(
            f"{path}: has the orientation {own}, but its picture {turned}, so it may not fit the displayed picture; "
            "expected the same for both: save both as displayed, without an orientation"
        )
    return values


def _kind(content: bytes, path: Path) -> Kind:
    mode = mode_of(content, str(path))
    if mode not in _KINDS:
        raise InputError(
            f"{path}: has the mode {mode}; expected a mask of one channel, whose values are the classes': save it as a "
            "grey PNG"
        )
    return _KINDS[mode]
