"""A request that its client cancels: the server stops at the next slice, and is there for the next request."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.patience import PATIENCE_S

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
pytest.importorskip("openvino")
from tritonclient import grpc, http

from medseg.engines.triton import TritonModel
from medseg.errors import InputError
from medseg.task import Geometry
from medseg.tasks.luna import TASK
from medseg.tasks.luna.pipeline import geometry_tensor
from medseg.triton_models.memory import region_prefix
from medseg.triton_models.repository import served, write
from medseg.triton_models.server import Server, serving
from tests.bench.runs import bright_run

NETWORK = "luna-segment-network"
SLICES = 800  # in a body that the front keeps, of less than 8 MiB for HTTP
KINDS = {"ct": "INT16", "geometry": "FP64"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("cancelled")
    networks = [TASK.network(name) for name in ("luna-segment", "luna-nodule")]
    runs = [bright_run(folder / one.name, one, slow=slow) for one, slow in zip(networks, (24, 0), strict=True)]
    task = TASK.answered_by([run.network for run in runs])
    names = write(folder / "models", task, served(task, runs, "openvino", "fp32"))
    with serving(folder / "models", names, folder / "log") as running:
        yield running


def _counted(server: Server, name: str) -> int:
    """What this model answered so far: slices, or CTs."""
    model = TritonModel(server.url, "luna")
    stats = {entry["name"]: entry for entry in model.statistics()["model_stats"]}
    model.close()
    return int(stats[name]["inference_count"])


def _await(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE_S
    while not (done := true()) and time.monotonic() < until:
        time.sleep(0.05)
    return done


def _inputs(library: ModuleType, ct: np.ndarray) -> list[Any]:
    tensors = {"ct": ct, "geometry": geometry_tensor(Geometry((1.0, 1.0, 1.0)))}
    made = [library.InferInput(name, list(array.shape), KINDS[name]) for name, array in tensors.items()]
    for one, array in zip(made, tensors.values(), strict=True):
        one.set_data_from_numpy(array)
    return made


def _cancel_over_grpc(server: Server, ct: np.ndarray, at: Callable[[], bool]) -> None:
    options = [("grpc.max_send_message_length", -1)]
    client, ended = grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}", channel_args=options), []
    call = client.async_infer("luna", _inputs(grpc, ct), lambda **end: ended.append(end["error"]))
    assert _await(at)
    call.cancel()
    assert _await(lambda: bool(ended)) and "CANCEL" in str(ended[0]).upper()


def _go_away_over_http(server: Server, ct: np.ndarray, at: Callable[[], bool]) -> None:
    body, length = http.InferenceServerClient.generate_request_body(_inputs(http, ct))
    head = f"POST /v2/models/luna/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", server.ports.http)) as one:
        one.sendall(f"{head}Inference-Header-Content-Length: {length}\r\n\r\n".encode() + body)
        assert _await(at)


@pytest.mark.parametrize("leave", [_cancel_over_grpc, _go_away_over_http])
def test_a_ct_that_nobody_waits_for_is_not_computed_to_its_end(server: Server, leave: Callable) -> None:
    noise = np.random.default_rng(0).integers(-1000, 1000, (SLICES, 70, 70)).astype(np.int16)
    before, answered = _counted(server, NETWORK), _counted(server, "luna")
    leave(server, noise, lambda: _counted(server, NETWORK) > before)
    seen = [0, _counted(server, NETWORK)]
    while seen[-1] != seen[-2]:  # until the slices in flight are done
        time.sleep(1)
        seen.append(_counted(server, NETWORK))
    assert seen[-1] - before < SLICES and _counted(server, "luna") == answered
    model = TritonModel(f"grpc://127.0.0.1:{server.ports.grpc}", "luna")
    small = {"ct": noise[:9, :64, :64], "geometry": geometry_tensor(Geometry((1.0, 1.0, 1.0)))}
    assert model.ask(small, ("nodules",))["nodules"].ndim == 2
    model.close()


def _shared_mb() -> float:
    """Megabytes of the memory for tensors, which only grows."""
    return sum(path.stat().st_size for path in Path("/dev/shm").glob(region_prefix(os.getpid()) + "*")) / 2**20


def test_a_refused_request_holds_no_memory(server: Server) -> None:
    """Each of 100 refused requests has 2 MB."""
    asked = TritonModel(f"grpc://127.0.0.1:{server.ports.grpc}", "luna")
    ct, geometry = np.zeros((100, 100, 100), np.int16), geometry_tensor(Geometry((1.0, 1.0, 1.0)))
    wrong, sizes = {"ct": ct, "geometry": geometry, "threshold": np.full(1, 2, np.float32)}, []
    for times in (3, 100):
        for _ in range(times):
            with pytest.raises(InputError, match="threshold"):
                asked.ask(wrong, ("nodules",))
        sizes.append(_shared_mb())
    asked.close()
    assert sizes[1] - sizes[0] < 20
