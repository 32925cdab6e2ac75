"""What is done on a GPU, without one: against stand-ins that do with memory what NVIDIA's libraries do."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import cuda.bindings
import numpy as np
import pytest

from benchmarks.gpu.setting import missing
from medseg.engines import ENGINES, gpu, onnxruntime, open_engine
from medseg.engines import tensorrt as engines
from medseg.engines.lanes import Lane, Lanes
from medseg.engines.runs import exported_file
from medseg.errors import EngineError
from medseg.run import Run
from tests.engines.cuda import Context, Runtime, driver
from tests.patience import PATIENCE_S


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    return _runtime(monkeypatch, Runtime())


def _runtime(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> Runtime:
    monkeypatch.setattr(cuda.bindings, "runtime", runtime, raising=False)
    return runtime


def _batch(count: int) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, 2, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("visible", "name", "first"),
    [(("0",), "sm89", "00010203"), (("1",), "sm90", "10111213"), (("1", "0"), "sm90", "10111213"), ((), "", "")],
)
def test_the_driver_is_asked_for_the_first_visible_gpu(
    monkeypatch: pytest.MonkeyPatch, visible: tuple[str, ...], name: str, first: str
) -> None:
    monkeypatch.setattr(gpu, "_library", lambda: driver(visible))
    assert (gpu.gpu_name(), gpu.gpu_uuid()[:8], gpu.cuda_version()) == (name, first, "13.0")
    monkeypatch.setattr(gpu, "_library", lambda: None)
    assert (gpu.gpu_name(), gpu.gpu_uuid(), gpu.cuda_version()) == ("", "", "")


@pytest.mark.parametrize("graphs", [True, False])
def test_a_lane_answers_in_one_piece_of_memory_and_gives_it_back(runtime: Runtime, graphs: bool) -> None:
    lane = Lane(Context(runtime), graphs)
    answers = [(count, lane(_batch(count))) for count in (2, 2, 2, 3, 3, 3, 1, 1, 1, 2, 2, 2)]
    for count, answer in answers:  # an answer outlives the calls after it
        assert np.array_equal(answer, 2 * _batch(count))
    called = Counter(runtime.calls)
    assert called["cudaMalloc"] == called["cudaMallocHost"] == 2  # for 2, then for 3: less fits into what is held
    assert called["cudaStreamCreate"] == 1
    # of each shape the first call is computed, the second recorded, and from then on there is one launch a call
    assert called["cudaGraphLaunch"] == (8 if graphs else 0)
    lane.close()
    assert not runtime.memory and not runtime.streams and not runtime.graphs


def test_what_cannot_be_recorded_is_computed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = _runtime(monkeypatch, Runtime(capturable=False))
    lane = Lane(Context(runtime), graphs=True)
    for _ in range(4):
        assert np.array_equal(lane(_batch(2)), 2 * _batch(2))
    assert runtime.calls.count("cudaStreamBeginCapture") == 1
    lane.close()


@pytest.mark.parametrize("refuses", ["shape", "input", "output", "execute"])
def test_what_tensorrt_does_not_accept_is_one_sentence_and_the_lane_goes_on(runtime: Runtime, refuses: str) -> None:
    context = Context(runtime, refuses=refuses)
    lane = Lane(context, graphs=True)
    with pytest.raises(EngineError, match=r"the engine takes no .*build it again"):
        lane(_batch(2))
    context.refuses = ""
    assert np.array_equal(lane(_batch(2)), 2 * _batch(2))
    lane.close()
    assert not runtime.memory


def test_further_contexts_are_told_their_profile(runtime: Runtime) -> None:
    second = Context(runtime, profile=-1)
    Lane(second, graphs=False).close()
    assert second.active_optimization_profile == 0
    with pytest.raises(EngineError, match="no second context"):
        Lane(Context(runtime, profile=-1, refuses="profile"), graphs=False)
    with pytest.raises(EngineError, match="cannot create a context; expected enough room on the GPU"):
        Lane(None, graphs=False)


def test_calls_of_several_threads_have_a_lane_each(runtime: Runtime) -> None:
    together = Barrier(3, timeout=PATIENCE_S)
    lanes = Lanes(lambda: Lane(Context(runtime), graphs=True), most=3)

    def ask(count: int) -> np.ndarray:
        with lanes.one() as lane:
            together.wait()  # all three hold one now
            return lane(_batch(count))

    with ThreadPoolExecutor(3) as pool:
        for count, answer in zip((1, 2, 3) * 4, pool.map(ask, (1, 2, 3) * 4), strict=True):
            assert np.array_equal(answer, 2 * _batch(count))
    assert runtime.calls.count("cudaStreamCreate") == 3
    lanes.close()
    assert not runtime.memory and not runtime.streams


def test_a_gpu_without_room_for_a_second_lane_makes_calls_wait(runtime: Runtime) -> None:
    contexts = iter([Context(runtime), None])
    lanes = Lanes(lambda: Lane(next(contexts), graphs=False), most=4)

    def ask(count: int) -> np.ndarray:
        with lanes.one() as lane:
            return lane(_batch(count))

    with ThreadPoolExecutor(4) as pool:
        for count, answer in zip(range(1, 20), pool.map(ask, range(1, 20)), strict=True):
            assert np.array_equal(answer, 2 * _batch(count))
    lanes.close()


@pytest.mark.parametrize("name", [name for name, kind in ENGINES.items() if kind.builds])
def test_an_engine_without_a_driver_that_suits_it_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """The libraries answer with a TypeError about a factory function."""

    class Refusing:
        def __init__(self, log: object) -> None:
            raise TypeError("pybind11::init(): factory function returned nullptr")

    library = SimpleNamespace(__version__="10.13.3", Logger=lambda _: None, Runtime=Refusing)
    library.Logger.ERROR = 1
    monkeypatch.setattr(engines, "library", lambda _: library)
    monkeypatch.setattr(gpu, "_library", lambda: driver(version=11040))
    file = tmp_path / f"fp16{ENGINES[name].suffix}"
    file.write_bytes(b"engine")
    with pytest.raises(EngineError, match=r"does not start with NVIDIA's driver here \(none, for CUDA up to 11\.4\)"):
        open_engine(name, file)


def test_onnx_runtime_made_for_cuda_does_not_fall_back_to_the_cpu_in_silence(
    monkeypatch: pytest.MonkeyPatch, luna_runs: list[Run], capfd: pytest.CaptureFixture[str]
) -> None:
    file = exported_file(luna_runs[1], "onnxruntime", "fp32")
    offered = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime.onnxruntime, "get_available_providers", lambda: offered)
    monkeypatch.setattr(gpu, "_library", lambda: driver(("1",)))
    with pytest.raises(EngineError, match=r"here is a GPU \(sm90\), but CUDA and cuDNN .* were not found"):
        open_engine("onnxruntime", file)
    assert not capfd.readouterr().out
    monkeypatch.setattr(gpu, "_library", lambda: driver(()))  # CUDA_VISIBLE_DEVICES= or a machine without one
    engine = open_engine("onnxruntime", file)
    assert engine(np.zeros((1, 1, 32, 48, 48), np.float32)).shape == (1, 2)
    engine.close()


@pytest.mark.parametrize(
    ("visible", "said"), [(None, "there is no NVIDIA driver here"), ((), "it sees no GPU"), (("1",), "")]
)
def test_make_gpu_says_in_one_sentence_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, visible: tuple[str, ...] | None, said: str
) -> None:
    monkeypatch.setattr(gpu, "_library", lambda: None if visible is None else driver(visible))
    assert said in missing() and bool(missing()) == bool(said) and "\n" not in missing()
