"""An ONNX graph, open as it stands."""

from __future__ import annotations

import onnx
import onnxruntime


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """The graph in ONNX Runtime on the CPU, without the optimizations that may hide what rounding does.

    Raises whatever the library does where the graph is none: the caller says what that means.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # errors are raised, and said once
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
