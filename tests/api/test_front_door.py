"""`import medseg` as a library: what it offers, and what a call gives."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import medseg
from medseg.api.answer import Answer
from medseg.api.predictor import Predictor
from medseg.errors import InputError
from medseg.task import Reading


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    medseg.task_named("gi-tract").known_data("test").phantom(tmp_path, 1, 0)
    return tmp_path


@pytest.fixture
def predictor() -> Predictor:
    task = medseg.task_named("gi-tract")
    return Predictor(task, lambda tensors: task.pipeline(tensors, lambda _: lambda batch: 20 * batch - 8), {"runs": []})


def test_everything_offered_is_there_and_importing_loads_none_of_it():
    code = "import sys, medseg; assert not {'numpy', 'torch', 'typer'} & set(sys.modules); print(*medseg.__all__)"
    offered = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"predict", "export", "serve", "open_predictor", "Run"} <= set(offered) <= set(dir(medseg))
    assert all(getattr(medseg, name) is not None for name in offered)
    with pytest.raises(AttributeError, match="no attribute 'predicted'"):
        _ = medseg.predicted


def test_a_package_of_a_commands_name_is_called_and_still_a_package(tmp_path: Path):
    import medseg.export.plan

    assert medseg.export.plan.__name__ == "medseg.export.plan"
    with pytest.raises(medseg.errors.RunError, match="nowhere"):
        medseg.export(tmp_path / "nowhere")


def test_an_answer_has_arrays_a_picture_and_files(pictures: Path, predictor: Predictor, tmp_path: Path):
    first, *_ = predictor.sources(pictures)
    answer = predictor.answer(first)
    assert answer.name == first.name and answer.mask.shape[0] == 3 and answer.mask is answer.arrays["mask"]
    assert answer.table == [] and answer.notes == () and answer.geometry is None
    assert answer.picture().startswith(b"\x89PNG")
    assert "<img" in answer._repr_html_() and answer.name in answer._repr_html_()
    assert repr(answer).startswith("Answer('gi-tract', ") and len(repr(answer)) < 300
    written = answer.save(tmp_path / "out")
    assert written and all(path.is_file() for path in written)
    assert answer.request.made_by == {"runs": [], "options": {}}


def test_what_cannot_be_asked_is_refused_in_words(pictures: Path, predictor: Predictor):
    with pytest.raises(InputError, match=r"holds \d+ sources; expected one"):
        predictor.answer(pictures)
    with pytest.raises(InputError, match="option 'threshold' is not one of task 'gi-tract'"):
        predictor.answer(predictor.sources(pictures)[0], threshold=0.3)
    with pytest.raises(InputError, match="got both or neither"):
        medseg.predict("gi-tract", pictures)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"roi": "liver"}, "roi is 'liver'; expected 'all' or 'lungs'"),
        ({"threshold": "much"}, "threshold is 'much'; expected a number"),
        ({"threshold": 2}, "threshold' is 2.0; expected 0 to 1"),
        ({"threshold": float("nan")}, "expected 0 to 1"),
    ],
)
def test_options_are_held_to_their_wires(options: dict[str, float | str], words: str):
    with pytest.raises(InputError, match=words):
        medseg.task_named("luna").optional_tensors(options)


def test_luna_lists_nodules_on_the_cts_own_grid(tmp_path: Path):
    task = medseg.task_named("luna")
    task.known_data("test").phantom(tmp_path, 1, 0)
    (source,) = task.files.sources(next(tmp_path.rglob("*.mhd")), Reading())
    request = source.load()
    shape = request.tensors["ct"].shape
    arrays = {
        "nodules": np.arange(9.0)[np.newaxis],
        "mask": np.array([[1, 5, 2]]),
        "notes": np.array([b"a doubt"], object),
    }
    answer = Answer(task, request, arrays)
    assert answer.geometry == request.geometry and answer.mask.shape == shape
    assert answer.table[0]["nodule"] == 1 and answer.notes == ("a doubt",)
