"""Every picture task, served as `medseg serve` serves it, answers real files as the local pipeline does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
pytest.importorskip("openvino")

from medseg.api.serve import Repository, write_repository
from medseg.dali_pipelines.decode import Decoder
from medseg.data.encoded import encoded_tensor
from medseg.engines.runs import opened
from medseg.engines.triton import served_pipeline
from medseg.errors import InputError
from medseg.run import Run
from medseg.task import Pipeline, Task, Tensors
from medseg.tasks import task_named
from medseg.triton_models.repository import served as served_as
from medseg.triton_models.repository import swapped, write
from medseg.triton_models.server import Server, serving
from medseg.triton_models.targets import EMBEDDED, Target
from tests.bench.runs import bright_run
from tests.dali_pipelines.test_decode import FILES
from tests.shared import needs_shared
from tests.tasks.perfect import dice

# What is brighter than this is foreground; STAS's three voters differ, so that there is something to vote on.
BRIGHTER = {"gi-tract": (0.25,), "brain-lgg": (1.0,), "stas": (0.4, 0.5, 0.6)}
Served = tuple[Task, list[Run], Server]


def _runs(folder: Path, task: Task) -> list[Run]:
    return [
        bright_run(folder / network.name, network, threshold)
        for network, threshold in zip(task.networks, BRIGHTER[task.name], strict=True)
    ]


def _as_on_a_gpu(folder: Path, task: Task, runs: list[Run]) -> list[str]:
    """The steps as the GPU's repository has them, torch's tensors and all, around what the wheel's server has."""
    on_gpu = Target("gpu steps", EMBEDDED.engines, native=False, device="gpu")
    return write(folder, task, served_as(task, runs, "openvino", "fp32"), swapped(task, "dali"), on_gpu)


def _by_default(folder: Path, task: Task, runs: list[Run]) -> list[str]:
    return write_repository(folder, task, [run.path for run in runs], Repository("embedded", None, "fp32", "dali"))


@contextmanager
def _serving(folder: Path, name: str, written: Callable[[Path, Task, list[Run]], list[str]]) -> Iterator[Served]:
    task = task_named(name)
    runs = _runs(folder, task)
    names = written(folder / "models", task, runs)
    with serving(folder / "models", names, folder / "triton.log") as server:
        yield task, runs, server


def _with_dali(task: Task) -> Pipeline:
    """The local pipeline with the decoder that is served."""
    made = {name: Decoder(how) for name, how in task.decoding.items()}
    steps = (replace(step, run=made.get(step.name, step.run)) for step in task.pipeline.steps)
    return replace(task.pipeline, steps=tuple(steps))


def _answers(task: Task, runs: list[Run], server: Server) -> Iterator[tuple[Tensors, Tensors, Tensors]]:
    """Of real files: the server's answer, the local one with the decoder that is served, and the plain local one."""
    model, files = served_pipeline(server.url, task), FILES[task.name][0]
    pipeline = _with_dali(task)
    with opened(runs, "openvino", "fp32") as networks:
        for group in [files] if task.name == "brain-lgg" else [[file] for file in files[:3]]:
            outputs = tuple(name for name in pipeline.outputs if name != "polygons")  # of such speckles there are many
            wanted = encoded_tensor([name.encode() for name in outputs])
            tensors = {"encoded": encoded_tensor([file.read_bytes() for file in group]), "wanted": wanted}
            yield model.ask(tensors, outputs), pipeline(tensors, networks), task.pipeline(tensors, networks)
    model.close()


def _check_required(served: Served) -> None:
    """What lacks its pictures is told so, not that Triton is in a deadlock."""
    model = served_pipeline(served[2].url, served[0])
    with pytest.raises(InputError, match="tensor 'encoded' is required; expected it in every request"):
        model.ask({"wanted": encoded_tensor([b"mask"])}, ("mask",))
    model.close()


@needs_shared
@pytest.mark.parametrize("name", sorted(BRIGHTER))
def test_the_served_answer_is_the_local_pipelines(tmp_path: Path, name: str) -> None:
    with _serving(tmp_path, name, _by_default) as served:
        _check_required(served)
        for remote, local, plain in _answers(*served):
            assert local["mask"].any() and not local["mask"].all()
            assert set(remote) == set(local)
            for output in remote:
                assert np.array_equal(remote[output], local[output]), output
            assert dice(remote["mask"], plain["mask"]) >= 0.9999


@needs_shared
@pytest.mark.parametrize("name", sorted(BRIGHTER))
def test_steps_that_take_torchs_tensors_answer_alike(tmp_path: Path, name: str) -> None:
    """But for pixels whose logit is 0 to within rounding: two ways to resize float32."""
    with _serving(tmp_path, name, _as_on_a_gpu) as served:
        for remote, local, _ in _answers(*served):
            assert set(remote) == set(local)
            for output in ("mask", "votes", "agreement"):
                if output in local:
                    assert np.mean(remote[output] != local[output]) < 1e-5, output
            assert np.abs(remote["probability"].astype(int) - local["probability"]).max() <= 1
            if np.array_equal(remote["mask"], local["mask"]):
                assert all(np.array_equal(remote[text], local[text]) for text in ("rle", "mask_png") if text in local)
        assert "Traceback" not in served[2].log.read_text(), "of a capsule, which Python only reports"
