"""LitServe around eager PyTorch. Its worker is a separate process, which must be able to import this class."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import litserve

from benchmarks.eager_servers import answerer
from medseg.task import Array


class Api(litserve.LitAPI):
    """Pictures and masks as base64 in JSON, as in LitServe's own examples."""

    def __init__(self, task: str, runs: Sequence[str]) -> None:
        super().__init__()
        self.task, self.runs = task, runs

    def setup(self, _device: str) -> None:
        self.answer = answerer(self.task, self.runs)

    def decode_request(self, request: dict) -> list[bytes]:
        return [base64.b64decode(picture) for picture in request["pictures"]]

    def predict(self, pictures: list[bytes]) -> Array:
        return self.answer(pictures)

    def encode_response(self, mask: Array) -> dict:
        return {"mask": base64.b64encode(mask.tobytes()).decode(), "shape": mask.shape}
