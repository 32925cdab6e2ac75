"""CSV tables in the forms that programs save: UTF-8, UTF-16, UTF-32 or Windows-1252; several separators.

The separator is a comma, semicolon, tab or "|". Without comma as separator, numbers may have decimal commas.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medseg.errors import InputError

MAX_BYTES = 256 << 20  # ten times LUNA16's largest table
_MARKS = (  # byte order marks; UTF-32's comes first, because it begins with the bytes of UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SEPARATORS = ",;\t|"
_HINT = re.compile(r"sep=.\r?\n")  # a first line for Excel
Reader = Any  # the type that csv.reader returns; it cannot be imported
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Row(NamedTuple):
    """One line of a table: the requested cells, in the requested order."""

    line: int
    texts: tuple[str, ...]
    numbers: tuple[float, ...] = ()


def read_table(path: Path, texts: Sequence[str], numbers: Sequence[str] = ()) -> list[Row]:
    """The table's rows with the cells of these columns: ASCII texts without surrounding spaces, and finite numbers.

    Raises InputError, with the file and the line, where the table cannot be read as such.
    """
    wanted, text = (*texts, *numbers), read_text(path)
    reader, header = _opened(text, wanted, path)
    places, first = [header.index(name) for name in wanted], len(texts)
    rows, marks, separator, plain = [], set[str](), reader.dialect.delimiter, text.isascii()
    for line, cells in _cells(reader, len(header), path):
        chosen = [cells[place].strip() for place in places]
        if not plain and not all(map(str.isascii, chosen)):
            raise InputError(f"{path}, line {line}: holds non-ASCII characters: correct the line")
        rows.append(Row(line, tuple(chosen[:first]), _numbers(chosen[first:], separator, path, line)))
        if separator != ",":  # with the separator ",", a number with a decimal comma is already refused
            marks.update(mark for mark in ".," if mark in "".join(chosen[first:]))
    if len(marks) > 1:
        raise InputError(
            f"{path}: has numbers with decimal points and numbers with decimal commas: write all with points"
        )
    return rows


def read_records(path: Path, wanted: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The table's rows: the line's number, and the cells by their column's name, in any alphabet.

    Raises InputError, with the file and the line, where it cannot be read, or where a wanted column is missing.
    """
    reader, header = _opened(read_text(path), wanted, path)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"{path}: has several columns {', '.join(twice)}; expected one of each: remove the others")
    lines = _cells(reader, len(header), path)
    return [(line, dict(zip(header, map(str.strip, cells), strict=False))) for line, cells in lines]


def read_text(path: Path) -> str:
    """A text file's content, in any of the known encodings. Raises InputError where it is missing or not a text."""
    if not path.is_file():
        raise InputError(f"{path}: no such table; expected a CSV file: check the path, or copy the file there")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: has {path.stat().st_size} bytes; expected a table of at most {MAX_BYTES >> 20} MiB")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a CSV file: check the file") from error
    text = _decoded(content)
    if text is None or "\0" in text:
        raise InputError(f"{path}: is not a text file; expected a CSV file: save it as CSV UTF-8")
    return text


def read_list(path: Path, title: str) -> list[str]:
    """The values of a file with one value per line. Empty lines are left out, and so is a line with the title.

    Raises InputError where a line holds more than one value or is not ASCII.
    """
    found = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        value = line.strip(" \t\",;'")
        if re.search(r"[\s,;|]", value) or not value.isascii():
            raise InputError(
                f"{path}, line {number}: is not one value; expected one {title} per line: correct the line"
            )
        found += [value] if value not in ("", title) else []
    return found


def _decoded(content: bytes) -> str | None:
    """The bytes as text, None where they are not one: by their byte order mark, else UTF-16, UTF-8 or Windows-1252."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return _tried(content[len(mark) :], encoding)
    if b"\0" in content[:2]:  # in ASCII text as UTF-16, every other byte is 0
        return _tried(content, "utf-16-be" if content[:1] == b"\0" else "utf-16-le")
    text = _tried(content, "utf-8")
    return _tried(content, "cp1252") if text is None else text


def _tried(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def _opened(text: str, wanted: Sequence[str], path: Path) -> tuple[Reader, list[str]]:
    """A reader whose next line is the first after the header, and the header's names.

    The separator is the first with which the header has all wanted columns.
    """
    hint = _HINT.match(text)
    body = text[hint.end() :] if hint else text
    missing: list[str] = list(wanted)
    for separator in _SEPARATORS:
        reader = csv.reader(io.StringIO(body, newline=""), delimiter=separator, strict=True)
        header = _header(reader)
        twice = sorted({name for name in wanted if header.count(name) > 1})
        if twice:
            raise InputError(f"{path}: has several columns {', '.join(twice)}; expected one of each: remove the others")
        missing = min(missing, [name for name in wanted if name not in header], key=len)
        if not missing:
            return reader, header
    raise InputError(
        f"{path}: has no column {', '.join(missing)}; expected {', '.join(wanted)} in its first line: add them"
    )


def _header(reader: Iterator[list[str]]) -> list[str]:
    """The first line that is not empty, as names."""
    try:
        return next(([cell.strip() for cell in cells] for cells in reader if any(cells)), [])
    except csv.Error:
        return []


def _cells(reader: Reader, width: int, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the cells of each line that is not empty. Raises InputError for fewer or more cells than `width`.

    More cells are allowed where they are empty.
    """
    try:
        for cells in reader:
            if not any(map(str.strip, cells)):
                continue
            if len(cells) != width and (len(cells) < width or any(map(str.strip, cells[width:]))):
                raise InputError(
                    f"{path}, line {reader.line_num}: has {len(cells)} cells; expected {width} as in the first line: "
                    "correct the line"
                )
            yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: is not a valid line of a table ({error}); expected cells with quotes in "
            "pairs: "
            "correct the line"
        ) from error


def _numbers(cells: list[str], separator: str, path: Path, line: int) -> tuple[float, ...]:
    """The cells as finite numbers. Decimal commas are allowed where the separator is not a comma."""
    plain = [cell.replace(",", ".") for cell in cells] if separator != "," else cells
    try:
        found = tuple(map(float, plain))
    except ValueError:
        found = (math.nan,)
    if not all(map(math.isfinite, found)) or "_" in "".join(plain):  # Python's float takes 1_0
        odd = next(cell for cell, text in zip(cells, plain, strict=True) if not _is_number(text))
        raise InputError(
            f"{path}, line {line}: {odd[:40]!r} is not a number; expected a finite number: correct the line"
        )
    return found


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and math.isfinite(float(text))
