"""What docs/adding-a-task.md and docs/own-network.md show: commands that are understood, records that do as is said."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import typer

from medseg.cli.main import app
from medseg.data.decoding import decoder
from medseg.data.encoded import RGB, pack
from medseg.data.grid import png
from medseg.errors import MedsegError
from medseg.task import Decode
from medseg.tasks import task_named
from tests.plugged import package

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("docs/adding-a-task.md", "docs/own-network.md", "examples/cells/README.md")
ADDING = (ROOT / DOCUMENTS[0]).read_text()


def _commands() -> list[str]:
    """Every command of a shell block, and those within the text that are whole."""
    found = []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text()
        blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ").splitlines()
        found += [line.partition("#")[0].strip() for line in blocks if line.startswith("medseg ")]
        found += [one for one in re.findall(r"`(medseg [^`]*? [^`]*)`", text) if one.split()[1] not in ("new-task",)]
    return list(dict.fromkeys(found))


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of examples/ on the path, with its entry point."""
    site = package(tmp_path / "site", "cells", {"cells": "cells:TASK"}, {})
    shutil.copytree(ROOT / "examples/cells/cells", site / "cells", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)


def _understood(line: str) -> None:
    """Raises the parser's error for a command, an option or a value that there is not."""
    command, words, parent = typer.main.get_command(app), shlex.split(line)[1:], None
    while hasattr(command, "resolve_command"):
        parent = command.context_class(command, info_name=command.name, parent=parent)
        _, command, words = command.resolve_command(parent, words)
    try:
        command.make_context(command.name, words, parent=parent)
    except MedsegError as error:  # files that the reader has, and we have not
        assert re.search("does not exist|is not a run|no such file", str(error)), error


@pytest.mark.usefixtures("cells")
@pytest.mark.parametrize("line", _commands())
def test_a_command_that_is_shown_is_understood(line: str) -> None:
    _understood(line)


@pytest.mark.usefixtures("cells")
@pytest.mark.parametrize(
    "line", ["medseg info cells --twice", "medseg train picture", "medseg export run --int9", "medseg exprt r"]
)
def test_one_that_is_not_would_be_seen(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such (option|command)|missing"):
        _understood(line)


def test_the_entry_point_is_that_of_the_example() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", ADDING, re.DOTALL)
    whole = tomllib.loads((ROOT / "examples/cells/pyproject.toml").read_text())
    assert tomllib.loads(shown)["project"]["entry-points"] == whole["project"]["entry-points"]


def test_the_decode_record_does_what_is_said_of_it() -> None:
    (shown,) = re.findall(r"`(Decode\([^`]*\))` means", ADDING)
    record = eval(shown, {"Decode": Decode, "RGB": RGB})
    picture = np.full((64, 64, 3), (0, 128, 255), np.uint8)
    found = decoder(record)({"packed": pack([png(picture)])}, lambda _: None)
    expected = (np.array([0, 128, 255]) / 255 - 0.5) / 0.25
    assert list(found) == ["input"] and found["input"].shape == (1, 3, 64, 64)
    assert np.allclose(found["input"][0, :, 5, 7], expected, atol=1e-6)


def test_files_that_are_named_are_there() -> None:
    for path in re.findall(r"`((?:medseg|tests|docs|examples)/[\w/.-]+\.?\w*)(?:::\w+)?`", ADDING):
        assert (ROOT / path).exists(), path


@pytest.mark.usefixtures("cells")
def test_the_example_is_found_by_its_entry_point() -> None:
    assert [network.name for network in task_named("cells").networks] == ["cells"]
