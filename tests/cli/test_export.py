import json
import shutil

import pytest
import typer
from typer.testing import CliRunner

from medseg.cli.doctor import doctor
from medseg.cli.export import export
from medseg.cli.verify import verify
from medseg.engines import ENGINES
from medseg.errors import EngineError, ExportError, InputError, RunError
from medseg.export.waterfall import Stage, write
from tests.engines.cuda import driver

app = typer.Typer()
for command in (export, verify, doctor):
    app.command(command.__name__)(command)


def run(*arguments):
    """The command's result; a user's mistake is raised as it is in the program."""
    found = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


@pytest.fixture
def copied(luna_runs, tmp_path):
    return shutil.copytree(luna_runs[1].path, tmp_path / "nodule")


def test_export_adds_fp16_with_its_parity_and_command_line(copied):
    found = run("export", copied, "--fp16", "--samples", "2", "--json")
    facts = json.loads(found.stdout)[str(copied)]["fp16.onnx"]
    assert facts["parity"]["samples"] == 2 and facts["parity"]["calibration"] == "2 made-up samples"
    assert facts["command"].startswith("medseg")
    assert not run("verify", copied).exit_code


def test_the_report_shows_every_file_on_the_same_samples(copied):
    run("export", copied, "--fp16", "--samples", "2", "--report", "--engine", "tensorrt-rtx", "--gpu", "sm89")
    stages = {stage["file"]: stage for stage in json.loads((copied / "waterfall.json").read_text())["stages"]}
    assert stages["fp32.pt2"]["dice"] == 1.0 and stages["fp32.pt2"]["flipped"] == 0
    assert stages["fp32.pt2"]["truth_dice"] is None  # made-up samples
    assert stages["fp16.onnx"]["lost"] == stages["fp16.onnx"]["gained"] == 0
    assert stages["fp16.onnx"]["milliseconds"] > 0
    assert stages["fp16.sm89.rtx"]["note"] or stages["fp16.sm89.rtx"]["dice"] > 0.99
    assert (copied / "waterfall.md").read_text().startswith("| file | engine |")


def test_a_report_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "waterfall.md").mkdir()
    with pytest.raises(ExportError, match=r"waterfall\.md cannot be written .*make room"):
        write([Stage("fp32.onnx", "openvino", note="not opened")], tmp_path, "2 samples")


def test_verify_finds_a_changed_byte(copied):
    path = copied / "fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(RunError, match=r"fp32\.onnx: its bytes changed"):
        run("verify", copied)


@pytest.mark.parametrize("batch", ["4", "a:b:c", "0:1:2"])
def test_a_wrong_batch_is_told(copied, batch):
    with pytest.raises(InputError, match="smallest:tuned:largest"):
        run("export", copied, "--engine", "tensorrt-rtx", "--gpu", "sm89", "--batch", batch)


def test_an_unknown_engine_is_told(copied):
    with pytest.raises(InputError, match="'coreml' is unknown"):
        run("export", copied, "--engine", "coreml")


def test_a_missing_tensorrt_is_told_before_the_work(copied):
    import importlib.util

    if importlib.util.find_spec("tensorrt"):
        pytest.skip("full TensorRT is installed here")
    with pytest.raises(EngineError, match="medseg\\[trt\\]"):
        run("export", copied, "--engine", "tensorrt")


def test_doctor_names_every_engine_and_a_remedy_for_what_is_not_ok():
    lines = json.loads(run("doctor", "--json").stdout)["findings"]
    assert {"engine torch", "engine openvino", "engine tensorrt-rtx", "DALI", "tritonserver", "shared memory"} <= {
        line["what"] for line in lines
    }
    assert {line["state"] for line in lines} <= {"ok", "missing", "problem", "absent"}
    assert all(line["remedy"] for line in lines if line["state"] != "ok")


def test_doctor_compares_a_plan_with_a_triton_images_tensorrt(copied):
    from medseg.run import Run

    held = Run(copied)
    with held.adding("fp16.sm89.plan", {"engine": "tensorrt", "gpu": "sm89", "version": "10.13.3.9"}) as path:
        path.write_bytes(b"plan")
    fits = json.loads(run("doctor", "--run", copied, "--image-tensorrt", "10.13.3", "--json").stdout)["findings"]
    other = json.loads(run("doctor", "--run", copied, "--image-tensorrt", "10.11.0", "--json").stdout)["findings"]
    state = {"fits": fits, "other": other}
    found = {key: next(line for line in lines if line["what"].endswith(".plan")) for key, lines in state.items()}
    tag = "nvcr.io/nvidia/tritonserver:26.01-trtllm-python-py3"
    tagged = json.loads(run("doctor", "--run", copied, "--image", tag, "--json").stdout)["findings"]
    assert next(line for line in tagged if line["what"].endswith(".plan"))["state"] == "ok"
    assert found["fits"]["state"] == "ok"
    assert found["other"]["state"] == "problem" and "10.11.0" in found["other"]["remedy"]


