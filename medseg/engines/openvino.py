"""OpenVINO on an ONNX file: the default on a CPU."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue

import openvino

from medseg.errors import EngineError
from medseg.task import Array

# Every call with a numpy array asks this. The first time, a static table of C++ is made by importing numpy: of two
# threads that come at once, one holds Python's lock and waits for the table, the other makes it and waits for the lock.
# Here it is made while this module is imported, which Python lets one thread do.
openvino.Type.f32.to_dtype()


class OpenVinoEngine:
    """An OpenVINO compiled model on the CPU: in float32, or in bfloat16 where the file's own metadata says so.

    What stays float in an int8 file may be in bfloat16 too, on a CPU that computes in it.
    """

    def __init__(self, file: Path, threads: int, streams: int) -> None:
        config = {
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": str(threads),
            # Pinned, the single threads of two server processes would share core 0 and leave core 1 idle.
            "ENABLE_CPU_PINNING": "NO",
        }
        core = openvino.Core()
        model = core.read_model(str(file))
        config["INFERENCE_PRECISION_HINT"] = _precision(model, file)
        self._model = core.compile_model(model, "CPU", config)
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


def computes_bf16() -> bool:
    """Whether this CPU multiplies in bfloat16 (AVX512-BF16 or AMX); otherwise OpenVINO emulates it, slowly."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def facts() -> str:
    """The devices that OpenVINO can use on this machine, and whether with bfloat16."""
    return f"{', '.join(openvino.Core().available_devices)} {'with' if computes_bf16() else 'without'} bfloat16"


def _precision(model: openvino.Model, file: Path) -> str:
    """What to compute floats in. Raises EngineError for a bfloat16 file on a CPU without it."""
    if _said(model, "precision") == "bf16" and not computes_bf16():
        raise EngineError(
            f"{file} is for CPUs with bfloat16 (AVX512-BF16 or AMX); this CPU does not have it: use fp32 or int8"
        )
    wanted = "bf16" in (_said(model, "precision"), _said(model, "rest"))
    return "bf16" if wanted and computes_bf16() else "f32"


def _said(model: openvino.Model, name: str) -> str:
    """What the ONNX file's metadata says; "" if nothing."""
    place = ["framework", name]
    return str(model.get_rt_info(place).astype(str)) if model.has_rt_info(place) else ""
