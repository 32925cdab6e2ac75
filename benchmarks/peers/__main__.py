"""The served ensemble compared with what a user might write instead: FastAPI, LitServe or Ray Serve around a network.

The network is eager PyTorch, torch.compile, or the same exported file in OpenVINO or ONNX Runtime. All servers have the
same weights, pre- and post-processing (for LUNA the authors' chain) and cores. They are started, measured and stopped
one after the other. With `--alone` the networks are then measured with no server around them.

    python -m benchmarks.peers gi-tract DATA --run RUN [--peer fastapi,openvino]... [--concurrency 4] [--alone]
    python -m benchmarks.peers luna DATA --run RUN --run RUN --concurrency 1 --requests 1 --seconds 180
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from threading import local
from typing import IO

import numpy as np

from benchmarks.embedded_vs_engine import read_once
from benchmarks.peers.alone import alone
from benchmarks.peers.answers import Peer, peer_named
from benchmarks.ports import free_port
from medseg.bench.benchmark import Settings, benchmark
from medseg.bench.cases import cases_of
from medseg.bench.lineup import Entry, Opening, lineup
from medseg.bench.measure.clock import Clock
from medseg.bench.measure.load import Plan
from medseg.bench.measure.rounds import Loads
from medseg.bench.measure.target import BenchTarget
from medseg.bench.record import Record
from medseg.bench.show.markdown import markdown
from medseg.bench.show.report import bad
from medseg.data.byte_strings import framed
from medseg.run import Run
from medseg.task import Tensors, Unread
from medseg.tasks import task_named

PEERS = ("fastapi,eager", "litserve,eager", "fastapi,openvino", "litserve,openvino", "ray,openvino", "fastapi,compile")


def main() -> None:
    """Measure all servers and print the tables."""
    options = _options()
    task, runs = task_named(options.task), [Run(path) for path in options.run]
    cases = cases_of(task, options.data)[: options.cases]
    entry = Entry(options.engine, options.precision, "served", options.decoder, instances=options.instances)
    ours = lineup(task, runs, [entry], 600)
    peers = [peer_named(name, options.precision) for name in options.peer or PEERS]
    theirs = [Opening(peer.name, {"server": peer.server}, partial(started, peer, options)) for peer in peers]
    masks: dict[str, dict[str, np.ndarray]] = {}
    plan = Plan(
        warmup=2 if options.requests > 1 else 0,
        rounds=2 if options.requests > 1 else 1,
        requests=options.requests,
        window_s=options.seconds / 3,
        limit_s=options.seconds,
        timeout_s=600,
    )
    settings = Settings(plan, Loads(sorted({1, options.concurrency})), lambda line: print(line, file=sys.stderr))
    record = benchmark(task, [keeping(opening, masks) for opening in (*ours, *theirs)], cases, settings)
    print(markdown(record))
    if bad(record):
        raise SystemExit("not every request was answered: the table says by whom")
    print(verdict(record, masks))
    if options.alone:
        read = [read_once(case) for case in cases]
        print(alone(task.answered_by([run.network for run in runs]), read, runs, options.precision, options.seconds))


def keeping(opening: Opening, masks: dict[str, dict[str, np.ndarray]]) -> Opening:
    """The opening; its target's latest mask of each case is kept in `masks`."""
    kept = masks.setdefault(opening.name, {})

    @contextmanager
    def opened() -> Iterator[BenchTarget]:
        with opening.open() as target:

            def answer(case: Unread, clock: Clock) -> Tensors:
                found = target.answer(case, clock)
                kept[case.id] = found["mask"]
                return found

            yield replace(target, answer=answer)

    return replace(opening, open=opened)


def verdict(record: Record, masks: dict[str, dict[str, np.ndarray]]) -> str:
    """A line a peer: our best throughput relative to its own, and how equal the masks are."""
    ours, *theirs = [target["name"] for target in record["targets"]]
    rates = {target["name"]: max(level["per_s"] for level in target["levels"]) for target in record["targets"]}
    packed = record["task"] == "luna"
    return "\n".join(
        f"Throughput of {ours}: {rates[ours] / rates[name]:.2f} times that of {name}; "
        f"{_equality(masks[ours], masks[name], packed)}."
        for name in theirs
    )


