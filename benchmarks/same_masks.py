"""Masks of medseg, local and served, compared voxel by voxel with those of nnUNetv2_predict and monai.bundle run.

    python -m benchmarks.same_masks FOLDER --work DIR [--only NAME ...] [--nnunet]

FOLDER holds nnU-Net's `results` and `results_oldplans`, `monai_bundle`, `inputs`, and in `reference/NAME` the masks
that the packages wrote. With --nnunet, nnUNetv2_predict (which must be installed) writes those that are not there, into
DIR. Imported and exported runs are kept in DIR and used again. Prints a Markdown table: FP32, OpenVINO.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import medseg
from benchmarks.nnunet import labels, written
from medseg.api.predictor import Predictor
from medseg.metrics.overlap import dice

LGG, LUNGS, REGIONS = "Dataset501_LGG", "Dataset502_Lungs", "Dataset503_LGGRegions"
PLAIN_2D = f"results/{LGG}/nnUNetTrainer_20epochs__nnUNetPlans__2d"
PLAIN_3D = f"results/{LGG}/nnUNetTrainer_20epochs__nnUNetPlans__3d_fullres"
RESIDUAL = f"results/{LGG}/nnUNetTrainer_20epochs__nnUNetResEncUNetMPlans__3d_fullres"
LOWRES = f"results/{LUNGS}/nnUNetTrainerNoMirroring__nnUNetPlans__3d_lowres"
CASCADE = f"results/{LUNGS}/nnUNetTrainerNoMirroring__nnUNetPlans__3d_cascade_fullres"
OLD = f"results_oldplans/{LGG}/nnUNetTrainer_20epochs__nnUNetPlans__2d"
REGIONAL = f"results/{REGIONS}/nnUNetTrainerTinyExternal__nnUNetPlans__2d"


@dataclass(frozen=True)
class Case:
    """One comparison: models one after the other, and the images that they answered."""

    name: str  # the folder of the reference
    models: tuple[str, ...]
    images: str
    folds: str = "0"
    mirror: bool | None = False  # None for a model that was trained without it
    suffix: str = ""  # of the reference's names


CASES = (
    Case("lgg_2d_f0_notta", (PLAIN_2D,), "lgg"),
    Case("lgg_2d_f01_tta", (PLAIN_2D,), "lgg", "0,1", mirror=True),
    Case("lgg_3d_f0_notta", (PLAIN_3D,), "lgg"),
    Case("small_3d_f0_notta", (PLAIN_3D,), "small"),
    Case("small_3d_f0_tta", (PLAIN_3D,), "small", mirror=True),
    Case("lgg_resenc_f0_notta", (RESIDUAL,), "lgg"),
    Case("small_resenc_f0_tta", (RESIDUAL,), "small", mirror=True),
    Case("oldplans_lgg_2d_f0_notta", (OLD,), "lgg"),
    Case("regions_oblique_2d_f0_notta", (REGIONAL,), "regions2"),
    Case("regions_oblique_2d_f0_tta", (REGIONAL,), "regions2", mirror=True),
    Case("ct_lowres_f0", (LOWRES,), "ct", mirror=None),
    Case("ct_cascade_f0", (LOWRES, CASCADE), "ct", mirror=None),
    Case("monai", ("monai_bundle",), "lgg", mirror=None, suffix="_0000_seg"),
)


def main() -> None:
    """Compare and print a row for each case, as soon as it is known."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=[case.name for case in CASES], default=None)
    parser.add_argument("--nnunet", action="store_true", help="make the masks that are missing with nnUNetv2_predict")
    asked = parser.parse_args()
    print("| case | voxels | differ, local | differ, served | lowest Dice of a class |")
    print("| --- | ---: | ---: | ---: | ---: |", flush=True)
    for case in CASES:
        if asked.only is None or case.name in asked.only:
            print(_row(case, asked.folder, asked.work, asked.nnunet), flush=True)


def _row(case: Case, folder: Path, work: Path, with_nnunet: bool) -> str:
    reference = folder / "reference" / case.name
    if not reference.exists():
        reference = work / "reference" / case.name
    if not reference.exists():
        if not with_nnunet:
            return f"| {case.name} | | no reference | | |"
        _nnunetv2_predict(case, folder, reference)
    runs = [_exported(folder / model, case.folds, work) for model in case.models]
    images, masks = folder / "inputs" / case.images, work / "masks" / case.name
    with medseg.open_predictor("volume", runs) as predictor:
        local = list(_compared(predictor, case, images, reference, masks / "local"))
    with (
        medseg.serve("volume", runs, log=work / "log") as server,
        medseg.open_predictor("volume", url=server.url) as predictor,
    ):
        served = list(_compared(predictor, case, images, reference, masks / "served"))
    cells = [f"{sum(differ for _, differ, _ in found):,}" for found in (local, served)]
    least = min(lowest for _, _, lowest in (*local, *served))
    return f"| {case.name} | {sum(size for size, _, _ in local):,} | {cells[0]} | {cells[1]} | {least:.5f} |"


def _compared(
    predictor: Predictor, case: Case, images: Path, reference: Path, out: Path
) -> Iterator[tuple[int, int, float]]:
    """Of each image: voxels, how many differ, and the lowest Dice of a class."""
    out.mkdir(parents=True, exist_ok=True)
    options = {} if case.mirror is None else {"mirror": "yes" if case.mirror else "no"}
    for source in predictor.sources(images):
        written(predictor.answer(source, **options), out)
        ours, theirs = labels(out / f"{source.name}.nii.gz"), labels(reference / f"{source.name}{case.suffix}.nii.gz")
        classes = np.union1d(ours, theirs)
        lowest = min((dice(ours == label, theirs == label) for label in classes if label), default=1.0)
        yield theirs.size, int(np.count_nonzero(ours != theirs)), lowest


def _exported(model: Path, folds: str, work: Path) -> Path:
    """A run with fp32, imported from a model; made once."""
    run = work / "runs" / "-".join([*model.parts[-3:], *folds.split(",")])
    if not run.exists():
        bundle = model.name == "monai_bundle"
        kind, more = ("monai", []) if bundle else ("nnunet", ["--folds", folds])
        _medseg("import", kind, str(model), "--out", str(run), *more)
        _medseg("export", str(run))
    return run


def _medseg(*words: str) -> None:
    _called([sys.executable, "-m", "medseg", *words])


def _nnunetv2_predict(case: Case, folder: Path, out: Path) -> None:
    command = str(Path(sys.executable).parent / "nnUNetv2_predict_from_modelfolder")
    images, (model,) = folder / "inputs" / case.images, case.models
    more = [] if case.mirror else ["--disable_tta"]
    where = ["-i", str(images), "-o", str(out), "-m", str(folder / model), "-f", *case.folds.split(",")]
    _called([command, *where, "-device", "cpu", "--disable_progress_bar", *more])


def _called(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
