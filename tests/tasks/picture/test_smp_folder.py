"""A folder of smp's save_pretrained becomes a run whose program answers with smp's own logits."""

from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch

from medseg.cli.import_ import import_
from medseg.engines import open_engine
from tests.shared import SHARED, needs_shared


@needs_shared
def test_the_program_of_an_imported_folder_answers_as_smp_did(tmp_path: Path) -> None:
    folder = SHARED / "nnunet" / "smp"
    import_("picture", folder, out=tmp_path / "run", normalisation="imagenet")
    with np.load(folder / "reference.npz") as reference:
        image, elsewhere = reference["image"], reference["logits"]
    found = open_engine("torch", tmp_path / "run" / "fp32.pt2")(image)
    with torch.no_grad():
        here = smp.from_pretrained(folder).eval()(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(found, here, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, elsewhere, rtol=1e-5, atol=2e-5)  # another processor's sums: up to 8e-6 away
