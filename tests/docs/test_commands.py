"""Every command in the documentation exists as it stands there, and every block of them says how it was tried."""

import ast
import re
import shlex
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

from medseg.cli.main import app
from medseg.errors import InputError
from tests.docs.blocks import PAGES, ROOT, Block, blocks, shell_blocks

ROOT_COMMAND = typer.main.get_command(app)
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
TRIED = re.compile(r"executed: (tests/\S+\.py|Makefile)|not run: (.{10,})")
PLACEHOLDER = {"TASK": "luna", "NETWORK": "luna-nodule", "cells": "brain-lgg", "...": "x"}
UNFINISHED = ("MissingParameter", "BadOptionUsage")  # of a command that prose names without all that it needs


def parsed(words: list[str]) -> None:
    """Raise what the command line raises for these words; nothing is run."""
    command, path, rest = ROOT_COMMAND, "medseg", [PLACEHOLDER.get(word, word) for word in words]
    while commands := getattr(command, "commands", None):
        assert rest and rest[0] in commands, f"{path} has no command {rest[:1]}"
        command, path, rest = commands[rest[0]], f"{path} {rest[0]}", rest[1:]
    for one in command.params:
        if "Path" in str(one.type_descriptor.annotation):
            one.callback = None  # it looks whether the reader's files are there
    command.make_context(path, rest)


def check_module(words: list[str]) -> None:
    """`python -m MODULE` names a module of the repository, and its options stand in that module's files."""
    place = find_spec(words[2])
    assert place and place.origin, f"no module {words[2]}"
    files = Path(place.origin).parent.glob("*.py") if place.submodule_search_locations else [Path(place.origin)]
    source = "".join(file.read_text() for file in files)
    for option in words[3:]:
        assert not option.startswith("--") or f'"{option}"' in source, f"{words[2]} has no {option}"


def check_make(words: list[str]) -> None:
    """`make TARGET` is a target."""
    for target in words[1:]:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def check_pip(words: list[str]) -> None:
    """`pip install 'medseg[...]'` names extras that there are."""
    for extras in re.findall(r"medseg\[([^\]]*)\]", " ".join(words)):
        assert extras == "..." or set(extras.split(",")) <= EXTRAS, extras


CHECKS = {"python": check_module, "make": check_make, "pip": check_pip, "uv": check_pip}


@pytest.mark.parametrize("block", shell_blocks(), ids=lambda block: block.name)
def test_a_block_of_commands_can_be_typed_as_it_stands(block: Block) -> None:
    for command in block.commands:
        for part in re.split(r"\s(?:&&|\|)\s", command.removesuffix("&")):
            words = shlex.split(part)
            if words[0] == "medseg":
                parsed(words[1:])
            elif words[0] in CHECKS:
                CHECKS[words[0]](words)


@pytest.mark.parametrize("block", shell_blocks(), ids=lambda block: block.name)
def test_a_block_of_commands_says_how_it_was_tried(block: Block) -> None:
    tried = TRIED.fullmatch(block.mark)
    assert tried, f"{block.name}: expected <!-- executed: tests/... --> or <!-- not run: why --> on the line above"
    assert not tried[1] or (ROOT / tried[1]).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_named_in_prose_exist_with_their_options(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for command in re.findall(r"`(medseg [a-z][^`]*)`", prose):
        if page.name == "CHANGELOG.md" or " ... " in command:  # options that were so then; parts that are left out
            continue
        words = shlex.split(command.replace("\n", " "))
        try:
            parsed([word for word in words[1:] if word != "..."])
        except (InputError, typer.TyperException) as error:
            assert type(error).__name__ in UNFINISHED, f"`{command}`: {error}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_docs_is_python(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text)


@pytest.mark.parametrize(
    "words",
    ["serve luna --prot 1", "sevre luna", "predict luna a --out b --theshold 1", "export"],
    ids=lambda words: words.split()[0],
)
def test_a_command_that_does_not_exist_is_noticed(words: str) -> None:
    with pytest.raises((AssertionError, InputError, typer.TyperException)):
        parsed(words.split())
