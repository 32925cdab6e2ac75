"""Damaged run lengths and tables: refused in one sentence, or read as they were; other digits are other digits."""

import codecs
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data import rle
from medseg.tasks.gi_tract.reader import truths
from medseg.tasks.luna.tables import findings
from tests.dali_pipelines.damage import damaged
from tests.fuzz.outcomes import Campaign, Outcome, outcome

RNG = np.random.default_rng(0)
MASK = RNG.integers(0, 2, (20, 30), np.uint8)
RUNS = rle.encode(MASK)
NO_NUMBERS = ["x", "-5", "0", "1.5", "1e3", "nan", "None", "1_0", "9" * 30, "½", "²", "+3", "0x10", ",", "\0"]


def runs_with_junk(count: int, seed: int) -> Iterator[tuple[str, str, bool]]:
    """The text with something else in place of a number, without a number, or with its pairs in another order."""
    rng, numbers = np.random.default_rng(seed), RUNS.split()
    for number in range(count):
        at, changed = int(rng.integers(len(numbers))), list(numbers)
        if number % 3 == 0:
            del changed[at]
        elif number % 3 == 1:
            changed[at] = NO_NUMBERS[rng.integers(len(NO_NUMBERS))]
        else:
            first = 2 * int(rng.integers(1, len(numbers) // 2))
            changed = changed[first:] + changed[:first]
        yield f"number {number}", " ".join(changed), False


def runs_with_damage(count: int, seed: int) -> Iterator[tuple[str, str, bool]]:
    files = enumerate(damaged(RUNS.encode(), count, seed))
    return ((f"number {number}", data.decode("latin-1"), True) for number, data in files)


def runs_outcomes(hurt: Any, count: int, _: Path, seed: int) -> Iterator[Outcome]:
    for name, text, altered in hurt(count, seed):
        yield outcome(lambda text=text: rle.decode(text, MASK.shape), lambda mask: (mask == MASK).all(), altered), name


LUNA = "seriesuid,coordX,coordY,coordZ,diameter_mm\n" + "".join(
    f"1.2.{number},{number + 0.25},-{number}.5,1e{number},{number + 3}\n" for number in range(9)
)
GI = "id,class,segmentation\n" + "".join(
    f"case1_day0_slice_{number:04d},{organ},{'1 2 4 5' if number % 2 else ''}\n"
    for number in range(1, 4)
    for organ in ("large_bowel", "small_bowel", "stomach")
)
TABLES = {
    "annotations.csv": (LUNA, lambda folder: findings(folder / "annotations.csv", "diameter_mm")),
    "train.csv": (GI, truths),
}
ENCODINGS = {
    "utf-8": str.encode,
    "utf-8 with its mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16 big": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "tabs and carriage returns": lambda text: text.replace(",", "\t").replace("\n", "\r\n").encode(),
}
CELLS = ["", "x", "nan", "inf", "1e999", "½", '"', '"a"b', "\0", "1_0", "-", "1.2.3.4", "é", "a,b,c", "\n"]


def tables_with_junk(text: str, count: int, seed: int) -> Iterator[tuple[str, bytes, bool]]:
    """The table with something else in one of its cells; run lengths are looked at later, and may be anything."""
    rng, ways = np.random.default_rng(seed), list(ENCODINGS.values())
    for number in range(count):
        lines = [line.split(",") for line in text.splitlines()]
        line, cell = int(rng.integers(len(lines))), int(rng.integers(len(lines[0])))
        named = (text is LUNA and cell == 0) or (text is GI and cell == 2)
        lines[line][cell] = CELLS[rng.integers(len(CELLS))]
        whole = "\n".join(map(",".join, lines)) + "\n"
        name = f"number {number}: {lines[line][cell]!r} in cell {cell} of line {line}"
        yield name, ways[number % len(ways)](whole), named and line > 0


def tables_with_damage(text: str, count: int, seed: int) -> Iterator[tuple[str, bytes, bool]]:
    ways = list(ENCODINGS.values())
    files = (
        data for number, way in enumerate(ways) for data in damaged(way(text), count // len(ways) + 3, seed + number)
    )
    return ((f"number {number}", data, True) for number, data in enumerate(files))


def tables_outcomes(table: str, hurt: Any, count: int, folder: Path, seed: int) -> Iterator[Outcome]:
    text, read = TABLES[table]
    (folder / table).write_text(text)
    wanted = read(folder)
    for number, (name, data, altered) in enumerate(hurt(text, count, seed)):
        place = folder / str(number)  # read tables are remembered by path and time
        place.mkdir()
        (place / table).write_bytes(data)
        yield outcome(lambda place=place: read(place), lambda found: found == wanted, altered), name


CAMPAIGNS = {
    "run lengths, junk in a place": Campaign(partial(runs_outcomes, runs_with_junk), clear=0.5),
    "run lengths, bytes": Campaign(partial(runs_outcomes, runs_with_damage), clear=0.5),
    **{
        f"{table}, {how}": Campaign(partial(tables_outcomes, table, hurt), clear=0.33)
        for table in TABLES
        for how, hurt in (("junk in a cell", tables_with_junk), ("bytes", tables_with_damage))
    },
}
