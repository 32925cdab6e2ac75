"""Servers as a user might write them: FastAPI, LitServe or Ray Serve, each with one worker that uses all cores.

LitServe and FastAPI come with the development tools; Ray Serve needs `pip install 'ray[serve]'`.

python -m benchmarks.peers.servers fastapi openvino fp32 gi-tract PORT RUN...
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peers.answers import SERVERS, Peer, answered, answerer
from medseg.engines.runs import cores

HOST = "127.0.0.1"
BYTES = "application/octet-stream"
AT_ONCE = 16  # requests that Ray Serve's worker holds: more than any load here


def serve_fastapi(peer: Peer, task: str, port: int, runs: Sequence[Path]) -> None:
    """FastAPI on uvicorn: a plain `def` endpoint, which FastAPI runs in its thread pool.

    Pictures are sent as bytes with their lengths in front: this costs less than multipart or JSON.
    """
    import uvicorn
    from fastapi import Body, FastAPI
    from fastapi.responses import Response

    app, answer = FastAPI(), answerer(replace(peer, streams=cores()), task, runs)

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/predict")
    def predict(pictures: bytes = Body(media_type=BYTES)) -> Response:
        mask, shape = answered(answer, pictures)
        return Response(mask, media_type=BYTES, headers={"X-Shape": shape})

    uvicorn.run(app, host=HOST, port=port, log_level="warning")


def serve_litserve(peer: Peer, task: str, port: int, runs: Sequence[Path]) -> None:
    """LitServe with one worker, which answers one request after the other, each on all cores."""
    import litserve

    from benchmarks.peers.litserve_api import Api

    server = litserve.LitServer(Api(peer, task, runs), accelerator="cpu")
    server.run(host=HOST, port=port, generate_client_file=False, log_level="warning")


def serve_ray(peer: Peer, task: str, port: int, runs: Sequence[Path]) -> None:
    """Ray Serve with one replica, which answers in threads. Bytes are sent as to FastAPI."""
    import asyncio
    import signal

    import ray
    from ray import serve
    from starlette.responses import PlainTextResponse, Response

    @serve.deployment(max_ongoing_requests=AT_ONCE, ray_actor_options={"num_cpus": cores()})
    class Replica:
        def __init__(self) -> None:
            self.answer = answerer(replace(peer, streams=cores()), task, runs)

        async def __call__(self, request: Any) -> Response:
            if request.url.path == "/health":
                return PlainTextResponse("ok")
            mask, shape = await asyncio.to_thread(answered, self.answer, await request.body())
            return Response(mask, media_type=BYTES, headers={"X-Shape": shape})

    ray.init(num_cpus=cores(), include_dashboard=False)
    serve.start(http_options={"host": HOST, "port": port})
    serve.run(Replica.bind())
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.sigwait([signal.SIGTERM])
    serve.shutdown()
    ray.shutdown()


Serve = Callable[[Peer, str, int, Sequence[Path]], None]
SERVE: dict[str, Serve] = dict(zip(SERVERS, (serve_fastapi, serve_litserve, serve_ray), strict=True))

if __name__ == "__main__":
    _server, _inference, _precision, _task, _port, *_runs = sys.argv[1:]
    SERVE[_server](Peer(_server, _inference, _precision), _task, int(_port), [Path(run) for run in _runs])
