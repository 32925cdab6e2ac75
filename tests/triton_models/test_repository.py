"""The written repositories are the golden ones, and Triton's own schema reads them, for every task and target."""

import os
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
from google.protobuf import text_format
from nvidia.dali.pipeline import Pipeline as DaliPipeline
from tritonclient.grpc import model_config_pb2 as pb

from medseg import __version__
from medseg.api.serve import Repository, write_repository
from medseg.cli.serve import serve
from medseg.data.encoded import pack
from medseg.errors import InputError, RunError
from medseg.run import Run
from medseg.tasks import task_named
from medseg.triton_models.server import serving
from tests.dali_pipelines.test_decode import FILES, step
from tests.own import OWN
from tests.shared import needs_shared

SETTINGS = {
    *("version_policy", "max_batch_size", "instance_group", "dynamic_batching", "model_warmup", "parameters"),
    "default_model_filename",
}
GOLDEN = Path(__file__).parents[1] / "golden"
_NATIVE = [("cpu", "onnxruntime"), ("cpu", "openvino"), ("gpu", "tensorrt")]
_SUFFIX = {"onnxruntime": ".onnx", "openvino": ".onnx", "tensorrt": ".plan"}


def _check_golden(repository: Path, models: list[str], golden: Path) -> None:
    """`UPDATE_GOLDEN=1 pytest` writes the golden files anew, to be read before they are committed."""
    for model in models:
        text = (repository / model / "config.pbtxt").read_text().replace(str(repository.parent.resolve()), "/runs")
        text = text.replace(f'medseg\\": \\"{__version__}', 'medseg\\": \\"VERSION')
        kept = golden / model / "config.pbtxt"
        if os.environ.get("UPDATE_GOLDEN"):
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(text)
        assert text == kept.read_text()
        assert text_format.Parse(text, pb.ModelConfig()).name == model
        assert "max_batch_size" in text, "left away, Triton would complete the configuration itself"
    assert {path.name for path in golden.iterdir()} == set(models)


