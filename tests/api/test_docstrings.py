"""Every name that `import medseg` offers says what it is, with an example that runs."""

import doctest
import inspect
import shutil
from pathlib import Path

import pytest

import medseg
from medseg.run import Run

OFFERED = [name for name in medseg.__all__ if not name.startswith("_")]
PLAIN = (
    "NetworkOptions",
    "TrainOptions",
    "Entry",
    "Repository",
    "Task",
    "ExportOptions",
    "evaluate_submission",
    "task_named",
    "task_names",
)  # no example of their own


HEAVY = ("bench", "evaluate", "serve", "train")  # minutes of computing on a busy machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, luna_runs: list[Run]) -> Path:
    """Runs, a CT and a data folder where the examples look for them."""
    where = tmp_path_factory.mktemp("examples")
    for run in luna_runs[:2]:
        shutil.copytree(run.path, where / "runs" / run.network)
    medseg.task_named("luna").known_data("test").phantom(where / "data", 2, 0)
    ct = next((where / "data").rglob("*.mhd"))
    shutil.copy(ct.with_suffix(".raw"), where / "ct.raw")
    (where / "ct.mhd").write_text(ct.read_text().replace(ct.with_suffix(".raw").name, "ct.raw"))
    return where


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if name in HEAVY else pytest.mark.slow)
        for name in OFFERED
        if name not in PLAIN
    ],
)
def test_the_example_runs(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    found = getattr(medseg, name)
    documented = found.function if hasattr(found, "function") else found
    examples = [one for one in doctest.DocTestFinder(recurse=True).find(documented, name) if one.examples]
    assert examples, f"medseg.{name} has no example"
    for one in examples:
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(one)
        assert result.attempted and not result.failed


def test_every_offered_name_says_what_it_is() -> None:
    for name in OFFERED:
        found = getattr(medseg, name)
        told = inspect.getdoc(found.function if hasattr(found, "function") else found) or ""
        assert len(told.split()) > 4 and told.split("\n")[0].endswith("."), name
