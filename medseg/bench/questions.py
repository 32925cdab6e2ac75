"""Questions: a task's data folder as cases that any target can be asked, scored where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from medseg.bench import scores
from medseg.bench.target import Pool, Question, Whole
from medseg.bench.voting import voter_scores
from medseg.errors import InputError
from medseg.task import Array, Case, Reading, Task, Tensors

PHANTOMS = 4  # made-up patients where no data is given
WANTED = {"gi-tract": [b"mask"], "brain-lgg": [b"mask"], "stas": [b"mask", b"votes"]}  # not every format of the mask
LISTED_FROM = 0.01  # luna: candidates from this probability on are marks, of which the CPM looks at 100 a scan


def questions(task: Task, data: Path) -> list[Question]:
    """Every case of a data folder, or the one case in a file, whose truth is not known.

    Raises InputError where there is none.
    """
    if not data.exists():
        raise InputError(f"{data} does not exist; expected a data folder of {task.name}, or one of its files")
    found = _CASES[task.name](data) if data.is_dir() else [_Case(data.stem, data)]
    if not found:
        raise InputError(f"{data} holds no cases of {task.name}; expected its native layout: try `medseg data check`")
    return [_question(task, case) for case in found]


def made_up(task: Task, folder: Path) -> Path:
    """The folder, filled with made-up patients where it does not exist yet."""
    if not folder.exists():
        folder.mkdir(parents=True)
        task.known_data("measure made-up patients").phantom(folder, PHANTOMS, 0)
    return folder


@dataclass(frozen=True)
class _Case:
    id: str
    path: Path  # what Task.sources finds it at
    score: Callable[[Tensors], scores.Scores] | None = None
    picture: Callable[[Tensors], Array] | None = None
    whole: Whole | None = None
    pool: Pool | None = None


def _question(task: Task, case: _Case) -> Question:
    read = partial(_tensors, task, case.path)
    return Question(case.id, read, _files(case.path), case.score, case.picture, case.whole, case.pool)


def _tensors(task: Task, path: Path) -> Tensors:
    tensors = task.files.sources(path, Reading())[0].load().tensors
    if task.name in WANTED:
        return tensors | {"wanted": np.array(WANTED[task.name], object)}
    return tensors | {"threshold": np.array([LISTED_FROM], np.float32)}


def _files(path: Path) -> tuple[Path, ...]:
    if path.is_dir():
        return tuple(sorted(file for file in path.iterdir() if file.is_file()))
    return tuple(sorted(file for file in path.parent.glob(f"{path.stem}.*") if file.is_file()))


def _luna(data: Path) -> list[_Case]:
    from medseg.tasks.luna.tables import nodules, scans

    found = scans(data) or {path.stem: path for path in sorted(data.glob("*.mhd"))}
    annotated = {row.series for row in nodules(data)} if (data / "annotations.csv").is_file() else set()
    pool = Pool(scores.marks, partial(scores.froc, data))
    return [
        _Case(
            series,
            path,
            partial(scores.nodules, data, series),
            partial(scores.nodules_drawn, data, path),
            pool=pool,
        )
        if series in annotated
        else _Case(series, path)
        for series, path in found.items()
    ]


def _gi_tract(data: Path) -> list[_Case]:
    from medseg.tasks.gi_tract.reader import labelled, patients, read_mask, read_slice, slices, truths

    cases, truth = [], truths(data)
    wholes: dict[str, Whole] = {}
    listed = {one.id for name in patients(data) for one in labelled(data, name)}
    for patient, one in ((name, one) for name in patients(data) for one in slices(data, name)):
        if one.id in listed:
            mask = partial(read_mask, one, truth[one.id], data / "train.csv")
            case = _masked(_Case(one.id, one.path), partial(read_slice, one), mask, one.spacing_mm)
            cases.append(replace(case, whole=wholes.setdefault(one.day, Whole(one.day, partial(_scan, data, patient)))))
        else:
            cases.append(_Case(one.id, one.path))
    return cases


def _scan(data: Path, patient: str, masks: Mapping[str, Array]) -> scores.Scores:
    """The competition's score of one scan, over the slices that were answered."""
    from medseg.tasks.gi_tract.reader import read

    cases = [case for case in read(data, patient) if case.id in masks]
    return scores.scan(cases, [{"mask": masks[case.id]} for case in cases])


def _brain_lgg(data: Path) -> list[_Case]:
    from medseg.tasks.brain_lgg.reader import patients, read
    from medseg.tasks.brain_lgg.slices import root

    return [_read_case(_Case(name, root(data) / name), partial(read, data, name)) for name in patients(data)]


def _stas(data: Path) -> list[_Case]:
    from medseg.tasks.stas.reader import annotation_path, patients, picture_path, read

    cases = []
    for name in patients(data):
        case, reading = _Case(name, picture_path(data, name)), partial(read, data, name)
        if case.path.is_file():
            known = annotation_path(data, name).is_file()
            cases.append(_with_voters(_read_case(case, reading), reading) if known else case)
    return cases


def _with_voters(case: _Case, read: Callable[[], Sequence[Case]]) -> _Case:
    """The case with each voter's own scores beside those of the vote."""
    from medseg.tasks.stas.pipeline import VOTERS

    def score(answer: Tensors) -> scores.Scores:
        assert case.score
        whole = case.score(answer)
        if len(answer["votes"]) < len(VOTERS):  # one network that answers alone
            return whole
        return dict(whole) | voter_scores(VOTERS, answer["votes"], np.asarray(read()[0].mask))

    return replace(case, score=score)


def _read_case(case: _Case, read: Callable[[], Sequence[Case]]) -> _Case:
    return _masked(case, lambda: read()[0].image, lambda: np.asarray(read()[0].mask)[None])


def _masked(
    case: _Case, image: Callable[[], Array], truth: Callable[[], Array], spacing_mm: Sequence[float] | None = None
) -> _Case:
    def score(answer: Tensors) -> scores.Scores:
        there = truth()
        return scores.masks(scores.shaped(answer["mask"], there), there, spacing_mm)

    def picture(answer: Tensors) -> Array:
        there = truth()
        return scores.drawn(image(), there, scores.shaped(answer["mask"], there))

    return replace(case, score=score, picture=picture)


_CASES = {"luna": _luna, "gi-tract": _gi_tract, "brain-lgg": _brain_lgg, "stas": _stas}
