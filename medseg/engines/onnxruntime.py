"""ONNX Runtime on an ONNX file."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from medseg.task import Array


def facts() -> str:
    """Where the installed package can compute."""
    return ", ".join(onnxruntime.get_available_providers())


class OnnxRuntimeEngine:
    """An ONNX Runtime session, on CUDA where the installed package offers it, else on the CPU."""

    def __init__(self, file: Path, threads: int, streams: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, threads // streams)
        options.log_severity_level = 4  # errors are raised, and said once
        # Spinning threads take the cores from other processes on the machine, a server's steps above all.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        offered = onnxruntime.get_available_providers()
        providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in offered]
        # Only a GPU has something to fall back to; on a CPU the same damaged file would be opened a second time.
        self._session = onnxruntime.InferenceSession(str(file), options, providers, enable_fallback=len(providers) > 1)

    def __call__(self, batch: Array) -> Array:
        return self._session.run(["output"], {"input": batch})[0]

    def close(self) -> None:
        del self._session
