"""Servers as a user might write them, for `serve_vs_fastapi.py`: FastAPI or LitServe around eager PyTorch.

They run the task's own pre- and post-processing, so that their masks can be compared with ours. For LUNA they run the
authors' chain (`luna_reference.py`), because ours leaves out computations that cannot change the answer.

    python -m benchmarks.eager_servers fastapi gi-tract PORT RUN...
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.luna_reference import candidates, network
from medseg.data.byte_strings import unframed
from medseg.data.encoded import encoded_tensor
from medseg.export.graph import trained
from medseg.run import Run
from medseg.task import Array, Infer
from medseg.tasks import network_named, task_named

WANTED = np.array([b"mask"], object)


def eager(run: Run) -> Infer:
    """The run's network as users call it: a module in evaluation mode."""
    module = trained(run, network_named(run.network)).eval()

    def infer(batch: Array) -> Array:
        with torch.inference_mode():
            return module(torch.from_numpy(batch)).numpy()

    return infer


def answerer(task: str, runs: Sequence[str]) -> Callable[[Sequence[bytes]], Array]:
    """A function from encoded pictures, one or a volume's slices, to a mask; luna: from a CT as .npy to packed bits."""
    if task == "luna":
        return luna_answerer({Run(run).network: network(Path(run)) for run in runs})
    networks = {run.network: eager(run) for run in map(Run, runs)}
    pipeline = task_named(task).answered_by(list(networks)).pipeline

    def answer(pictures: Sequence[bytes]) -> Array:
        return pipeline({"encoded": encoded_tensor(pictures), "wanted": WANTED}, networks.__getitem__)["mask"]

    return answer


def luna_answerer(networks: dict[str, torch.nn.Module]) -> Callable[[Sequence[bytes]], Array]:
    """The authors' chain."""

    def answer(cts: Sequence[bytes]) -> Array:
        ct = np.load(io.BytesIO(cts[0]))
        return np.packbits(candidates(ct, networks["luna-segment"], networks["luna-nodule"])["mask"])

    return answer


def serve_fastapi(task: str, port: int, runs: Sequence[str]) -> None:
    """FastAPI on uvicorn: a plain `def` endpoint, which FastAPI runs in its thread pool.

    Pictures are sent as bytes with their lengths in front: this costs less than multipart or JSON.
    """
    import uvicorn
    from fastapi import Body, FastAPI
    from fastapi.responses import Response

    app, answer = FastAPI(), answerer(task, runs)

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/predict")
    def predict(pictures: bytes = Body(media_type="application/octet-stream")) -> Response:
        mask = answer(list(unframed(np.frombuffer(pictures, np.uint8), "pictures")))
        shape = ",".join(map(str, mask.shape))
        return Response(mask.tobytes(), media_type="application/octet-stream", headers={"X-Shape": shape})

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def serve_litserve(task: str, port: int, runs: Sequence[str]) -> None:
    """LitServe with one worker."""
    import litserve

    from benchmarks.eager_litserve import Api

    server = litserve.LitServer(Api(task, runs), accelerator="cpu")
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


SERVERS = {"fastapi": serve_fastapi, "litserve": serve_litserve}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](sys.argv[2], int(sys.argv[3]), sys.argv[4:])
