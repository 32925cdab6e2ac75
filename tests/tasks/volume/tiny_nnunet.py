"""A tiny nnU-Net planned, trained for one epoch and asked by the real package, as a program.

    python -m tests.tasks.volume.tiny_nnunet FOLDER

Writes FOLDER/model (TRAINER__PLANS__CONFIGURATION in it), FOLDER/case (an image nobody has learnt from) and
FOLDER/expected (the real package's answer, mirrored).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

DATASET = "Dataset900_Tiny"


def main(folder: Path) -> None:
    """Plan, preprocess, train, predict."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    os.environ |= {"nnUNet_def_n_proc": "1", "nnUNet_compile": "f"}
    _raw(folder / "raw" / DATASET, folder / "case")
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    api.extract_fingerprints([900], check_dataset_integrity=True, num_processes=1)
    plans = folder / "preprocessed" / DATASET / f"{api.plan_experiments([900])}.json"
    _shrink(plans)
    api.preprocess([900], plans.stem, ("3d_fullres",), (1,))
    os.environ |= {"nnUNet_n_proc_DA": "0"}  # the planner cannot do without
    trained = _trained(plans.stem)
    trained.parent.rename(folder / "model")
    _predict(folder / "model" / trained.name, folder / "case", folder / "expected")


def _raw(folder: Path, case: Path) -> None:
    """Five made-up cases to learn from, and one more."""
    from medseg.tasks.volume import TASK

    phantom = TASK.data.phantom
    phantom(folder, 6, 0)
    for kind in ("images", "labels"):
        (folder / f"{kind}Ts").rename(folder / f"{kind}Tr")
    document = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(document | {"numTraining": 5}))
    case.mkdir()
    (folder / "imagesTr" / "case_0005_0000.nii.gz").rename(case / "case_0005_0000.nii.gz")
    (folder / "labelsTr" / "case_0005.nii.gz").unlink()


def _shrink(path: Path) -> None:
    """Few features and a small patch, so that CPUs are done soon."""
    plans = json.loads(path.read_text())
    settings = plans["configurations"]["3d_fullres"]
    features = settings["architecture"]["arch_kwargs"]
    features["features_per_stage"] = [4 * (stage + 1) for stage in range(features["n_stages"])]
    settings["batch_size"] = 2
    path.write_text(json.dumps(plans))


def _trained(plans: str) -> Path:
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    torch.manual_seed(0)
    trainer = get_trainer_from_args(DATASET, "3d_fullres", 0, "nnUNetTrainer_1epoch", plans, device=torch.device("cpu"))
    trainer.num_iterations_per_epoch = trainer.num_val_iterations_per_epoch = 2
    trainer.run_training()
    return Path(trainer.output_folder_base)


def _predict(model: Path, case: Path, out: Path) -> None:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), [0])
    out.mkdir()  # the package writes its arguments there before it makes the folder
    predictor.predict_from_files_sequential(str(case), str(out))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