@pytest.mark.parametrize("name", OWN)
def test_every_config_of_what_serve_writes_is_the_golden_one_and_parses(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    defaults = Repository("embedded", None, "fp32", "dali")
    models = write_repository(tmp_path / "models", task_named(name), _runs(tmp_path, name, "openvino"), defaults)
    assert models[-1] == name, "the ensemble is loaded last"
    _check_golden(tmp_path / "models", models, GOLDEN / name)


def test_what_serve_writes_without_options_is_what_is_golden() -> None:
    defaults = {name: option.default for name, option in signature(serve).parameters.items()}
    assert [defaults[name] for name in ("target", "engine", "precision", "decoder")] == [
        "embedded",
        None,
        "fp32",
        "dali",
    ]


def test_each_setting_has_its_reason_above_it() -> None:
    for path in sorted(GOLDEN.rglob("config.pbtxt")):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            first = line not in lines[:number]
            if first and line.split(" ")[0].rstrip(":") in SETTINGS and not line.startswith(" "):
                assert lines[number - 1].startswith("# "), f"{path}: {line}"


def _runs(folder: Path, task: str, engine: str) -> list[Path]:
    """Runs with a file for the engine; what is in it matters to nobody who does not open it."""
    runs = []
    for network in task_named(task).networks:
        run = Run.create(folder / network.name, network.name, {}, {"kind": "test"})
        facts = {"precision": "fp32", "target": {"batches": (1, 4, 8)}}
        with run.adding(f"fp32{_SUFFIX[engine]}", facts) as path:
            path.write_text(network.name)
        runs.append(run.path)
    return runs


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize(("target", "engine"), _NATIVE)
def test_every_config_for_a_container_is_the_golden_one(
    tmp_path: Path, name: str, target: str, engine: str, one_core: None
) -> None:
    wanted = Repository(target, engine, "fp32", "dali")
    models = write_repository(tmp_path / "models", task_named(name), _runs(tmp_path, name, engine), wanted)
    _check_golden(tmp_path / "models", models, GOLDEN / f"{target}-{engine}" / name)
    for network in task_named(name).networks:
        (file,) = (tmp_path / "models" / f"{network.name}-network" / "1").iterdir()
        assert file.read_text() == network.name, "the repository holds the networks: it can be moved"


_STAND_IN = """
class TritonPythonModel:
    def execute(self, requests):
        return []
"""


@pytest.mark.parametrize("name", ["brain-lgg", "stas"])  # a whole volume through DALI; three networks side by side
@pytest.mark.parametrize(("target", "engine"), _NATIVE[1:])
def test_the_real_server_takes_the_ensemble_of_a_container(tmp_path: Path, name: str, target: str, engine: str) -> None:
    """Tritonserver checks every wire of the ensemble against the models' shapes; native backends are stood in for."""
    wanted = Repository(target, engine, "fp32", "dali")
    models = write_repository(tmp_path / "models", task_named(name), _runs(tmp_path, name, engine), wanted)
    for model in models[:-1]:
        path = tmp_path / "models" / model / "config.pbtxt"
        config = text_format.Parse(path.read_text(), pb.ModelConfig())
        config.backend, config.default_model_filename = "python", ""
        config.instance_group[0].kind = pb.ModelInstanceGroup.KIND_CPU
        del config.model_warmup[:]
        path.write_text(text_format.MessageToString(config) + "max_batch_size: 0\n" * (config.max_batch_size == 0))
        (path.parent / "1" / "model.py").write_text(_STAND_IN)
    with serving(tmp_path / "models", models, tmp_path / "log") as server:
        assert server.process.poll() is None


@needs_shared
@pytest.mark.parametrize("task", sorted(FILES))
def test_the_served_dali_pipeline_is_loaded_back_as_its_config_says_and_decodes(tmp_path: Path, task: str) -> None:
    """Triton's backend takes the batch size from the configuration, and so does this."""
    wanted = Repository("cpu", None, "fp32", "dali")
    write_repository(tmp_path / "models", task_named(task), _runs(tmp_path, task, "onnxruntime"), wanted)
    folder = tmp_path / "models" / f"{task}-decode-step"
    config = text_format.Parse((folder / "config.pbtxt").read_text(), pb.ModelConfig())
    assert config.backend == "dali"
    kinds = {"max_batch_size": config.max_batch_size, "num_threads": 2, "device_id": None}
    loaded = DaliPipeline.deserialize(filename=str(folder / "1" / "model.dali"), **kinds)
    files, tolerance = FILES[task]
    packed = pack([file.read_bytes() for file in files[: min(10, config.max_batch_size)]])
    loaded.feed_input(config.input[0].name, list(packed))
    found = np.array(loaded.run()[0].as_array())
    expected = step(task, "decode")({"packed": packed}, None)[config.output[0].name]
    assert all(want in (-1, size) for want, size in zip(config.output[0].dims, found.shape[1:], strict=True))
    assert np.abs(found.astype(float) - expected).max() <= tolerance


def test_what_a_target_does_not_have_is_refused(tmp_path: Path) -> None:
    task, runs = task_named("brain-lgg"), _runs(tmp_path, "brain-lgg", "onnxruntime")
    with pytest.raises(
        RunError, match=r"no fp32 .plan file for tensorrt; it holds fp32.onnx: `medseg export --engine tensorrt`"
    ):
        write_repository(tmp_path / "models", task, runs, Repository("gpu", None, "fp32", "dali"))
    with pytest.raises(InputError, match="--engine is 'openvino'; target 'gpu' has tensorrt"):
        write_repository(tmp_path / "models", task, runs, Repository("gpu", "openvino", "fp32", "dali"))
    with pytest.raises(InputError, match="--target is 'tpu'; expected one of embedded, cpu, gpu"):
        write_repository(tmp_path / "models", task, runs, Repository("tpu", None, "fp32", "dali"))


def test_instances_share_out_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    task, runs = task_named("brain-lgg"), _runs(tmp_path, "brain-lgg", "openvino")
    write_repository(tmp_path / "models", task, runs, Repository("embedded", None, "fp32", "dali", 2))
    text = (tmp_path / "models" / "brain-lgg-network" / "config.pbtxt").read_text()
    config = text_format.Parse(text, pb.ModelConfig())
    assert (config.instance_group[0].count, config.parameters["threads"].string_value) == (2, "3")
    assert "# as chosen by --instances; they share the cores" in text
    for wrong in (0, 7):
        with pytest.raises(InputError, match=f"--instances is {wrong}; expected 1 to 6, the cores of this machine"):
            write_repository(tmp_path / "models", task, runs, Repository("embedded", None, "fp32", "dali", wrong))


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
