"""`medseg new-task`: a new package with a complete task in it, to be changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.options import JsonOption

_SKELETON = Path(__file__).parent / "skeleton"


def new_task(
    name: Annotated[str, typer.Argument(help="The task's name, such as cells or lung-cells.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The new folder.  [default: the name]")] = None,
    json: JsonOption = False,
) -> None:
    """Write a Python package with a new task, which already works: pictures with masks.

    Example: medseg new-task cells && pip install ./cells && medseg info cells
    """
    from json import dumps

    from medseg.errors import InputError

    folder = out or Path(name)
    _check_name(name)
    if folder.exists():
        raise InputError(f"{folder} already exists; expected a new folder: choose another --out")
    files = package_files(name)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    if json:
        typer.echo(dumps({"folder": str(folder), "files": [str(folder / path) for path in files]}))
        return
    typer.echo(f"{folder}: install it (pip install {folder}), then `medseg info {name}`; see docs/adding-a-task.md")


def package_files(name: str) -> dict[Path, str]:
    """The package's files by their path in it, for a task of this name."""
    module = name.replace("-", "_")
    found = {}
    for template in sorted(_SKELETON.glob("*.txt")):
        path = Path(template.stem)
        text = template.read_text().replace("__NAME__", name).replace("__MODULE__", module)
        found[Path(module) / path if path.suffix == ".py" else path] = text
    return found


def _check_name(name: str) -> None:
    """Raise InputError where no task can have the name, or a task or a module of Python has it already."""
    import re
    from importlib.util import find_spec
    from keyword import iskeyword

    from medseg.errors import InputError
    from medseg.tasks import task_names

    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 40 or iskeyword(module):
        raise InputError(
            f"task name {name[:80]!r}: expected small letters and digits, with dashes between, as in lung-cells"
        )
    if name in task_names():
        raise InputError(f"task {name!r} already exists; expected a new name: choose another")
    if find_spec(module):
        raise InputError(
            f"task name {name!r}: Python has a module {module} already; expected a new name: choose another"
        )
