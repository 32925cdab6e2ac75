"""An ONNX Runtime session that runs a graph as it is, without optimizations."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnxruntime


def session_of(
    model: onnx.ModelProto, constants: Mapping[str, onnxruntime.OrtValue] | None = None
) -> onnxruntime.InferenceSession:
    """The graph in ONNX Runtime on the CPU. Optimizations are off, because they may hide effects of rounding.

    `constants` are those of its constants, by name, whose values are not in the model. They must live as long as it.
    The library's own errors for a graph that is not valid are not caught: the caller explains them.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if constants:
        options.add_external_initializers(list(constants), list(constants.values()))
    options.log_severity_level = 4  # errors are raised, so they are not logged too
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
