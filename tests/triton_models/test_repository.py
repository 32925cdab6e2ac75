"""The written repositories are the golden ones, and Triton's own schema reads them."""

import os
from pathlib import Path

import pytest

pytest.importorskip("tritonclient.grpc")
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from medseg.tasks import TASKS, task_named
from medseg.triton_models.config import Served
from medseg.triton_models.repository import write

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("name", TASKS)
def test_every_config_is_the_golden_one_and_parses(tmp_path: Path, name: str) -> None:
    """`UPDATE_GOLDEN=1 pytest` writes the golden files anew, to be read before they are committed."""
    task = task_named(name)
    served = [Served(network, f"/runs/{network.name}/fp32.onnx", "openvino", 2, 1) for network in task.networks]
    models = write(tmp_path, task, served)
    assert models[-1] == name, "the ensemble is loaded last"
    for model in models:
        text = (tmp_path / model / "config.pbtxt").read_text()
        golden = GOLDEN / name / model / "config.pbtxt"
        if os.environ.get("UPDATE_GOLDEN"):
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(text)
        assert text == golden.read_text()
        assert text_format.Parse(text, pb.ModelConfig()).name == model
        assert "max_batch_size" in text, "left away, Triton would complete the configuration itself"
    assert {path.name for path in (GOLDEN / name).iterdir()} == set(models)


def test_an_ensemble_joins_every_step_by_its_wires() -> None:
    text = (GOLDEN / "luna" / "luna" / "config.pbtxt").read_text()
    ensemble = text_format.Parse(text, pb.ModelConfig())
    assert ensemble.platform == "ensemble"
    made = {wire for step in ensemble.ensemble_scheduling.step for wire in step.output_map.values()}
    taken = {wire for step in ensemble.ensemble_scheduling.step for wire in step.input_map.values()}
    assert taken - made == {tensor.name for tensor in ensemble.input}
    assert {tensor.name for tensor in ensemble.output} <= made
    assert not {tensor.name for tensor in ensemble.output} & taken, (
        "an output that a later step takes can deadlock Triton"
    )
