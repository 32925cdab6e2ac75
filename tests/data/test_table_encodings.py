"""Whole tables in every encoding and layout that spreadsheets save are the same table."""

from pathlib import Path

import pytest

from tests.fuzz.texts import ENCODINGS, TABLES


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", ENCODINGS)
def test_whole_tables_are_read_in_every_encoding(table: str, name: str, tmp_path: Path) -> None:
    text, read = TABLES[table]
    (tmp_path / table).write_text(text)
    wanted = read(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / table).write_bytes(ENCODINGS[name](text))
    assert read(tmp_path / "other") == wanted
