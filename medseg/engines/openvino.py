"""OpenVINO on an ONNX file: the default on a CPU."""

from __future__ import annotations

from pathlib import Path

import openvino

from medseg.errors import EngineError
from medseg.task import Array


class OpenVinoEngine:
    """An OpenVINO compiled model on the CPU, in float32 unless the file says otherwise."""

    def __init__(self, file: Path, threads: int | None = None) -> None:
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            config["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            self._model = openvino.Core().compile_model(str(file), "CPU", config)
        except Exception as error:
            raise EngineError(f"OpenVINO cannot open {file} ({error}): export it again") from error
        self._request = self._model.create_infer_request()

    def __call__(self, batch: Array) -> Array:
        return self._request.infer({0: batch}, share_inputs=True)[0].copy()

    def close(self) -> None:
        del self._request, self._model
