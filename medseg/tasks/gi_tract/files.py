"""The GI tract's files: requests from slices; answers as the competition's table, a mask and a picture."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from medseg.data import overlay
from medseg.data.encoded import GREY16, declared, decode, encoded_tensor
from medseg.data.grid import png
from medseg.data.image import read_bytes
from medseg.data.table import read_text
from medseg.errors import InputError
from medseg.files import present, whole_file
from medseg.task import Array, Reading, Request, Source, Tensors
from medseg.tasks.gi_tract.networks import GI_TRACT
from medseg.tasks.gi_tract.reader import check_size, named_size

COLOURS = dict(zip(GI_TRACT.classes, (overlay.RED, overlay.GREEN, overlay.BLUE), strict=True))
_COLUMNS = ("id", "class", "predicted")
_OLDER = ("id", "class", "segmentation")  # the columns of tables that medseg wrote before 2026-11-27
_TABLE = "submission.csv"
_WIDEST_PX = 800


def sources(path: Path, _: Reading) -> list[Source]:
    """The slice in a PNG file, or every PNG in a folder and its subfolders. Raises InputError where there is none."""
    files = [path]
    if path.is_dir():
        found = (file for file in path.rglob("*") if file.suffix.lower() == ".png" and not file.name.startswith("."))
        files = sorted(found)
    if not files:
        raise InputError(f"{path} holds no .png files; expected 16-bit grey PNG slices: check the folder")
    return [Source(file, slice_id(file), partial(_request, file)) for file in files]


def answered(name: str, folder: Path) -> list[Path]:
    """The pictures of an earlier answer to a slice, and the table if it holds the slice."""
    table = [folder / _TABLE] if (folder / _TABLE).is_file() and name in _submitted(folder / _TABLE) else []
    return [*table, *present(folder, _pictures(name))]


def _pictures(name: str) -> tuple[str, str]:
    return f"{name}_mask.png", f"{name}_overlay.png"


def _request(file: Path) -> Request:
    data = read_bytes(file)
    if named_size(file):
        check_size(file, declared(data, GREY16, str(file)))
    return Request(slice_id(file), {"encoded": encoded_tensor([data])}, data)


def slice_id(path: Path) -> str:
    """The competition's id of a slice, such as `case7_day0_slice_0001`, from its path; else the file's stem."""
    match, parts = re.match(r"slice_\d+", path.name), path.absolute().parts
    return f"{parts[-3]}_{match[0]}" if match and parts[-2] == "scans" else path.stem


def write(request: Request, answer: Tensors, folder: Path) -> list[Path]:
    """Write NAME_mask.png and NAME_overlay.png, and add the slice's rows to submission.csv; returns the paths."""
    paths = [folder / name for name in (_TABLE, *_pictures(request.name))]
    submit(paths[0], request.name, [text.decode() for text in answer["rle"]])
    shown = png(picture(decode(request.source, GREY16, request.name), answer["mask"]))
    for path, content in zip(paths[1:], (answer["mask_png"][0], shown), strict=True):
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    return paths


def submit(table: Path, slice_name: str, texts: list[str]) -> None:
    """Add a slice's run-length texts to the competition's table; earlier rows of the slice are replaced.

    The table is read once. New rows are appended; only for a slice that is already in it is the table written again.
    """
    rows = [[slice_name, name, text] for name, text in zip(GI_TRACT.classes, texts, strict=True)]
    there = _submitted(table)
    if slice_name in there:
        with table.open(newline="") as file:
            others = [row for row in csv.reader(file) if row and row[0] != slice_name]
        with whole_file(table) as temporary:
            temporary.write_text(_lines([*others, *rows]))
    else:
        with table.open("a") as file:
            file.write(_lines(rows))
    there.add(slice_name)
    _TABLES[table.resolve()] = (table.stat().st_size, there)


_TABLES: dict[Path, tuple[int, set[str]]] = {}  # the tables that this process wrote: their bytes and their slices


def _submitted(table: Path) -> set[str]:
    """The slices in a table, which is created if it does not exist. They are cached until the table's size changes."""
    size, names = _TABLES.get(table.resolve(), (-1, set()))
    if table.is_file() and table.stat().st_size == size:
        return names
    rows = _kept(table) if table.is_file() else []
    with whole_file(table) as temporary:
        temporary.write_text(_lines([_COLUMNS, *rows]))
    return {row[0] for row in rows}


def _kept(table: Path) -> list[list[str]]:
    """The rows of an earlier table. Raises InputError where it is another kind of table, which must not be overwritten.

    An incomplete last line was left by a killed process; it is dropped.
    """
    *lines, _ = read_text(table).split("\n")
    if lines and tuple(lines[0].strip().split(",")) not in (_COLUMNS, _OLDER):
        raise InputError(f"{table}: is not a table of {', '.join(_COLUMNS)}: move it away, or give another --out")
    return [row for row in csv.reader(lines[1:]) if len(row) == len(_COLUMNS)]


def _lines(rows: Iterable[Sequence[str]]) -> str:
    """Rows as lines of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def picture(pixels: Array, mask: Array) -> Array:
    """The slice (h, w) with its mask (3, h, w) drawn over it, as RGB, enlarged if it is small.

    Large bowel is red, small bowel green, stomach blue.
    """
    shown = overlay.enlarged(overlay.grey(pixels), max(1, _WIDEST_PX // pixels.shape[1]))
    for organ, colour in zip(mask, COLOURS.values(), strict=True):
        shown = overlay.painted(shown, organ, colour)
    return overlay.legend(shown, {name.replace("_", " "): colour for name, colour in COLOURS.items()})
