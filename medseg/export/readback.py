"""What a parsed TensorRT network really holds: its share in float16 or int8.

The engine has the types of the network, because a strongly typed build may not change a type.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

# Layers that keep weights of their own; all other layers read constant layers.
WEIGHTS_OF = {
    "CONSTANT": ("IConstantLayer", ("weights",)),
    "CONVOLUTION": ("IConvolutionLayer", ("kernel", "bias")),
    "DECONVOLUTION": ("IDeconvolutionLayer", ("kernel", "bias")),
    "SCALE": ("IScaleLayer", ("scale", "shift", "power")),
}
LEAST_SHARE = {"fp16": 0.5, "int8": 0.1}  # of weight bytes; an engine with less does not have its file's precision


def share(trt: ModuleType, definition: Any, precision: str) -> dict[str, float]:
    """The shares of layers and of weight bytes in int8 if `precision` is int8, else in float16."""
    layers = [definition.get_layer(index) for index in range(definition.num_layers)]
    return _int8_share(trt, layers) if precision == "int8" else _half_share(trt, layers)


def _half_share(trt: ModuleType, layers: list[Any]) -> dict[str, float]:
    kinds = (trt.DataType.FLOAT, trt.DataType.HALF)
    moved = (getattr(trt.LayerType, "CAST", trt.LayerType.IDENTITY), trt.LayerType.CONSTANT)  # no casts in 8.5
    computed = [layer.get_output_type(0) for layer in layers if layer.type not in moved]
    floats = [kind for kind in computed if kind in kinds]
    weights = [weights for layer in layers for weights in _weights(trt, layer) if weights.dtype in kinds]
    half = [weights for weights in weights if weights.dtype == trt.DataType.HALF]
    return {
        "layers": _part(floats.count(trt.DataType.HALF), len(floats)),
        "weight_bytes": _part(sum(one.nbytes for one in half), sum(one.nbytes for one in weights)),
    }


def _int8_share(trt: ModuleType, layers: list[Any]) -> dict[str, float]:
    """The shares of products with int8 weights, and of weights; each int8 counts as the float32 that it replaced."""
    kinds = (trt.DataType.FLOAT, trt.DataType.HALF, trt.DataType.INT8)
    products = (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)
    maker = {layer.get_output(0).name: layer.type for layer in layers}
    fed = [layer.get_input(1) for layer in layers if layer.type in products]  # the weights; an input may be a Concat
    feeds = [maker.get(tensor.name) if tensor else None for tensor in fed]
    weights = [weights for layer in layers for weights in _weights(trt, layer) if weights.dtype in kinds]
    low = [weights for weights in weights if weights.dtype == trt.DataType.INT8]
    return {
        "layers": _part(feeds.count(trt.LayerType.DEQUANTIZE), len(feeds)),
        "weight_bytes": _part(sum(one.size for one in low), sum(one.size for one in weights)),
    }


def _part(some: int, whole: int) -> float:
    return round(some / max(whole, 1), 4)


def _weights(trt: ModuleType, layer: Any) -> list[Any]:
    name, attributes = WEIGHTS_OF.get(layer.type.name, ("ILayer", ()))
    layer.__class__ = getattr(trt, name)  # the bindings return the base class; this makes it the layer's own class
    found = [getattr(layer, attribute) for attribute in attributes]
    return [_sized(trt, weights) for weights in found if getattr(weights, "size", 0)]


def _sized(trt: ModuleType, weights: Any) -> Any:
    """Weights as TensorRT's own record: some properties return it, others a numpy array."""
    return weights if isinstance(weights, trt.Weights) else trt.Weights(weights)
