"""Every step's model on the real server, asked alone: STAS's vote on real masks, and what nobody of good will asks."""

from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

import cv2
import numpy as np
import pytest

from tests.patience import PATIENCE_S

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
from grpc import RpcError
from tritonclient import grpc
from tritonclient.grpc import service_pb2

from benchmarks.damaged_requests import whole
from medseg.data.encoded import encoded_tensor, pack
from medseg.engines.triton import TritonModel
from medseg.errors import InputError, ServerError
from medseg.task import Geometry
from medseg.tasks import task_named
from medseg.tasks.luna.pipeline import geometry_tensor
from medseg.triton_models.repository import swapped, write
from medseg.triton_models.server import Server, serving
from medseg.triton_models.stubs import processes
from medseg.triton_models.watch import watch
from tests.dali_pipelines.damage import grey16, strange
from tests.shared import SHARED, needs_shared

MODELS = (
    "stas-vote-step",
    "stas-masks-step",
    "gi-tract-answer-step",
    "gi-tract-check-step",
    "gi-tract-decode-step",
    "brain-lgg-answer-step",
    "brain-lgg-decode-step",
    "luna-split-step",
    "luna-judge-step",
)
VOTING = SHARED / "data/stas/voting"
HUGE = 2**33


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("steps")
    for name in ("stas", "gi-tract", "brain-lgg", "luna"):
        write(folder / "models", task_named(name), [], swapped(task_named(name), "dali"))
    with serving(folder / "models", MODELS, folder / "triton.log") as running:
        Thread(target=_watched, args=(running,), daemon=True).start()
        yield running


def _watched(server: Server) -> None:
    with suppress(ServerError):  # raised when the fixture stops the server
        watch(server, lambda _: None)


def _model(server: Server, name: str) -> TritonModel:
    texts = frozenset({"encoded", "rle", "mask_png", "wanted"})
    return TritonModel(f"grpc://127.0.0.1:{server.ports.grpc}", name, texts, timeout_s=PATIENCE_S)


@needs_shared
def test_the_vote_step_gives_the_real_voted_masks_bit_for_bit(server: Server) -> None:
    model = _model(server, "stas-vote-step")
    folders = [VOTING / name for name in ("efficientnetv2_m", "eca_nfnet_l2", "efficientnet_b6")]
    finals = sorted((VOTING / "final").glob("*.png"))
    assert len(finals) == 100
    wanted = encoded_tensor([b"mask", b"agreement"])
    for final in finals:
        masks = np.stack([cv2.imread(str(folder / final.name), cv2.IMREAD_GRAYSCALE) for folder in folders])
        found = model.ask({"masks": masks, "wanted": wanted}, ("mask", "agreement"))
        assert np.array_equal(found["mask"], cv2.imread(str(final))[..., 0])
        assert np.array_equal(found["agreement"], (masks > 0).sum(axis=0))
    model.close()


FRAME = [2, 64, 64, 0, 0, 0, 2, 64, 64, 0, 0, 0, 64]  # two whole slices of 64 x 64


def _frame(**changed: int) -> np.ndarray:
    frame = np.array([FRAME], np.int32)[0]
    for place, value in changed.items():
        frame[int(place[1:])] = value
    return frame


def _brain(frame: np.ndarray, slices: int = 2) -> dict[str, np.ndarray]:
    return {"logits": np.full((slices, 1, 256, 256), 5, np.float32), "frame": frame}


def _gi(size: list[int]) -> dict[str, np.ndarray]:
    return {"logits": np.full((1, 3, 224, 224), 5, np.float32), "size": np.array([size], np.int32)}


def _huge_picture() -> bytes:
    return dict(strange())["huge header"]


def _bits(*shape: int) -> dict[str, np.ndarray]:
    geometry = geometry_tensor(Geometry((1.0, 1.0, 1.0)))
    return {"ct": np.zeros(shape, np.int16), "geometry": geometry, "centres": np.full((1, 3), 1e18)}


ABSURD = {
    "negative size": ("gi-tract-answer-step", _gi([-5, 7])),
    "size of 2 G": ("gi-tract-answer-step", _gi([2**31 - 1, 2**31 - 1])),
    "size beyond the bound": ("gi-tract-answer-step", _gi([8193, 20])),
    "sides whose product is absurd": ("gi-tract-answer-step", _gi([8192, 8192])),
    "an output that nobody offers": (
        "gi-tract-check-step",
        {"encoded": encoded_tensor([b"no picture"]), "wanted": encoded_tensor([b"mask", b"nodules"])},
    ),
    "volume of 2 G": ("brain-lgg-answer-step", _brain(_frame(_0=2**31 - 1))),
    "volume of the largest sides": ("brain-lgg-answer-step", _brain(_frame(_0=8192, _1=8192, _2=8192))),
    "square of the largest side": ("brain-lgg-answer-step", _brain(_frame(_0=5, _6=5, _12=8192), 5)),
    "brain outside": ("brain-lgg-answer-step", _brain(_frame(_7=65))),
    "brain of another length": ("brain-lgg-answer-step", _brain(_frame(), slices=3)),
    "negative padding": ("brain-lgg-answer-step", _brain(_frame(_10=-1))),
    "huge picture": ("brain-lgg-decode-step", {"packed": pack([_huge_picture()])}),
    "another kind": ("gi-tract-decode-step", {"packed": pack([_huge_picture()])}),
    "masks without a pixel": ("stas-vote-step", {"masks": np.zeros((3, 0, 5), np.uint8)}),
    "noise": ("gi-tract-decode-step", {"packed": np.arange(90, dtype=np.uint8)[None]}),
    "more rows than a volume has": ("brain-lgg-decode-step", {"packed": np.zeros((1025, 4), np.uint8)}),
    "a place outside": ("luna-judge-step", _bits(4, 4, 4)),
}


