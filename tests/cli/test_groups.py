"""Options in groups: a command takes records, and its command line every field."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from medseg.cli.groups import grouped


@dataclass(frozen=True)
class Sizes:
    """Made for this test."""

    width: Annotated[int, typer.Option(min=1, help="How wide.")] = 3
    name: Annotated[str | None, typer.Option(help="What it is called.")] = None


@pytest.fixture
def command():
    seen = []

    @grouped
    def draw(what: Annotated[str, typer.Argument(help="What.")], sizes: Sizes, fast: bool = False) -> None:
        """Draw something."""
        seen.append((what, sizes, fast))

    app = typer.Typer()
    app.command()(draw)
    return draw, lambda *words: CliRunner().invoke(app, list(words)), seen


def test_every_field_is_an_option_with_its_own_words_bounds_and_default(command):
    _, run, seen = command
    assert run("a", "--width", "5", "--fast").exit_code == 0
    assert run("b", "--name", "c").exit_code == 0
    assert seen == [("a", Sizes(5), True), ("b", Sizes(3, "c"), False)]
    assert run("a", "--width", "0").exit_code == 2
    told = run("--help").output
    assert "How wide." in told and "default: 3" in told and "Draw something." in told


def test_a_command_is_called_from_python_with_fields_too(command):
    draw, _, seen = command
    draw("a", width=4)
    assert seen == [("a", Sizes(4), False)]
    with pytest.raises(TypeError, match="depth"):
        draw("a", depth=4)
