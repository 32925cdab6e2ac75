"""A folder of smp's save_pretrained becomes a run whose program answers with smp's own logits."""

from pathlib import Path

import numpy as np

from medseg.cli.import_ import import_
from medseg.engines import open_engine
from tests.shared import SHARED, needs_shared


@needs_shared
def test_the_program_of_an_imported_folder_answers_as_smp_did(tmp_path: Path) -> None:
    folder = SHARED / "nnunet" / "smp"
    import_("picture", folder, out=tmp_path / "run", normalisation="imagenet")
    with np.load(folder / "reference.npz") as reference:
        found = open_engine("torch", tmp_path / "run" / "fp32.pt2")(reference["image"])
        # float32 sums in another order: another processor's kernels differ by up to 1e-5 at logits of 1
        np.testing.assert_allclose(found, reference["logits"], rtol=1e-4, atol=5e-5)
