"""Reads AI CUP 2022's STAS pictures and LabelMe files as cases and as samples; every picture counts as a patient."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medseg.data.encoded import RGB, check, decode, encoded_tensor, orientation_of, portable
from medseg.data.grid import NEAREST, resized
from medseg.data.image import read_bytes
from medseg.data.labelme import Annotation, mask_of, read_labelme
from medseg.data.samples import Sample, Samples
from medseg.data.shapes import BACKGROUND, IGNORED
from medseg.data.split import Split, drawn
from medseg.data.table import read_text
from medseg.errors import InputError
from medseg.task import Array, Case, Tensors, Unread
from medseg.tasks.stas.pipeline import SIZE, prepare

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
LABELS = ("STAS",)


def root(directory: Path) -> Path:
    """The folder with `Train_Images` and `Train_Annotations`: `SEG_Train_Datasets` in the given one, or that itself."""
    inner = directory / "SEG_Train_Datasets"
    return inner if inner.is_dir() else directory


def picture_path(directory: Path, patient: str) -> Path:
    """The path of a picture; the file may be missing where the annotation embeds the picture.

    Raises InputError where several files have its name.
    """
    folder = root(directory) / "Train_Images"
    found = sorted(path for path in folder.glob(f"{glob.escape(patient)}.*") if path.suffix.lower() in SUFFIXES)
    if len(found) > 1:
        raise InputError(
            f"{found[0]}: has the same name as {found[1].name}; expected one picture per name: remove the other"
        )
    return found[0] if found else folder / f"{patient}.jpg"


def annotation_path(directory: Path, patient: str) -> Path:
    """The path of a picture's annotation; the file is missing for a picture without truth."""
    return root(directory) / "Train_Annotations" / f"{patient}.json"


def labels(directory: Path) -> Sequence[str]:
    """The labels of shapes that count as STAS: "STAS", or those in `labels.txt`, LabelMe's list with one per line.

    Raises InputError where `labels.txt` names none.
    """
    path = root(directory) / "labels.txt"
    if not path.is_file():
        return LABELS
    lines = [line.strip() for line in read_text(path).splitlines()]
    found = [line for line in lines if line not in ("", BACKGROUND, IGNORED)]
    if not found:
        raise InputError(f"{path}: names no class; expected one per line: add the label of what counts as STAS")
    return found


def annotation(directory: Path, patient: str) -> Annotation:
    """The annotation of a picture. Raises InputError where the file, or one of its labels, cannot be used."""
    return read_labelme(annotation_path(directory, patient), labels(directory))


def patients(directory: Path) -> Sequence[str]:
    """The names of all pictures and annotations, sorted."""
    pictures = (path for path in root(directory).glob("Train_Images/[!.]*") if path.suffix.lower() in SUFFIXES)
    return sorted({path.stem for path in (*pictures, *root(directory).glob("Train_Annotations/[!.]*.json"))})


def read(directory: Path, patient: str) -> Sequence[Case]:
    """One picture as the only case: (row, col, 3) uint8 RGB, mask (row, col) uint8, None where there is no annotation.

    Raises InputError, with the file's name, where a file is missing or unreadable, or where the annotation is for
    another size.
    """
    content = picture_bytes(directory, patient)
    picture = decode(content, RGB, str(picture_path(directory, patient)))
    drawn_on = annotation_path(directory, patient).is_file()
    return [Case(patient, picture, _mask(directory, patient, content, picture.shape[:2]) if drawn_on else None)]


def _mask(directory: Path, patient: str, content: bytes, size: tuple[int, int]) -> Array:
    return mask_of(annotation(directory, patient), size, orientation_of(content, RGB))


def cases(directory: Path, patient: str) -> list[Unread]:
    """The patient's only case, not read yet."""
    path, note = picture_path(directory, patient), annotation_path(directory, patient)
    files = (path if path.is_file() else note,)  # an annotation may embed its picture
    return [Unread(patient, partial(_asked, directory, patient), files, patient, known=note.is_file())]


def _asked(directory: Path, patient: str) -> Tensors:
    return {"encoded": encoded_tensor([picture_bytes(directory, patient)])}


def picture_bytes(directory: Path, patient: str) -> bytes:
    """The bytes of a picture's file, or of the one that its annotation embeds. Raises InputError where it has none."""
    path, note = picture_path(directory, patient), annotation_path(directory, patient)
    embedded = None if path.is_file() or not note.is_file() else read_labelme(note).image
    content = embedded if embedded is not None else read_bytes(path)
    check(content, RGB, str(note if embedded is not None else path))
    return content


def samples(directory: Path, patients: Sequence[str]) -> Samples:
    """The annotated pictures: (3, 800, 800) float32, mask (1, 800, 800) uint8; read on demand."""
    annotated = tuple(patient for patient in patients if annotation_path(directory, patient).is_file())
    notes = [annotation(directory, patient) for patient in annotated]
    area = [np.count_nonzero(mask_of(one, one.size)) if one.size else len(one.shapes) for one in notes]
    load, encoded = partial(_sample, directory, annotated), partial(_encoded, directory, annotated)
    return Samples(load, annotated, np.array(area, float), encoded)


def split(directory: Path, seed: int = 0, fold: int = 0) -> Split:
    """One of four parts of the pictures, drawn with the seed, validates."""
    return drawn(patients(directory), 4, fold, seed)


def _sample(directory: Path, annotated: Sequence[str], index: int) -> Sample:
    (case,) = read(directory, annotated[index])
    mask: Array = np.asarray(case.mask)
    return prepare(case.image), resized(mask[np.newaxis], SIZE, NEAREST)


def _encoded(directory: Path, annotated: Sequence[str], index: int) -> tuple[bytes, Array]:
    content = picture_bytes(directory, annotated[index])
    mask = _mask(directory, annotated[index], content, check(content, RGB))
    return portable(content, RGB), mask[np.newaxis]
