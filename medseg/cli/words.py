"""Words on a command line: checked before anything heavy is imported, and offered to the shell for completion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import typer

Value = TypeVar("Value")
Context = typer.Context


def each(check: Callable[[Any], object]) -> Callable[[Value], Value]:
    """A Typer callback that checks a value, or each value of a list; None means that the option was not given."""

    def checked(value: Value) -> Value:
        for one in value if isinstance(value, list | tuple) else [] if value is None else [value]:
            check(one)
        return value

    return checked


def known_task(name: str) -> None:
    """Raise InputError where no task has the name."""
    from medseg.tasks import check_known

    check_known(name)


def known_network(name: str) -> None:
    """Raise InputError where it is neither a network's name nor what a task of described networks is called."""
    from medseg.tasks import brought_along, network_named

    if not brought_along(name):
        network_named(name)


def known_run(path: Path) -> None:
    """Raise RunError where the folder holds no run that can be read."""
    from medseg.run import Run

    Run(path)


def known_engine(name: str) -> None:
    """Raise EngineError where there is no such engine."""
    from medseg.engines import kind_of

    kind_of(name)


def known_precision(name: str) -> None:
    """Raise InputError where no file can have such a precision."""
    from medseg.engines import PRECISIONS
    from medseg.errors import InputError, unknown

    if name not in PRECISIONS:
        raise InputError(unknown("precision", name, PRECISIONS))


def there(path: Path) -> None:
    """Raise InputError where the path is neither a file nor a folder."""
    from medseg.errors import InputError

    if not path.exists():
        raise InputError(f"{path} does not exist; expected an existing file or folder: check the path")


def filled(name: str, data: Path, doing: str) -> None:
    """Raise InputError where the folder holds no patients of a task, or of a network's task; see Task.known_data."""
    from medseg.errors import InputError
    from medseg.tasks import brought_along, network_named, task_named, task_names, task_of

    task = brought_along(name) or task_named(name if name in task_names() else task_of(network_named(name)))
    if not task.known_data(doing).patients(data):
        raise InputError(f"{data} holds no patients of {task.name}; expected its native layout: check the folder")


def enough(task: str, runs: Iterable[Path]) -> None:
    """Raise RunError where these runs cannot answer together as the task."""
    from medseg.run import Run
    from medseg.tasks import task_as

    task_as(task, [Run(path) for path in runs])


def tasks(incomplete: str) -> list[str]:
    """The tasks whose names begin with this."""
    from medseg.tasks import task_names

    return _beginning(incomplete, task_names())


def networks(incomplete: str) -> list[str]:
    """The networks whose names begin with this, and the words that may be given instead of a network."""
    from medseg.tasks import network_words

    return _beginning(incomplete, network_words())


def runs(incomplete: str) -> list[str]:
    """The runs whose paths begin with this, and the folders that lead to more of them."""
    start = Path(incomplete)
    above = start if incomplete.endswith("/") or not incomplete else start.parent
    folders = sorted(one for one in above.iterdir() if one.is_dir()) if above.is_dir() else []
    return _beginning(incomplete, [word for one in folders for word in _run_words(one)])


def engines(incomplete: str) -> list[str]:
    """The engines whose names begin with this."""
    from medseg.engines import ENGINES

    return _beginning(incomplete, ENGINES)


def precisions(context: Context, incomplete: str) -> list[str]:
    """The precisions that begin with this: those of the runs that are already named, or all."""
    from medseg.engines import PRECISIONS
    from medseg.errors import RunError
    from medseg.run import Run

    try:
        named = [Run(path) for path in context.params.get("run") or ()]
    except (RunError, TypeError):
        named = []
    held = {str(facts.get("precision")) for run in named for facts in run.files.values()}
    return _beginning(incomplete, [one for one in PRECISIONS if one in held] if named else PRECISIONS)


def _run_words(folder: Path) -> Iterator[str]:
    """The folder as a run, or with a slash if there are runs below it."""
    from medseg.manifest import MANIFEST

    if (folder / MANIFEST).is_file():
        yield str(folder)
    elif any(folder.glob(f"*/{MANIFEST}")):
        yield f"{folder}/"


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