@pytest.mark.parametrize("case", ABSURD)
def test_absurd_values_are_refused_in_one_sentence(server: Server, case: str) -> None:
    name, tensors = ABSURD[case]
    before = processes(server)
    model = _model(server, name)
    (output,) = {"gi": ("mask",), "br": ("mask",), "st": ("mask",), "lu": ("nodule_probability",)}[name[:2]]
    output = ("input" if name[0] == "g" else "volume") if "decode" in name else output
    output = "size" if "check" in name else output
    with pytest.raises(InputError, match="expected") as caught:
        model.ask(tensors, (output,))
    assert "\n" not in str(caught.value)
    assert processes(server) == before
    model.close()


SHAPES = {
    "stas-vote-step": ("masks", "UINT8", [[3, -1, 5], [3, HUGE, 0], [-3, 5, 5], [3, HUGE, 5]]),
    "gi-tract-decode-step": ("packed", "UINT8", [[1, HUGE], [1, -1], [1, 2**62]]),
    "brain-lgg-decode-step": ("packed", "UINT8", [[HUGE, 4], [HUGE, 0], [-1, -1]]),
    "luna-split-step": ("ct", "INT16", [[HUGE, 4, 0], [2**20, 2**20, 2], [-1, 2, -1]]),
}
MASKS = np.array([[[0, 0, 1]], [[0, 1, 1]], [[0, 1, 1]]], np.uint8)
# Shapes whose product is 0 in 64 bits; and what the same step answers rightly.
OVERFLOWING = {
    "stas-vote-step": ([3, HUGE, 2**31], {"masks": MASKS}, "mask", (1, 3)),
    "brain-lgg-decode-step": ([HUGE, HUGE], {"packed": pack([whole("brain-lgg")])}, "volume", (1, 156, 212, 3)),
}


def _sent(server: Server, name: str, shape: list[int], content: bytes) -> str:
    """The gRPC code of a request whose shape is written by hand, for the client library looks at shapes itself."""
    wire, kind, _ = SHAPES[name]
    request = service_pb2.ModelInferRequest(model_name=name, raw_input_contents=[content])
    request.inputs.add(name=wire, datatype=kind, shape=shape)
    if name == "luna-split-step":
        request.inputs.add(name="geometry", datatype="FP64", shape=[15])
        request.inputs.add(name="candidate_mask", datatype="UINT8", shape=[1])
        request.raw_input_contents.extend([np.ones(15).tobytes(), b"\0"])
    client = grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")
    with pytest.raises(RpcError) as caught:
        client._client_stub.ModelInfer(request, timeout=PATIENCE_S)
    client.close()
    return str(caught.value.code().name)


@pytest.mark.parametrize("name", SHAPES)
def test_absurd_shapes_are_refused(server: Server, name: str) -> None:
    before = processes(server)
    codes = [_sent(server, name, shape, content) for shape in SHAPES[name][2] for content in (b"", bytes(64))]
    assert set(codes) == {"INVALID_ARGUMENT"}
    assert processes(server) == before


@pytest.mark.parametrize("name", OVERFLOWING)
def test_a_shape_that_overflows_does_not_reach_its_step(server: Server, name: str) -> None:
    """Triton multiplies sizes in 64 bits and lets a product of 0 pass, where its stub would end: the front does not."""
    before = processes(server)
    shape, tensors, output, answer = OVERFLOWING[name]
    assert _sent(server, name, shape, b"") == "INVALID_ARGUMENT"
    model = _model(server, name)
    assert model.ask(tensors, (output,))[output].shape == answer
    assert processes(server) == before
    assert server.process.poll() is None
    model.close()


def test_after_all_that_the_steps_answer_rightly(server: Server) -> None:
    gi, brain = _model(server, "gi-tract-answer-step"), _model(server, "brain-lgg-answer-step")
    decode = _model(server, "gi-tract-decode-step")
    assert gi.ask(_gi([20, 30]), ("mask",))["mask"].shape == (3, 20, 30)
    assert brain.ask(_brain(_frame()), ("mask",))["mask"].all()
    assert decode.ask({"packed": pack([grey16(20, 30)])}, ("input",))["input"].max() == 1
    vote = _model(server, "stas-vote-step")
    assert vote.ask({"masks": MASKS}, ("mask",))["mask"].tolist() == [[0, 1, 1]]
    for model in (gi, brain, decode, vote):
        model.close()
