"""The cost of the front: the same request to Triton's own socket and through the front, in turn, by HTTP and gRPC.

    python -m benchmarks.front --times 200

4 KB is a small picture for gi-tract's first step. 3 MB is a batch for a network of a few nodes, whose answer is as
large. Prints the medians in ms, the difference with its quartiles, the front's CPU time per request, and the load.
"""

from __future__ import annotations

import argparse
import http.client
import io
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import numpy as np
import psutil
from PIL import Image
from tritonclient import http as triton_http
from tritonclient.grpc.service_pb2 import ModelInferRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from medseg.data.byte_strings import framed
from medseg.data.encoded import encoded_tensor
from medseg.tasks import task_named
from medseg.triton_models.front.doors import grpc_socket, http_socket
from medseg.triton_models.repository import served, write
from medseg.triton_models.server import Server, serving
from tests.bench.runs import bright_run

TASK = task_named("gi-tract")
NO_LIMIT = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
Ask = Callable[[], None]


def requests() -> dict[str, tuple[str, str, np.ndarray, str]]:
    """For each size: the model, its input's name and value, and its output's name."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 2**16, (44, 44), np.uint16)).save(file, "PNG")
    batch = np.zeros((5, 3, 224, 224), np.float32)
    return {
        "4 KB": ("gi-tract-check-step", "encoded", framed(encoded_tensor([file.getvalue()])), "size"),
        "3 MB": ("gi-tract-network", "input", batch, "output"),
    }


@contextmanager
def over_http(server: Server, model: str, name: str, value: np.ndarray, output: str) -> Iterator[tuple[Ask, Ask]]:
    """Two functions that send the request by HTTP: to Triton's own socket, and to the front."""
    one = triton_http.InferInput(name, list(value.shape), "UINT8" if value.dtype == np.uint8 else "FP32")
    one.set_data_from_numpy(value)
    body, described = triton_http.InferenceServerClient.generate_request_body(
        [one], outputs=[triton_http.InferRequestedOutput(output)]
    )
    straight, through = http.client.HTTPConnection("triton"), http.client.HTTPConnection("127.0.0.1", server.ports.http)
    straight.sock = socket.socket(socket.AF_UNIX)
    straight.sock.connect(http_socket(server.sockets))

    def ask(connection: http.client.HTTPConnection) -> None:
        headers = {"Inference-Header-Content-Length": str(described)}
        connection.request("POST", f"/v2/models/{model}/infer", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status == 200, said

    yield lambda: ask(straight), lambda: ask(through)
    straight.close()
    through.close()


@contextmanager
def over_grpc(server: Server, model: str, name: str, value: np.ndarray, output: str) -> Iterator[tuple[Ask, Ask]]:
    """The same by gRPC."""
    asked = ModelInferRequest(model_name=model, raw_input_contents=[value.tobytes()])
    kind = "UINT8" if value.dtype == np.uint8 else "FP32"
    asked.inputs.add(name=name, datatype=kind, shape=value.shape)
    asked.outputs.add(name=output)
    addresses = (f"unix:{grpc_socket(server.sockets)}", f"127.0.0.1:{server.ports.grpc}")
    channels = [grpc.insecure_channel(address, NO_LIMIT) for address in addresses]
    stubs = [GRPCInferenceServiceStub(channel) for channel in channels]
    yield lambda: stubs[0].ModelInfer(asked), lambda: stubs[1].ModelInfer(asked)
    for channel in channels:
        channel.close()


def timed(ask: Ask) -> float:
    """The milliseconds of one call."""
    started = time.perf_counter()
    ask()
    return (time.perf_counter() - started) * 1e3


def line(what: str, pairs: list[tuple[float, float]], computed: float) -> str:
    """A row of the table: medians of both ways, the difference with its quartiles, and the front's CPU time."""
    straight, through = (statistics.median(times) for times in zip(*pairs, strict=True))
    low, middle, high = statistics.quantiles([b - a for a, b in pairs])
    return f"| {what} | {straight:.2f} | {through:.2f} | {middle:.2f} ({low:.2f} to {high:.2f}) | {computed:.2f} |"


def main() -> None:
    """Serve, send requests in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200)
    times = parser.parse_args().times
    print(
        "| request | straight ms | through the front ms | difference (quartiles) | front's CPU ms |\n"
        "| --- | ---: | ---: | ---: | ---: |"
    )
    with TemporaryDirectory() as name:
        folder = Path(name)
        run = bright_run(folder / "run", TASK.networks[0])
        models = write(folder / "models", TASK, served(TASK, [run], "openvino", "fp32", instances=1))
        with serving(folder / "models", models, folder / "log") as server:
            front = psutil.Process(server.front.pid)
            for protocol, way in (("HTTP", over_http), ("gRPC", over_grpc)):
                for size, request in requests().items():
                    with way(server, *request) as (straight, through):
                        [(straight(), through()) for _ in range(10)]
                        before = sum(front.cpu_times()[:2])
                        pairs = [(timed(straight), timed(through)) for _ in range(times)]
                        computed = (sum(front.cpu_times()[:2]) - before) / times * 1e3
                    print(line(f"{protocol}, {size}", pairs, computed), flush=True)
    print(f"load {os.getloadavg()[0]:.1f}, {times} times each")


if __name__ == "__main__":
    main()
