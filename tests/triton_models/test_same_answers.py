"""Every picture task, served as `medseg serve` serves it, answers real files as the local pipeline does."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
pytest.importorskip("openvino")

from medseg.cli.serving import Wanted, write_repository
from medseg.dali_pipelines.decode import Decoder
from medseg.data.encoded import encoded_tensor
from medseg.engines.runs import opened
from medseg.engines.triton import served_pipeline
from medseg.run import Run
from medseg.task import Pipeline, Task
from medseg.tasks import task_named
from medseg.triton_models.server import Server, free_ports, serving
from tests.bench.runs import bright_run
from tests.dali_pipelines.test_decode import FILES
from tests.shared import needs_shared
from tests.tasks.perfect import dice

# What is brighter than this is foreground; STAS's three voters differ, so that there is something to vote on.
BRIGHTER = {"gi-tract": (0.25,), "brain-lgg": (1.0,), "stas": (0.4, 0.5, 0.6)}


def _runs(folder: Path, task: Task) -> list[Run]:
    return [
        bright_run(folder / network.name, network, threshold)
        for network, threshold in zip(task.networks, BRIGHTER[task.name], strict=True)
    ]


@pytest.fixture(params=sorted(BRIGHTER))
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Task, list[Run], Server]]:
    task = task_named(request.param)
    runs = _runs(tmp_path, task)
    defaults = Wanted("embedded", None, "fp32", "dali")
    names = write_repository(tmp_path / "models", task, [run.path for run in runs], defaults)
    with serving(tmp_path / "models", names, free_ports(), tmp_path / "triton.log") as server:
        yield task, runs, server


def _with_dali(task: Task) -> Pipeline:
    """The local pipeline with the decoder that is served."""
    steps = (replace(step, run=Decoder(task.name)) if step.name == "decode" else step for step in task.pipeline.steps)
    return replace(task.pipeline, steps=tuple(steps))


@needs_shared
def test_the_served_answer_is_the_local_pipelines(served: tuple[Task, list[Run], Server]) -> None:
    task, runs, server = served
    model, files = served_pipeline(server.url, task), FILES[task.name][0]
    pipeline = _with_dali(task)
    with opened(runs, "openvino", "fp32") as networks:
        for group in [files] if task.name == "brain-lgg" else [[file] for file in files[:3]]:
            outputs = tuple(name for name in pipeline.outputs if name != "polygons")  # of such speckles there are many
            wanted = encoded_tensor([name.encode() for name in outputs])
            tensors = {"encoded": encoded_tensor([file.read_bytes() for file in group]), "wanted": wanted}
            local, remote = pipeline(tensors, networks), model.ask(tensors, outputs)
            assert local["mask"].any() and not local["mask"].all()
            for name in outputs:
                assert np.array_equal(remote[name], local[name]), name
            plain = task.pipeline(tensors, networks)  # decoded by Pillow
            assert dice(remote["mask"], plain["mask"]) >= 0.9999
    model.close()
