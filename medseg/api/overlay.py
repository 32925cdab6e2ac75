"""Several runs' outlines over the same image, for `medseg predict --overlay`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from medseg.api.predictor import Ask, open_predictor
from medseg.api.sources import Destination
from medseg.data.grid import png
from medseg.data.picture import compared
from medseg.engines.runs import lineups
from medseg.errors import InputError
from medseg.files import whole_file
from medseg.run import Run
from medseg.task import Request, Source, Task
from medseg.tasks import task_as


def overlays(
    task: Task,
    sources: Sequence[Source | InputError],
    runs: Sequence[Path],
    how: tuple[str, str],
    where: Destination,
) -> Iterator[Path]:
    """Write NAME_runs.png for each source, with the outlines of every run (or lineup) in its own colour.

    `how` is the engine and the precision. If one run can answer alone, every run is drawn by itself; LUNA's chain
    answers together. Raises InputError where a picture already exists and may not be overwritten, or a source cannot be
    read.
    """
    task.known_scoring("draw its answers")  # refused before anything is opened
    targets = {one.name: where.folder / f"{one.name}_runs.png" for one in sources if isinstance(one, Source)}
    there = [path for path in targets.values() if path.exists()]
    if there and not where.overwrite:
        raise InputError(f"{there[0]} would be overwritten; expected a new --out: choose one, or add --overwrite")
    groups = lineups([Run(run) for run in runs], alone=task.pipeline_of is not None)
    answering = {name: task_as(task.name, group) for name, group in groups.items()}
    with ExitStack() as stack:
        asks = {
            name: stack.enter_context(open_predictor(task.name, group, None, *how)).ask
            for name, group in groups.items()
        }
        for source in sources:
            if isinstance(source, InputError):
                raise source
            picture = _picture(answering, source.load(), asks)
            where.folder.mkdir(parents=True, exist_ok=True)
            with whole_file(targets[source.name]) as temporary:
                temporary.write_bytes(picture)
            yield targets[source.name]


def _picture(tasks: Mapping[str, Task], request: Request, asks: Mapping[str, Ask]) -> bytes:
    """All answers over the image; `tasks` are the tasks that gave them, by the same names."""
    first = next(iter(tasks.values())).known_scoring("draw its answers")
    cases = [first.case_of(request)]
    masks = {
        name: tasks[name].known_scoring("draw its answers").masks(cases, [ask(request.tensors)])
        for name, ask in asks.items()
    }
    return png(compared(first.views(cases, masks)))
