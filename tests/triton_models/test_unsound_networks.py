"""A broken network on the real server: its requests fail with its name, wherever in the ensemble it is asked."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
pytest.importorskip("openvino")

from benchmarks.damaged_requests import whole
from medseg.data.encoded import encoded_tensor
from medseg.engines.triton import served_pipeline
from medseg.errors import ServerError
from medseg.run import Run
from medseg.tasks import task_named
from medseg.triton_models.repository import served, write
from medseg.triton_models.server import Server, serving
from tests.bench.runs import bright_run

BROKEN = {"gi-tract": "shape", "brain-lgg": "NaN"}  # the one is a step of the ensemble, the other is asked by a step


def _broken(run: Run, how: str) -> None:
    """Its file, recorded as it is, answers with something that is no answer."""
    model = onnx.load(run.path / "fp32.onnx")
    if how == "shape":  # the same answer for 224 classes
        concat = next(node for node in model.graph.node if node.op_type == "Concat")
        concat.input[:] = ["bright"] * 224
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 224
    else:
        level = next(constant for constant in model.graph.initializer if constant.name == "level")
        level.CopyFrom(numpy_helper.from_array(np.array(np.nan, np.float32), "level"))
    with run.adding("fp32.onnx", {"precision": "fp32"}) as path:
        onnx.save(model, path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, names = tmp_path_factory.mktemp("unsound"), []
    for name, how in BROKEN.items():
        task = task_named(name)
        runs = [bright_run(folder / network.name, network) for network in task.networks]
        _broken(runs[-1], how)
        networks = [replace(one, instances=1) for one in served(task, runs, "openvino", "fp32")]
        names += write(folder / "models", task, networks)
    with serving(folder / "models", names, folder / "triton.log") as running:
        yield running


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_network_is_an_error_that_names_it(server: Server, name: str) -> None:
    task = task_named(name)
    picture = whole(name)
    model = served_pipeline(server.url, task)
    said = "with shape" if BROKEN[name] == "shape" else "with NaN or infinity"
    with pytest.raises(ServerError, match=rf"network '{task.networks[-1].name}' answered.*{said}") as caught:
        model.ask({"encoded": encoded_tensor([picture] * (3 if name == "brain-lgg" else 1))}, ("mask",))
    assert "/" not in str(caught.value).partition("network '")[2], "no path of the server"
    model.close()