def test_an_image_whose_tensorrt_is_not_recorded_is_told_with_where_to_find_it():
    with pytest.raises(InputError, match=r"'25.09-py3' is not recorded; .*rel-25-09.*--image-tensorrt"):
        run("doctor", "--image", "25.09-py3")


def test_doctor_does_not_call_cuda_the_driver_nor_a_missing_package_a_missing_driver(monkeypatch):
    from medseg.cli import doctor as module
    from medseg.engines import gpu

    monkeypatch.setattr(gpu, "driver_version", lambda: "580.82.07")
    monkeypatch.setattr(gpu, "_library", lambda: driver(("1",)))
    monkeypatch.setattr(module, "_version", lambda *_: "")  # not even CUDA's package is needed to ask
    assert [line.fact for line in module._gpu()] == ["580.82.07", "13.0", "sm90"]
    monkeypatch.setattr(module, "_version", lambda name, *_: "" if name == "cuda.bindings" else "11.4")
    lines = {line.what: line for line in module._engines()}
    assert lines["engine tensorrt"].state == "problem" and "no package 'cuda-bindings'" in lines["engine tensorrt"].fact
    assert "pip install 'medseg[trt]'" in lines["engine tensorrt"].remedy


@pytest.mark.parametrize(
    ("visible", "states"),
    [("0", {"tensorrt": "ok", "tensorrt-rtx": "ok"}), ("1", {"tensorrt": "ok", "tensorrt-rtx": "problem"})],
)
def test_doctor_says_which_tensorrt_can_do_something_with_the_gpu(monkeypatch, visible, states):
    from medseg.cli import doctor as module
    from medseg.engines import gpu

    monkeypatch.setattr(gpu, "_library", lambda: driver((visible,)))
    monkeypatch.setattr(module, "_version", lambda *_: "1.7.1")
    lines = {line.what: line for line in module._engines()}
    assert {name: lines[f"engine {name}"].state for name in states} == states
    if visible == "1":
        assert "builds no engines for this machine's GPU, sm90" in lines["engine tensorrt-rtx"].fact


@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx", "onnxruntime"])
def test_doctor_and_benchmarks_know_every_name_that_a_package_comes_under(monkeypatch, engine):
    import importlib.metadata

    from medseg.bench.measure.machine import PACKAGES
    from medseg.cli import doctor as module

    kind = ENGINES[engine]
    more = {"tensorrt": ["cu12", "cu13"], "tensorrt-rtx": ["cu12", "cu13"], "onnxruntime": ["gpu"]}[engine]
    names = [engine, *(f"{engine}-{one}" for one in more)]
    assert set(names) == set(kind.distributions) and set(names) <= set(PACKAGES)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: object())
    for held in names:
        found = {held: "1.2.3"}

        def version(name, found=found):
            if name not in found:
                raise importlib.metadata.PackageNotFoundError
            return found[name]

        monkeypatch.setattr(importlib.metadata, "version", version)
        assert module._version(kind.package, *kind.distributions) == "1.2.3"


def test_runs_given_together_are_judged_on_the_list(luna_runs, tmp_path):
    runs = [shutil.copytree(one.path, tmp_path / one.network) for one in luna_runs[1:]]
    found = run("export", *runs, "--fp16", "--samples", "2", "--lost", "100000", "--json")
    files = json.loads(found.stdout)
    lists = {path.name: files[str(path)]["fp16.onnx"]["list"] for path in runs}
    assert all(facts["judged"] and facts["most_lost"] == 100_000 for facts in lists.values())
    assert lists["luna-nodule"]["beside"] == {"luna-malignancy": "fp32"}
    assert lists["luna-malignancy"]["beside"] == {"luna-nodule": "fp16"}


def test_a_run_alone_says_what_could_not_be_judged_and_how_it_can_be(luna_runs, tmp_path):
    alone = shutil.copytree(luna_runs[2].path, tmp_path / "malignancy")
    found = run("export", alone, "--fp16", "--samples", "2")
    assert "list not judged, because without the other networks luna-malignancy gives no probabilities" in found.stdout
    words = ("--fp16", "--samples", "2", "--beside", luna_runs[1].path, "--lost", "9999", "--json")
    facts = json.loads(run("export", alone, *words).stdout)
    assert list(facts) == [str(alone)], "the other run is not exported"
    assert facts[str(alone)]["fp16.onnx"]["list"]["beside"] == {"luna-nodule": "fp32"}
