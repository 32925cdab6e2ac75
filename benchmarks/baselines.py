"""Baselines that a network has to beat: answers without learning, scored as `medseg evaluate` scores a run.

    python -m benchmarks.baselines brain-lgg DIR [--run RUN]
    python -m benchmarks.baselines stas DIR [--run RUN]

brain-lgg: FLAIR above a threshold, on the volume as the network gets it (normalised, in standard deviations). The
threshold has the best mean Dice on the training patients. stas: Otsu's threshold of each grey picture (the dark or the
bright side, whichever is better on the training pictures), and an empty mask. Scored are the patients on which the run
was not trained; without a run, those of the task's own split. Prints Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from medseg.api.evaluation import held_out
from medseg.data.split import Split
from medseg.metrics.components import volume_dice
from medseg.metrics.means import means
from medseg.metrics.overlap import dice
from medseg.run import Run
from medseg.task import Array
from medseg.tasks import task_named
from medseg.tasks.brain_lgg import reader as brain_lgg
from medseg.tasks.brain_lgg.pipeline import restored
from medseg.tasks.brain_lgg.prepare import prepare
from medseg.tasks.stas import reader as stas

FLAIR = 1
THRESHOLDS = np.arange(0.0, 5.01, 0.25)  # standard deviations above the volume's mean

Scores = dict[str, float]  # patient -> Dice


def main() -> None:
    """Score the baselines and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=list(BASELINES))
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path, help="a run whose split is taken")
    asked = parser.parse_args()
    split = split_of(asked.task, asked.data, asked.run)
    found = BASELINES[asked.task](asked.data, split)
    print(markdown(found, len(split.validation)))


def split_of(task: str, data: Path, run: Path | None) -> Split:
    """The patients for choosing thresholds and those to score: the run's split, or the task's own."""
    if run is None:
        return {"brain-lgg": brain_lgg, "stas": stas}[task].split(data)
    chosen = Run(run)
    recorded = chosen.manifest["source"]["split"]
    return Split(tuple(recorded["train"]), tuple(held_out(task_named(task), data, [chosen])), recorded["rule"])


def brain_baselines(data: Path, split: Split) -> dict[str, Scores]:
    """Dice of each held-out volume: FLAIR above a threshold, all of it, and only its largest component."""
    learnt, judged = (
        {name: _flair_and_truth(data, name) for name in tqdm(names, disable=None)}
        for names in (split.train, split.validation)
    )
    found = {}
    for words, score in (("every piece", dice), ("the largest piece", volume_dice)):
        best = max(THRESHOLDS.tolist(), key=lambda threshold: _mean(_above(learnt, threshold, score)))
        found[f"FLAIR above {best:g} standard deviations, {words}"] = _above(judged, best, score)
    return found


def stas_baselines(data: Path, split: Split) -> dict[str, Scores]:
    """Dice of each held-out picture: one side of Otsu's threshold, and an empty mask."""
    learnt, judged = (
        [name for name in names if stas.annotation_path(data, name).is_file()]
        for names in (split.train, split.validation)
    )
    sides: dict[str, Callable[[Array], Array]] = {"dark": otsu_dark, "bright": lambda image: 1 - otsu_dark(image)}
    side = max(sides, key=lambda name: _mean(_scored(data, learnt, sides[name])))
    return {
        f"Otsu's {side} side": _scored(data, judged, sides[side]),
        "nothing": _scored(data, judged, lambda image: np.zeros(image.shape[:2], np.uint8)),
    }


BASELINES = {"brain-lgg": brain_baselines, "stas": stas_baselines}


def otsu_dark(picture: Array) -> Array:
    """The pixels darker than Otsu's threshold of the grey picture: (h, w, 3) uint8 -> (h, w) uint8, 0 or 1."""
    _, bright = cv2.threshold(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return np.asarray(1 - bright)


def markdown(found: Mapping[str, Scores], patients: int) -> str:
    """The baselines as a Markdown table: mean Dice with its bootstrap interval."""
    lines = [f"| baseline | mean Dice of {patients} held-out cases | 95 % interval |", "| --- | --- | --- |"]
    for name, scores in found.items():
        one = means({case: {"dice": value} for case, value in scores.items()})["dice"]
        band = f"{one.low:.3f} to {one.high:.3f}" if one.cases > 1 else ""
        lines.append(f"| {name} | {one.mean:.3f} | {band} |")
    return "\n".join(lines)


def _flair_and_truth(data: Path, patient: str) -> tuple[Array, Array]:
    """FLAIR as the network gets it, on the volume's own grid (slice, row, col), and the truth."""
    (case,) = brain_lgg.read(data, patient)
    image, frame = prepare(case.image)
    return restored(image[:, FLAIR], frame), np.asarray(case.mask)


def _above(volumes: Mapping[str, tuple[Array, Array]], threshold: float, score: Callable[..., float]) -> Scores:
    return {name: score(flair > threshold, truth) for name, (flair, truth) in volumes.items()}


def _scored(data: Path, patients: Sequence[str], answer: Callable[[Array], Array]) -> Scores:
    cases = {name: stas.read(data, name)[0] for name in tqdm(patients, disable=None)}
    return {name: dice(answer(case.image), np.asarray(case.mask)) for name, case in cases.items()}


def _mean(scores: Scores) -> float:
    return float(np.mean(list(scores.values())))


if __name__ == "__main__":
    main()
