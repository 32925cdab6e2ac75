"""What a network's process is told is what the task says of it; another file than the one served is refused."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino")

from medseg.engines import open_engine
from medseg.errors import EngineError, RunError
from medseg.files import sha256
from medseg.task import Network
from medseg.tasks import task_named, task_names
from medseg.triton_models import network as served
from tests.bench.runs import bright_run

NETWORKS = [network for name in task_names() for network in task_named(name).networks]
NETWORK = task_named("gi-tract").networks[0]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_a_process_is_told_what_its_network_takes_and_answers(network: Network) -> None:
    told = served.network_told(served.facts(network))
    batch = (3, *(size + 64 * (axis in network.free_axes) for axis, size in enumerate(network.input_shape, 1)))
    assert (told.name, told.input_shape) == (network.name, network.input_shape)
    assert told.answer_shape(batch) == network.answer_shape(batch)


def _parameters(folder: Path) -> dict[str, str]:
    file = bright_run(folder / "run", NETWORK).path / "fp32.onnx"
    told = {"file": str(file), "engine": "openvino", "threads": "1", "sha256": sha256(file)}
    return served.facts(NETWORK) | told


def test_the_file_that_is_served_is_opened(tmp_path: Path) -> None:
    infer = served.opened(_parameters(tmp_path))
    assert infer(np.zeros((2, *NETWORK.input_shape), np.float32)).shape == (2, *NETWORK.output_shape)


def test_a_network_that_answers_another_shape_is_refused(tmp_path: Path) -> None:
    infer = served.opened(_parameters(tmp_path) | {"output_shape": "7,224,224"})
    with pytest.raises(EngineError, match=f"network '{NETWORK.name}' answered .* expected"):
        infer(np.zeros((1, *NETWORK.input_shape), np.float32))


@pytest.mark.parametrize("change", ["replaced", "written", "missing"])
def test_another_file_than_the_served_one_is_refused_by_name(tmp_path: Path, change: str) -> None:
    told = _parameters(tmp_path)
    file = Path(told["file"])
    file.unlink()
    if change == "replaced":  # by another run's, as whole as the first
        bright_run(tmp_path / "other", NETWORK, 0.25).path.joinpath("fp32.onnx").rename(file)
    elif change == "written":
        file.write_bytes(b"half of an export")
    with pytest.raises(RunError, match=r"fp32.onnx.*(sha256 differs|No such file).*expected"):
        served.opened(told)


def test_a_file_that_is_replaced_while_it_is_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = _parameters(tmp_path)
    other = bright_run(tmp_path / "other", NETWORK, 0.25).path / "fp32.onnx"

    def late(engine: str, file: Path, threads: int) -> object:
        other.rename(file)
        return open_engine(engine, file, threads)

    monkeypatch.setattr(served, "open_engine", late)
    with pytest.raises(RunError, match="sha256 differs"):
        served.opened(told)
