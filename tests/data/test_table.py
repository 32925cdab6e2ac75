"""Tables as people save them: each is read to the same rows, or refused in one sentence."""

import codecs
from pathlib import Path

import pytest

from medseg.data.table import Row, read_list, read_table
from medseg.errors import InputError
from medseg.tasks.luna.froc import series_of
from medseg.tasks.luna.tables import findings
from tests.shared import SHARED, needs_shared

PLAIN = "seriesuid,coordX,coordY,diameter_mm\n1.2.3,-1.5,2.5,3\n1.2.4,0,1e1,.5\n"
WANTED = [Row(2, ("1.2.3",), (-1.5, 2.5, 3.0)), Row(3, ("1.2.4",), (0.0, 10.0, 0.5))]


def rows(folder: Path, content: str | bytes) -> list[Row]:
    path = folder / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, ("seriesuid",), ("coordX", "coordY", "diameter_mm"))


ENCODED = {
    "utf-8 with its mark": codecs.BOM_UTF8 + PLAIN.encode(),
    "utf-16 little": codecs.BOM_UTF16_LE + PLAIN.encode("utf-16-le"),
    "utf-16 big": codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be"),
    "utf-16 little without a mark": PLAIN.encode("utf-16-le"),
    "utf-16 big without a mark": PLAIN.encode("utf-16-be"),
    "utf-32": codecs.BOM_UTF32_LE + PLAIN.encode("utf-32-le"),
    "latin-1 in a column that nobody asks for": PLAIN.replace("_mm\n", "_mm,wer\n")
    .replace(",3\n", ",3,Müller\n")
    .replace(",.5\n", ",.5,\n")
    .encode("latin-1"),
    "carriage returns": PLAIN.replace("\n", "\r\n"),
    "old Macintosh": PLAIN.replace("\n", "\r"),
    "no end of the last line": PLAIN.rstrip(),
    "quotes": PLAIN.replace("1.2.3", '"1.2.3"').replace("seriesuid", '"seriesuid"'),
    "spaces": PLAIN.replace(",", " , ").replace("1.2.3", " 1.2.3"),
    "semicolons": PLAIN.replace(",", ";"),
    "semicolons and decimal commas": PLAIN.replace(",", ";").replace(".5", ",5"),
    "tabs": PLAIN.replace(",", "\t"),
    "Excel's hint": "sep=;\n" + PLAIN.replace(",", ";"),
    "another order": "diameter_mm,seriesuid,coordY,coordX\n3,1.2.3,2.5,-1.5\n.5,1.2.4,1e1,0\n",
    "columns that are empty": PLAIN.replace("\n", ",,\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODED)
def test_every_way_to_save_a_table_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    found = rows(tmp_path, ENCODED[name])
    assert [(row.texts, row.numbers) for row in found] == [(row.texts, row.numbers) for row in WANTED]


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    assert rows(tmp_path, PLAIN) == WANTED
    spaced = PLAIN.replace("\n1.2.4", "\n\n,,,\n1.2.4") + "\n\n"
    assert [row.line for row in rows(tmp_path, spaced)] == [2, 5]


REFUSED = {
    "has no column coordX": PLAIN.replace("coordX", "x"),
    "has no column seriesuid, coordX, coordY, diameter_mm": "1.2.3,-1.5,2.5,3\n",
    "several columns coordX": PLAIN.replace("coordY", "coordX"),
    "line 2: has 6 cells; expected 4": PLAIN.replace("-1.5,2.5", "-1,5,2,5"),
    "line 3: has 3 cells; expected 4": PLAIN.replace(",.5\n", "\n"),
    "'' is not a number": PLAIN.replace("-1.5", ""),
    "'nan' is not a number": PLAIN.replace("-1.5", "nan"),
    "'1e999' is not a number": PLAIN.replace("-1.5", "1e999"),
    "'1_5' is not a number": PLAIN.replace("-1.5", "1_5"),
    "non-ASCII characters": PLAIN.replace("-1.5", "\N{MINUS SIGN}1.5"),
    "points and numbers with decimal commas": PLAIN.replace(",", ";").replace("2.5", "2,5"),
    "is not a valid line of a table": PLAIN.replace("1.2.4", '"1.2.4'),
    "is not a text file": PLAIN.encode() + b"\0\0",
    "has no column": b"",
    "is not a text file; expected a CSV file": b"PK\x03\x04\0\0\x81" + bytes(range(256)),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_no_such_table_is_refused_in_one_sentence(words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        rows(tmp_path, REFUSED[words])
    assert words in str(caught.value)
    assert str(tmp_path / "table.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["1.2.3\n1.2.4\n", "\ufeff1.2.3\r\n1.2.4", 'seriesuid\n"1.2.3"\n1.2.4,\n\n'])
def test_a_list_is_read_with_and_without_its_title(content: str, tmp_path: Path) -> None:
    (tmp_path / "seriesuids.csv").write_text(content, newline="")
    assert series_of(tmp_path) == ["1.2.3", "1.2.4"]
    (tmp_path / "seriesuids.csv").write_bytes(content.removeprefix("\ufeff").encode("utf-16"))
    assert read_list(tmp_path / "seriesuids.csv", "seriesuid") == ["1.2.3", "1.2.4"]


def test_a_list_with_two_values_a_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "seriesuids.csv").write_text("1.2.3,5\n")
    with pytest.raises(InputError, match="line 1: is not one value"):
        series_of(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("class", "2", "class is '2'; expected 0 or 1"),
        ("mal_bool", "yes", "expected False or True"),
        ("diameter_mm", "True", "'True' is not a number"),
    ],
)
def test_a_class_is_one_of_two(column: str, value: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"seriesuid,coordX,coordY,coordZ,{column}\n1.2.3,1,2,3,{value}\n")
    with pytest.raises(InputError, match=words):
        findings(path, column)
    path.write_text(f"seriesuid,coordX,coordY,coordZ,{column}\n1.2.3,1,2,3,1.0\n")
    assert [row.value for row in findings(path, column)] == [1.0]
    path.write_text(f"seriesuid,coordX,coordY,coordZ,{column}\n,1,2,3,1\n")
    with pytest.raises(InputError, match="names no seriesuid"):
        findings(path, column)


@needs_shared
@pytest.mark.parametrize("case", ["30-csv-bom-luna", "31-csv-utf16"])
def test_real_tables_of_excel_are_read(case: str) -> None:
    (found,) = findings(SHARED / "cases" / case / "annotations.csv", "diameter_mm")
    assert (found.series, found.xyz_mm, found.value) == ("1.2.3", (-1.5, 2.5, 3.0), 4.5)
