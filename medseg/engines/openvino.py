"""OpenVINO on an ONNX file: the default on a CPU."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue

import openvino

from medseg.errors import EngineError
from medseg.task import Array


class OpenVinoEngine:
    """An OpenVINO compiled model on the CPU, in float32 unless the file says otherwise."""

    def __init__(self, file: Path, threads: int, streams: int) -> None:
        config = {
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": "f32",
            # Pinned, the single threads of two server processes would share core 0 and leave core 1 idle.
            "ENABLE_CPU_PINNING": "NO",
        }
        try:
            self._model = openvino.Core().compile_model(str(file), "CPU", config)
        except Exception as error:
            raise EngineError(f"OpenVINO cannot open {file} ({_reason(error)}): export it again") from error
        self._idle: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for _ in range(streams):
            self._idle.put(self._model.create_infer_request())

    def __call__(self, batch: Array) -> Array:
        request = self._idle.get()
        try:
            return request.infer({0: batch}, share_inputs=True)[0].copy()
        finally:
            self._idle.put(request)

    def close(self) -> None:
        del self._idle, self._model


def _reason(error: Exception) -> str:
    """The first line that is not a position in OpenVINO's sources."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and not line.startswith("Exception from")), type(error).__name__)
