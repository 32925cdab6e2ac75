"""A run that brings its own network along, served: who asks the server needs no run, and gets the local answer."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
pytest.importorskip("openvino")

import medseg
from medseg.api.serve import Repository, write_repository
from medseg.data.numpy_or_torch import host
from medseg.errors import InputError, RunError
from medseg.run import Run, describe
from medseg.tasks import task_named
from medseg.tasks.picture.choose import described
from medseg.tasks.picture.description import Size
from medseg.tasks.picture.pipeline import prepared
from tests.bench.runs import bright_run
from tests.tasks.picture.made import picture

GPU_FILE = {"precision": "fp32", "gpu": "sm89", "version": "11", "target": {"batches": (1, 4, 8)}}


def run_of(folder: Path, **changes) -> Run:
    """A run that describes a network which finds what is bright, in each of two classes."""
    text = described(picture(activation="sigmoid", **changes))
    run = bright_run(folder, task_named("picture").described([text]).networks[0])
    describe(run, text)
    return Run(folder)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two pictures of other sizes than the network's, and than each other's."""
    rng, folder = np.random.default_rng(0), tmp_path / "pictures"
    folder.mkdir()
    for number, shape in enumerate([(45, 70), (97, 33)]):
        coarse = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC))
    return sorted(folder.iterdir())


@pytest.mark.parametrize(
    "kind", [{}, {"colours": "grey", "bits": 16, "count": 1, "normalisation": "picture-range"}], ids=["rgb8", "grey16"]
)
def test_a_served_run_answers_as_it_does_here(kind: dict[str, Any], files: list[Path], tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", size=Size("pad", 64, 64, 32, 7), **kind)
    if kind:  # grey, of 16 bits
        for file in files:
            grey = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            cv2.imwrite(str(file), grey.astype(np.uint16) * 40)
    here = medseg.predict("picture", files, runs=[run])
    with medseg.serve("picture", [run], log=tmp_path / "triton.log") as server:
        there = medseg.predict("picture", files, url=server.url)
    for local, remote, file in zip(here, there, files, strict=True):
        assert local.mask.shape == (2, *cv2.imread(str(file)).shape[:2])
        assert 0.05 < local.mask.mean() < 0.95
        for name, array in local.arrays.items():
            assert np.array_equal(array, remote.arrays[name]), name


def _write(run: Run, folder: Path, target: str, engine: str | None = None) -> list[str]:
    return write_repository(folder, task_named("picture"), [run], Repository(target, engine))


@pytest.mark.parametrize("rule", ["stretch", "fit", "pad"])
def test_a_repository_for_gpus_is_written_of_a_plan(rule: str, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", size=Size(rule, 64, 64))
    with run.adding("fp32.sm89.plan", GPU_FILE | {"engine": "tensorrt"}) as plan:
        plan.write_bytes(b"copied, and opened by a server with a GPU alone")
    names = _write(Run(run.path), tmp_path / "models", "gpu")
    assert (tmp_path / "models/picture-network/1/model.plan").read_bytes().startswith(b"copied")
    assert (tmp_path / "models/picture-decode-step/1/model.dali").is_file()
    configs = {name: (tmp_path / "models" / name / "config.pbtxt").read_text() for name in names}
    assert 'backend: "tensorrt"' in configs["picture-network"] and "max_batch_size: 8" in configs["picture-network"]
    assert all('key: "arrays"' in configs[f"picture-{step}-step"] for step in ("prepare", "answer"))
    assert 'key: "descriptions"' in configs["picture"], "clients are told what network it is"


@pytest.mark.parametrize(
    ("engine", "error", "words"),
    [
        (
            None,
            RunError,
            r"has no fp32 \.plan file for tensorrt; it holds .*fp32\.sm89\.rtx: `medseg export --engine tensorrt`",
        ),
        ("tensorrt-rtx", InputError, r"--engine is 'tensorrt-rtx'; target 'gpu' has tensorrt: choose"),
    ],
)
def test_an_rtx_engine_which_triton_does_not_open_is_refused(engine, error, words: str, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    with run.adding("fp32.sm89.rtx", GPU_FILE | {"engine": "tensorrt-rtx"}) as file:
        file.write_bytes(b"rtx")
    with pytest.raises(error, match=words):
        _write(Run(run.path), tmp_path / "models", "gpu", engine)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colours", ["rgb", "grey"])
def test_a_picture_of_any_kind_is_prepared_where_it_lies(colours: str, bits: int) -> None:
    """On a GPU's server pixels come as torch's, of 16 bits too."""
    torch = pytest.importorskip("torch")
    count, low = (3, 0) if colours == "rgb" else (1, 100)
    one = picture(colours=colours, bits=bits, count=count, normalisation="picture-range", size=Size("fit", 64, 96))
    pixels = np.random.default_rng(0).integers(low, 1 << bits, (1, 45, 70, count)).astype(f"uint{bits}")
    here = prepared(one, {"pixels": pixels}, lambda _: None)["input"]
    there = prepared(one, {"pixels": torch.from_numpy(pixels)}, lambda _: None)["input"]
    assert np.allclose(host(there), here, atol=1e-5)
