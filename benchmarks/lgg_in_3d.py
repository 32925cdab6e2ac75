"""LGG's tumours in 3-D and slice by slice: nnU-Net's models beside our 2-D U-Net, on patients that none of them saw.

    python -m benchmarks.lgg_in_3d DIR --slices RUN --volumes RUN [RUN ...]

DIR is the collection, `--slices` a run of `medseg train brain-lgg DIR --keep last`, `--volumes` are runs of `medseg
import nnunet`. All were fitted without the reference's ten patients, and those are scored. The files hold no spacing:
it is made up, 1 x 1 x 5 mm. Prints Markdown: Dice of the whole volume.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import SimpleITK

import medseg
from medseg.bench.show.tables import table
from medseg.metrics.means import Scores, differences, means
from medseg.tasks.brain_lgg.reader import read, split

SPACING_MM = (1.0, 1.0, 5.0)
CHANNELS = ("pre", "flair", "post")


def main() -> None:
    """Score every run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--slices", type=Path, required=True)
    parser.add_argument("--volumes", type=Path, nargs="+", required=True)
    asked = parser.parse_args()
    patients = split(asked.data).validation
    with TemporaryDirectory() as folder:
        write_raw(asked.data, patients, Path(folder))
        found = {f"{run.name}, volumes": _dice("volume", Path(folder), run) for run in asked.volumes}
    print(_markdown({f"{asked.slices.name}, slices": _dice("brain-lgg", asked.data, asked.slices)} | found))


def write_raw(data: Path, patients: Sequence[str], folder: Path) -> None:
    """The patients as nnU-Net's raw dataset: a NIfTI file for each channel, and the truth."""
    for name in ("imagesTs", "labelsTs"):
        (folder / name).mkdir()
    about = {"channel_names": dict(enumerate(CHANNELS)), "labels": {"background": 0, "tumour": 1}, "numTraining": 0}
    (folder / "dataset.json").write_text(json.dumps(about | {"file_ending": ".nii.gz"}))
    for patient in patients:
        (case,) = read(data, patient)
        written = {f"imagesTs/{patient}_{number:04}": case.image[..., number] for number in range(len(CHANNELS))}
        for name, array in (written | {f"labelsTs/{patient}": case.mask}).items():
            image = SimpleITK.GetImageFromArray(array)
            image.SetSpacing(SPACING_MM)
            SimpleITK.WriteImage(image, str(folder / f"{name}.nii.gz"))


def _dice(task: str, data: Path, run: Path) -> Scores:
    """Each patient's Dice."""
    (scored,) = medseg.evaluate(task, data, [run]).scores.values()
    return {patient: {"dice": row["dice"]} for patient, row in scored.rows.items()}


def _markdown(found: Mapping[str, Scores]) -> str:
    first = next(iter(found.values()))
    rows = []
    for name, scores in found.items():
        mean, gain = means(scores)["dice"], differences(scores, first)["dice"]
        gained = "" if scores is first else f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        rows.append([name, str(len(scores)), f"{mean.mean:.3f} ({mean.low:.3f} to {mean.high:.3f})", gained])
    of_each = [[patient, *(f"{scores[patient]['dice']:.3f}" for scores in found.values())] for patient in sorted(first)]
    head = ["run", "patients", "mean Dice (95 % interval)", "paired difference to the first"]
    return f"{table(head, rows)}\n\n{table(['patient', *found], of_each)}"


if __name__ == "__main__":
    main()
