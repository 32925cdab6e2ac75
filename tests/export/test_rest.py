"""What stays float in an int8 file: computed in bfloat16 where the CPU can, it holds, and the file is faster so."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("openvino")

from medseg.engines import open_engine
from medseg.engines import openvino as engine
from medseg.errors import EngineError, ExportError
from medseg.export.chain import export
from medseg.export.graph import label
from medseg.export.options import ExportOptions
from medseg.run import Run
from medseg.tasks import task_named
from medseg.train.weights import save_weights
from tests.export.kinds import KINDS, evened_ways, made_of
from tests.export.made import run_of
from tests.export.test_bfloat import needs_bf16


def _times(times: float) -> Mapping[str, Any]:
    return {"measured": True, "engine": "openvino", "times": times, "faster": True}


UNMEASURED = {"measured": False, "because": "no engine"}


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An int8 export on a CPU that computes in bfloat16, of which the files' speeds come from a list."""
    monkeypatch.setattr("medseg.export.chain.computes_bf16", lambda: True)

    def made(*speeds: Mapping[str, Any]) -> Run:
        left: Iterator[Mapping[str, Any]] = iter(speeds)
        monkeypatch.setattr("medseg.export.chain.speed", lambda *_: next(left))
        task = task_named("brain-lgg")
        task.known_data("test").phantom(tmp_path / "data", 6, 0)
        small = {**task.networks[0].options, "features": 2}
        run = Run.create(tmp_path / "run", task.networks[0].name, small, {"kind": "random"})
        save_weights(run, task.networks[0].build(**small))
        options = ExportOptions(int8=True, data=tmp_path / "data", samples=2, scored=0, dice=0.0)
        assert not export(run, task.networks[0], options, lambda _: None)
        assert next(left, None) is None, "every version is timed"
        return run

    return made


def _said(run: Run) -> dict[str, str]:
    return {one.key: one.value for one in onnx.load(run.path / "int8.onnx").metadata_props}


def _stays_float32(run: Run, because: str) -> None:
    assert run.files["int8.onnx"]["rest"] == {"precision": "fp32", "because": because} and _said(run)["rest"] == "fp32"


def test_it_is_bfloat16_if_that_is_faster(exported: Any) -> None:
    run = exported(_times(2.0), _times(2.2))
    assert run.files["int8.onnx"]["rest"] == {"precision": "bf16"}
    assert _said(run)["rest"] == "bf16" and _said(run)["precision"] == "int8"
    assert run.files["int8.onnx"]["speed"]["times"] == 2.2


@pytest.mark.parametrize("other", [_times(2.05), _times(1.5), UNMEASURED])
def test_it_stays_float32_if_that_is_no_faster(exported: Any, other: Mapping[str, Any]) -> None:
    run = exported(_times(2.0), other)
    _stays_float32(run, "it is no faster")
    assert run.files["int8.onnx"]["speed"]["times"] == 2.0


@pytest.mark.parametrize("refusal", [ExportError, EngineError])
def test_it_stays_float32_if_a_judge_or_an_engine_refuses_bfloat16(
    refusal: type[Exception], exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(network: Any, known: Any, file: Path, budget: Any) -> None:
        if any(one.key == "rest" for one in onnx.load(file).metadata_props):
            raise refusal("it loses a nodule")

    monkeypatch.setattr("medseg.export.chain.judge_by_engines", judge)
    _stays_float32(exported(_times(2.0)), "it loses a nodule")


def test_it_stays_float32_where_the_cpu_has_no_bfloat16(exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.export.chain.computes_bf16", lambda: False)
    _stays_float32(exported(_times(2.0)), "no engine here computes in bfloat16")


@needs_bf16
def test_a_cpu_without_bfloat16_computes_it_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_of(KINDS["planes"])
    run, picture = run_of(made.network.build(), tmp_path / "run"), made.known.samples[0]
    model = evened_ways(made)[0].lowering(made.known).make(())

    def answer(rest: str) -> np.ndarray:
        label(run, made.network, model, "int8", rest)
        onnx.save(model, tmp_path / "int8.onnx")
        opened = open_engine("openvino", tmp_path / "int8.onnx")
        found = opened(picture)
        opened.close()
        return found

    full, brain = answer(""), answer("bf16")
    assert 0 < np.abs(full - brain).mean() < 2**-5 * np.abs(full).max()
    monkeypatch.setattr(engine, "computes_bf16", lambda: False)
    np.testing.assert_array_equal(answer("bf16"), full)