def _equality(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], packed: bool) -> str:
    """How equal the masks of the same cases are; `packed` masks are bits."""
    pairs = [(ours[case].ravel(), mask.ravel()) for case, mask in theirs.items()]
    if packed:
        pairs = [(np.unpackbits(mine), np.unpackbits(other)) for mine, other in pairs]
    flipped = sum(int((mine != other).sum()) for mine, other in pairs)
    equal = sum(np.array_equal(mine, other) for mine, other in pairs)
    dice = 1 - flipped / max(1, sum(int((mine > 0).sum() + (other > 0).sum()) for mine, other in pairs))
    return (
        f"masks identical in {equal} of {len(pairs)} cases, Dice {dice:.5f}, {flipped} of "
        f"{sum(mine.size for mine, _ in pairs)} voxels differ"
    )


@contextmanager
def started(peer: Peer, options: argparse.Namespace) -> Iterator[BenchTarget]:
    """A server of `servers.py` in a process of its own, ready."""
    port = free_port()
    server = [sys.executable, "-m", "benchmarks.peers.servers", peer.server, peer.inference, peer.precision]
    command = [*server, options.task, str(port), *map(str, options.run)]
    with TemporaryFile() as said, _process(command, said) as process:
        _await(port, process, said)
        yield BenchTarget(peer.name, _asking(peer.server, port), {"server": peer.server}, pids=[process.pid])


@contextmanager
def _process(command: list[str], said: IO[bytes]) -> Iterator[subprocess.Popen]:
    """The command's process, which writes its errors to `said`; it is ended at the end, with all that it started."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()  # Ray Serve then ends its cluster
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # otherwise LitServe's workers would survive


def _asking(name: str, port: int) -> Callable[[Unread, Clock], Tensors]:
    own = local()

    def answer(case: Unread, clock: Clock) -> Tensors:
        with clock("read"):
            pictures = pictures_of(case.ask())
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        with clock("server"):
            return {"mask": _ask(name, own.connection, pictures)}

    return answer


def pictures_of(tensors: Tensors) -> list[bytes]:
    """What is posted: encoded pictures, or a CT as a .npy file."""
    if "encoded" in tensors:
        return list(tensors["encoded"])
    file = io.BytesIO()
    np.save(file, tensors["ct"])
    return [file.getvalue()]


def _ask(name: str, connection: http.client.HTTPConnection, pictures: list[bytes]) -> np.ndarray:
    body, kind = framed(pictures).tobytes(), "application/octet-stream"
    if name == "litserve":
        texts = [base64.b64encode(picture).decode() for picture in pictures]
        body, kind = json.dumps({"pictures": texts}).encode(), "application/json"
    connection.request("POST", "/predict", body, {"Content-Type": kind})
    response = connection.getresponse()
    content = response.read()
    assert response.status == 200, f"{name} answered {response.status}: {content[:200]!r}"
    if name == "litserve":
        found = json.loads(content)
        return np.frombuffer(base64.b64decode(found["mask"]), np.uint8).reshape(found["shape"])
    shape = [int(size) for size in response.headers["X-Shape"].split(",")]
    return np.frombuffer(content, np.uint8).reshape(shape)


def _await(port: int, process: subprocess.Popen, said: IO[bytes], limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    said.seek(0)
    raise SystemExit(f"the server did not start within {limit_s} s, or ended: {said.read().decode()[-400:]}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["luna", "gi-tract", "brain-lgg", "stas"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path, action="append", required=True)
    parser.add_argument("--peer", action="append", help="SERVER,INFERENCE, for example fastapi,openvino; repeatable")
    parser.add_argument("--alone", action="store_true", help="also measure the networks with no server around them")
    parser.add_argument("--engine", default="openvino", help="of the served ensemble")
    parser.add_argument("--precision", default="fp32", help="of exported files; PyTorch computes in float32")
    parser.add_argument(
        "--decoder", default="dali", help="of the served ensemble: dali, or reference as the others have"
    )
    parser.add_argument("--instances", type=int, help="of each network of the served ensemble; one a core if not given")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--requests", type=int, default=8, help="one at a time, at least")
    parser.add_argument("--cases", type=int, default=8)
    return parser.parse_args()


if __name__ == "__main__":
    main()
