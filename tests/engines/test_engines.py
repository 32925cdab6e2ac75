"""One contract over all engines that run on a CPU."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from medseg.engines import ENGINES, open_engine
from medseg.engines.runs import exported_file, opened
from medseg.errors import EngineError, RunError
from medseg.run import Run

CPU_ENGINES = [name for name, kind in ENGINES.items() if not kind.builds]


def _crops(count: int) -> np.ndarray:
    return np.random.default_rng(count).uniform(-1000, 1000, (count, 1, 32, 48, 48)).astype(np.float32)


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_every_engine_gives_torchs_answer_for_every_batch_size(luna_runs: list[Run], name: str) -> None:
    run = luna_runs[1]
    yardstick = open_engine("torch", exported_file(run, "torch", "fp32"))
    engine = open_engine(name, exported_file(run, name, "fp32"))
    for count in (1, 5, 2):
        answer = engine(_crops(count))
        assert answer.shape == (count, 2) and answer.dtype == np.float32
        np.testing.assert_allclose(answer, yardstick(_crops(count)), rtol=1e-5, atol=1e-3)
    engine.close()
    yardstick.close()


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_height_and_width_are_free_where_the_network_says_so(luna_runs: list[Run], name: str) -> None:
    engine = open_engine(name, exported_file(luna_runs[0], name, "fp32"))
    for height, width in ((32, 48), (64, 36), (32, 48)):
        assert engine(np.zeros((1, 7, height, width), np.float32)).shape == (1, 1, height, width)
    engine.close()


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_calls_from_several_threads_do_not_mix(luna_runs: list[Run], name: str) -> None:
    engine = open_engine(name, exported_file(luna_runs[1], name, "fp32"), threads=2, streams=2)
    batches = [_crops(n) for n in (1, 2, 3, 4, 1, 2, 3, 4)]
    alone = [engine(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(engine, batches))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    engine.close()


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_an_answer_survives_the_next_call(luna_runs: list[Run], name: str) -> None:
    engine = open_engine(name, exported_file(luna_runs[1], name, "fp32"))
    first = engine(_crops(2))
    kept = first.copy()
    engine(_crops(2) * 0)
    assert np.array_equal(first, kept)
    engine.close()


def test_what_cannot_be_opened_is_said(luna_runs: list[Run], tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"'tensorflow' is unknown; expected one of torch, openvino, onnxruntime"):
        open_engine("tensorflow", tmp_path / "a.onnx")
    with pytest.raises(EngineError, match=r"cannot open .*a\.plan; expected a \.onnx file"):
        open_engine("openvino", tmp_path / "a.plan")
    with pytest.raises(RunError, match=r"has no int8 \.onnx file for openvino"):
        exported_file(luna_runs[0], "openvino", "int8")


def test_runs_open_as_networks_by_name(luna_runs: list[Run]) -> None:
    with opened(luna_runs[1:], "openvino", "fp32") as networks:
        assert networks("luna-nodule")(_crops(1)).shape == (1, 2)
        with pytest.raises(RunError, match="'luna-segment' is not among the runs"):
            networks("luna-segment")
    with pytest.raises(RunError, match="expected one run per network"), opened([luna_runs[1]] * 2, "openvino", "fp32"):
        pass


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _bits(content: bytes) -> bytes:
    """Fifty bits of the graph's words flipped, which stand in front of the weights; in a .pt2 anywhere."""
    changed, places = bytearray(content), np.random.default_rng(3).integers(0, 3000, 50)
    changed[:3000] = bytes(byte ^ (16 if place in places else 0) for place, byte in enumerate(changed[:3000]))
    return bytes(changed)


def _other_names(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    for node in model.graph.node:
        node.input[:] = ["picture" if name == "input" else name for name in node.input]
        node.output[:] = ["answer" if name == "output" else name for name in node.output]
    model.graph.input[0].name, model.graph.output[0].name = "picture", "answer"
    return model.SerializeToString()


def _missing_weights(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    del model.graph.initializer[-1]
    return model.SerializeToString()


def _unknown(content: bytes) -> bytes:
    """Operators whose names the library cannot even print."""
    return content.replace(b"Conv", b"\xff\xfe\xf0v")


BROKEN = {
    "empty": lambda content: b"",
    "text": lambda content: b"not a network",
    "html": lambda content: b"<!DOCTYPE html><html><body>404</body></html>",
    "git lfs pointer": lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "zeros": lambda content: bytes(len(content)),
    "cut": _cut,
    "flipped bits": _bits,
    "missing weights": _missing_weights,
    "operators nobody knows": _unknown,
}


OF_ONNX = ("missing weights", "operators nobody knows")  # edits of the graph, which a torch program has not


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in CPU_ENGINES for kind in sorted(BROKEN) if name != "torch" or kind not in OF_ONNX],
)
def test_every_broken_file_is_one_sentence(
    luna_runs: list[Run], tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, kind: str
) -> None:
    whole = exported_file(luna_runs[1], name, "fp32")
    path = tmp_path / f"broken{whole.suffix}"
    path.write_bytes(BROKEN[kind](whole.read_bytes()))
    with pytest.raises(EngineError, match=rf"engine '{name}' cannot .*broken.*: export it again") as caught:
        open_engine(name, path)(_crops(1))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_a_batch_that_does_not_fit_is_one_sentence(luna_runs: list[Run], name: str) -> None:
    engine = open_engine(name, exported_file(luna_runs[1], name, "fp32"))
    for batch in (np.zeros((1, 3, 32, 48, 48), np.float32), np.zeros((1, 32, 48), np.float32), _crops(1)[..., :20]):
        with pytest.raises(EngineError, match=rf"engine '{name}' cannot answer a batch of shape \(1, ") as caught:
            engine(batch)
        assert "\n" not in str(caught.value)
    assert engine(_crops(2)).shape == (2, 2), "it goes on answering"
    engine.close()


def test_an_onnx_file_with_other_names_is_refused(luna_runs: list[Run], tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(_other_names(exported_file(luna_runs[1], "onnxruntime", "fp32").read_bytes()))
    with pytest.raises(EngineError, match="cannot answer"):
        open_engine("onnxruntime", path)(_crops(1))
