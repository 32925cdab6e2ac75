"""The notebooks of the docs run from their first cell to their last."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.patience import PATIENCE_S

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs/notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_says(path: Path, tmp_path: Path) -> None:
    """Shapes, files and the equality with a server are as printed in it; scores may differ between machines."""
    written = nbformat.read(path, 4)
    run = nbformat.read(path, 4)
    NotebookClient(run, timeout=int(PATIENCE_S), resources={"metadata": {"path": str(tmp_path)}}).execute()
    kept = [cell for cell in run.cells if cell.cell_type == "code"]
    known = [cell for cell in written.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in known)
    for cell, before in zip(kept, known, strict=True):
        if "mask" in cell.source or "task" in cell.source:
            shown = [one["data"]["text/plain"] for one in cell.outputs if "data" in one]
            first = [one["data"]["text/plain"] for one in before.outputs if "data" in one]
            assert shown and len(shown) == len(first)
            if "served" in cell.source:
                assert shown == first == ["True"]
