"""ONNX Runtime on an ONNX file."""

from __future__ import annotations

from contextlib import redirect_stdout
from pathlib import Path

import onnxruntime

from medseg.engines.gpu import gpu_name
from medseg.errors import EngineError
from medseg.task import Array

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_EXACT = {"use_tf32": "0"}  # a file called fp32 is computed in fp32


def facts() -> str:
    """The devices on which the installed package can compute."""
    return ", ".join(onnxruntime.get_available_providers())


class OnnxRuntimeEngine:
    """An ONNX Runtime session: on the GPU where there is one and the installed package has CUDA, else on the CPU.

    Raises EngineError where the package was made for a GPU and there is one, but the session does not use it.
    """

    def __init__(self, file: Path, threads: int, streams: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, threads // streams)
        options.log_severity_level = 4  # errors are raised, and so printed only once
        # Spinning threads take the cores from other processes on the machine, a server's steps above all.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        gpu = gpu_name() if _CUDA in onnxruntime.get_available_providers() else ""
        if gpu:
            _load_cuda()
        providers = [(_CUDA, _EXACT), (_CPU, {})] if gpu else [(_CPU, {})]
        self._session = onnxruntime.InferenceSession(str(file), options, providers, enable_fallback=False)
        if gpu and _CUDA not in self._session.get_providers():
            raise EngineError(
                f"ONNX Runtime {onnxruntime.__version__} was built for CUDA and there is a GPU ({gpu}), but CUDA and "
                "cuDNN of its version were not found; expected to compute on the GPU: install them with "
                "pip install 'onnxruntime-gpu[cuda,cudnn]', or set CUDA_VISIBLE_DEVICES= to compute on the CPU"
            )

    def __call__(self, batch: Array) -> Array:
        return self._session.run(["output"], {"input": batch})[0]

    def close(self) -> None:
        del self._session


def _load_cuda() -> None:
    """Find CUDA and cuDNN in torch's or NVIDIA's own packages; the session itself looks only on the system."""
    with redirect_stdout(None):  # it prints what it does not find; a command's output is the answer alone
        onnxruntime.preload_dlls()
