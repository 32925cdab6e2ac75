"""FP16 within a budget: what leaves float16's range stays float32, and what measurement shows must."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from medseg.export.parity import Budget, onnx_infer
from medseg.export.precision import FULL, LARGEST, constants_beyond_half, element_types, half, half_share, rounded
from medseg.export.products import costs
from medseg.export.samples import Calibration
from medseg.export.search import Lowered, Lowering, within
from medseg.task import Network

MOST = 64  # sensitive nodes that may go back to float32: more are seldom enough, and each takes a second or more
HEADROOM = 2.0  # the next patient's values may be this many times as large as the calibration's
WATCHED = 200  # tensors measured at once, which all stay in memory: eca_nfnet_l2's 876 at 416 x 416 took 2.2 GB


def half_within(model: onnx.ModelProto, network: Network, calibration: Calibration, budget: Budget) -> Lowered:
    """The FP16 model within the budget. Nodes that leave float16's range stay float32 from the start."""
    lowering = Lowering(
        precision="fp16",
        cost=costs(model, model.graph.node, {}),
        draft=lambda keep: half(model, keep),
        judge=lambda candidate: onnx_infer(rounded(candidate)),
        share=half_share,
        least_share=0.5,
        most=MOST,
    )
    return within(lowering, network, calibration, budget, out_of_range(model, calibration))


def out_of_range(model: onnx.ModelProto, calibration: Calibration) -> dict[str, str]:
    """Nodes whose constants, or values times HEADROOM, float16 cannot hold, and the reason in words."""
    kept = {name: f"a constant of {peak:.3g} is beyond float16" for name, peak in constants_beyond_half(model).items()}
    peaks = _peaks(model, calibration)
    for node in model.graph.node:
        peak = max((peaks.get(name, 0.0) for name in (*node.input, *node.output)), default=0.0)
        if not peak * HEADROOM <= LARGEST:
            kept.setdefault(node.name, f"values up to {peak:.3g} come too near to float16's largest")
    return kept


def _peaks(model: onnx.ModelProto, calibration: Calibration) -> dict[str, float]:
    """The largest magnitude of every float tensor over the first four calibration samples."""
    types = element_types(model)
    names = [name for node in model.graph.node for name in node.output if types.get(name) == FULL]
    parts = [names[first : first + WATCHED] for first in range(0, len(names), WATCHED)]
    return {name: peak for part in parts for name, peak in _watched(model, part, calibration).items()}


def _watched(model: onnx.ModelProto, names: list[str], calibration: Calibration) -> dict[str, float]:
    """The largest magnitude of these tensors; all stay in memory until the last is known."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    peaks = [f"{name}_peak" for name in names]
    for name, peak in zip(names, peaks, strict=True):
        watched.graph.node.append(helper.make_node("Abs", [name], [f"{name}_abs"]))
        watched.graph.node.append(helper.make_node("ReduceMax", [f"{name}_abs"], [peak], keepdims=0))
        watched.graph.output.append(helper.make_tensor_value_info(peak, TensorProto.FLOAT, []))
    infer = onnx_infer(watched, outputs=peaks)
    found = np.array([infer(sample) for sample in calibration.samples[:4]])
    return dict(zip(names, found.max(axis=0), strict=True))
