"""`medseg bench --search`: its options, and the best way to serve as Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medseg.bench.search import Load
    from medseg.run import Run


@dataclass(frozen=True)
class Search:
    """How a task is served best, instead of a report."""

    search: Annotated[
        bool,
        typer.Option("--search", help="Find the best way to serve the runs: engine, precision, decoder and instances."),
    ] = False
    p95: Annotated[str | None, typer.Option(help="With --search: at most, such as 200ms.")] = None
    memory: Annotated[str | None, typer.Option(help="With --search: the server's at most, such as 2GB.")] = None
    drop: Annotated[
        float, typer.Option(min=0, max=1, help="With --search: the share of fp32's score that may be lost.")
    ] = 0.01


def found(search: Search, task: str, runs: Sequence[Run], data: Path | None, out: Path, load: Load) -> list[Path]:
    """Search, and write what was found, search.md and search.json, whose paths are returned."""
    from json import dumps

    from medseg.bench.cases import made_up
    from medseg.bench.command import searched
    from medseg.bench.judge.limits import in_mebibytes, in_seconds
    from medseg.bench.search import Limits
    from medseg.bench.show.searched import command, markdown
    from medseg.bench.stored import check_new
    from medseg.errors import InputError
    from medseg.files import whole_file
    from medseg.tasks import task_as

    if not runs:
        raise InputError("--search got no --run; expected the runs to serve: add one of each network")
    p95_s = in_seconds(search.p95) if search.p95 else None
    limits = Limits(p95_s, in_mebibytes(search.memory) if search.memory else None, search.drop)
    check_new(out / "search.json")
    subject = task_as(task, runs)
    folder = data or made_up(subject, out / "phantom")
    result = searched(subject, runs, folder, limits, load)
    paths = [run.path for run in runs]
    line = command(task, paths, result.best.entry) if result.best else None
    facts = {"task": task, "at_once": load.at_once, "limits": asdict(limits), "command": line}
    texts = {
        "search.md": markdown(task, paths, load.at_once, result),
        "search.json": dumps(facts | asdict(result), indent=1) + "\n",
    }
    for name, text in texts.items():
        with whole_file(out / name) as temporary:
            temporary.write_text(text)
    return [out / name for name in texts]
