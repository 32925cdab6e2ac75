"""LitServe's worker: a separate process, which must be able to import this class."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import litserve

from benchmarks.peers.answers import Peer, answerer
from medseg.task import Array


class Api(litserve.LitAPI):
    """Pictures and masks as base64 in JSON, as in LitServe's own examples."""

    def __init__(self, peer: Peer, task: str, runs: Sequence[Path]) -> None:
        super().__init__()
        self.peer, self.task, self.runs = peer, task, runs

    def setup(self, _device: str) -> None:
        self.answer = answerer(self.peer, self.task, self.runs)

    def decode_request(self, request: dict) -> list[bytes]:
        return [base64.b64decode(picture) for picture in request["pictures"]]

    def predict(self, pictures: list[bytes]) -> Array:
        return self.answer(pictures)

    def encode_response(self, mask: Array) -> dict:
        return {"mask": base64.b64encode(mask.tobytes()).decode(), "shape": mask.shape}
