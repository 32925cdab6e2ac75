"""What a request of LUNA may hold: refused in the same words here and on a server, before anything is computed."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medseg.errors import InputError, RunError
from medseg.task import Array, Geometry, Infer, Tensors
from medseg.tasks import task_named
from medseg.tasks.luna import TASK
from medseg.tasks.luna.pipeline import geometry_tensor
from tests.data.oriented import orders
from tests.own import OWN
from tests.shared import SHARED, needs_shared


def _ct(*shape: int) -> Array:
    return np.random.default_rng(0).integers(-1000, 200, shape or (9, 16, 20)).astype(np.int16)


def _geometry(spacing: object = (0.7, 0.8, 2.5), origin: object = (0, 0, 0), direction: Array | None = None) -> Tensors:
    turned = np.eye(3) if direction is None else direction
    return {"geometry": np.concatenate([np.ravel(part).astype(np.float64) for part in (spacing, origin, turned)])}


def _threshold(value: float) -> Tensors:
    return {"threshold": np.array([value], np.float32)}


def _sheared(by: float, axis: tuple[int, int] = (0, 1)) -> Array:
    found = np.eye(3)
    found[axis] = by
    return found


TURNED = Rotation.from_euler("xyz", [30, -20, 10], degrees=True).as_matrix()
ROTATION = "expected a rotation or a reflection"
REFUSED: dict[str, tuple[Tensors, str]] = {
    "threshold nan": (_threshold(np.nan), "'threshold' is nan; expected 0 to 1"),
    "threshold 2": (_threshold(2), "'threshold' is 2.0; expected 0 to 1"),
    "threshold below 0": (_threshold(-0.01), "expected 0 to 1"),
    "threshold infinite": (_threshold(np.inf), "expected 0 to 1"),
    "roi 2": ({"roi": np.array([2], np.uint8)}, "'roi' is 2; expected 0 to 1"),
    "direction of zeros": (_geometry(direction=np.zeros((3, 3))), ROTATION),
    "direction of ones": (_geometry(direction=np.ones((3, 3))), ROTATION),
    "direction doubled": (_geometry(direction=2 * np.eye(3)), ROTATION),
    "direction with the spacing in it": (_geometry(direction=np.diag([0.7, 0.8, 2.5])), ROTATION),
    "direction 1 % too long": (_geometry(direction=TURNED * 1.01), ROTATION),
    "one axis too long": (_geometry(direction=np.diag([1, 1.01, 1])), ROTATION),
    "sheared": (_geometry(direction=_sheared(0.2)), ROTATION),
    "sheared a little, as a gantry": (_geometry(direction=_sheared(0.02, (1, 2))), ROTATION),
    "two axes alike": (_geometry(direction=np.eye(3)[[0, 0, 2]]), ROTATION),
    "direction nan": (_geometry(direction=np.full((3, 3), np.nan)), "NaN or infinite"),
    "spacing nan": (_geometry(spacing=(0.7, np.nan, 1)), "NaN or infinite"),
    "spacing 0": (_geometry(spacing=(0.7, 0.7, 0)), "spacing"),
    "spacing below 0": (_geometry(spacing=(0.7, -0.7, 1)), "spacing"),
    "spacing in metres": (_geometry(spacing=(0.0007, 0.0007, 0.0025)), "0.01 to 100"),
    "spacing in micrometres": (_geometry(spacing=(700, 700, 2500)), "0.01 to 100"),
    "origin infinite": (_geometry(origin=(0, np.inf, 0)), "NaN or infinite"),
    "origin beyond the room": (_geometry(origin=(0, 1e9, 0)), "origin"),
    "no slices": ({"ct": _ct(0, 16, 20)}, r"shape \(0, 16, 20\); expected \(4 to 4096"),
    "no columns": ({"ct": _ct(9, 16, 0)}, "expected"),
    "one slice": ({"ct": _ct(1, 64, 64)}, "expected"),
    "three columns": ({"ct": _ct(9, 16, 3)}, "expected"),
    "too many slices": ({"ct": np.zeros((4097, 4, 4), np.int16)}, "expected"),
    "8-bit": ({"ct": np.clip(_ct(), 0, 255).astype(np.int16)}, "not a CT in HU"),
    "0 to 1": ({"ct": (_ct() > 0).astype(np.int16)}, "not a CT in HU"),
    "offset by 1024": ({"ct": _ct() + np.int16(1024)}, "not a CT in HU"),
}
ACCEPTED: dict[str, Tensors] = {
    "oblique": _geometry(direction=TURNED),
    "left-handed": _geometry(direction=np.diag([1, 1, -1])),
    "cosines of five digits": _geometry(direction=TURNED.round(5)),
    "threshold 0": _threshold(0),
    "threshold 1": _threshold(1),
    "smallest": {"ct": _ct(4, 4, 4)},
}


def _request() -> Tensors:
    return {"ct": _ct(), "geometry": geometry_tensor(Geometry((0.7, 0.8, 2.5)))}


def _unused(name: str) -> Infer:
    raise AssertionError(f"{name} was asked")


def _refusal(tensors: Tensors) -> str:
    with pytest.raises(InputError) as caught:
        TASK.pipeline(tensors, _unused)
    return str(caught.value)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused_before_anything_is_computed(name: str) -> None:
    change, words = REFUSED[name]
    with pytest.raises(InputError, match=words) as caught:
        TASK.pipeline(_request() | change, _unused)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ct", "geometry"])
def test_what_is_required_is_named(name: str) -> None:
    request = _request()
    del request[name]
    assert _refusal(request) == f"tensor '{name}' is required; expected it in every request: send it too"


def test_a_tensor_of_another_name_or_type_is_refused() -> None:
    assert "'treshold' is unknown; expected ct, geometry, roi, threshold" in _refusal(
        _request() | {"treshold": np.zeros(1, np.float32)}
    )
    assert _refusal(_request() | {"ct": _ct().astype(np.float32)}) == "tensor 'ct' is float32; expected int16"


def _nothing(name: str) -> Infer:
    if name == "luna-malignancy":
        raise RunError(name)
    return lambda batch: np.full((len(batch), 1, *batch.shape[2:]), -1, np.float32)


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_can_be_meant_is_answered(name: str) -> None:
    assert len(TASK.pipeline(_request() | ACCEPTED[name], _nothing)["nodules"]) == 0


def test_every_order_of_axes_is_a_geometry() -> None:
    for _, axes, steps in orders():
        direction = np.eye(3)[list(axes)] * np.array(steps)[:, None]
        TASK.pipeline(_request() | _geometry(direction=direction), _nothing)


@pytest.mark.parametrize("task", OWN)
def test_no_tensor_is_required_that_is_an_option(task: str) -> None:
    """`roi`, `threshold` and `wanted` may be left out; everything else of a request has to be there."""
    pipeline = task_named(task).pipeline
    required = {name for name in pipeline.inputs if not pipeline.tensor(name).optional}
    assert required == ({"ct", "geometry"} if task == "luna" else {"encoded"})
    for name in required:
        with pytest.raises(InputError, match=f"'{name}' is required"):
            pipeline({}, _unused) if len(required) == 1 else pipeline(
                {other: value for other, value in _request().items() if other != name}, _unused
            )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """LUNA's ensemble without its networks: what is refused never asks them."""
    pytest.importorskip("pytriton")
    pytest.importorskip("tritonclient.grpc")
    from medseg.engines.triton import served_pipeline
    from medseg.triton_models.repository import write
    from medseg.triton_models.server import serving

    folder = tmp_path_factory.mktemp("served")
    names = write(folder / "models", TASK, [])
    with serving(folder / "models", names, folder / "triton.log") as server:
        model = served_pipeline(f"grpc://127.0.0.1:{server.ports.grpc}", TASK)
        yield model
        model.close()


def _answer_of(model: object, tensors: Tensors) -> str:
    with pytest.raises(InputError) as caught:
        model.ask(tensors, ("nodules",))  # type: ignore[attr-defined]
    return str(caught.value)


def test_the_server_refuses_in_the_same_words(served: object) -> None:
    for name, (change, _) in REFUSED.items():
        assert _answer_of(served, _request() | change) == _refusal(_request() | change), name
    for name in ("ct", "geometry"):
        for more in ({}, _threshold(0.5)):
            lacking = {other: value for other, value in _request().items() if other != name} | more
            assert _answer_of(served, lacking) == _refusal(lacking)


KINDS = {"INT16": np.int16, "FP64": np.float64, "FP32": np.float32, "UINT8": np.uint8}
CASES = {
    "34-direction-zero": ROTATION,
    "34-geometry-missing": "tensor 'geometry' is required",
    "34-threshold-nan": "tensor 'threshold' is nan; expected 0 to 1",
}


@needs_shared
def test_the_requests_that_were_answered_are_refused(served: object) -> None:
    for name, words in CASES.items():
        assert words in _answer_of(served, _sent(SHARED / "cases" / name / "body.json"))


def _sent(path: Path) -> Tensors:
    entries = json.loads(path.read_text())["inputs"]
    return {one["name"]: np.array(one["data"], KINDS[one["datatype"]]).reshape(one["shape"]) for one in entries}
