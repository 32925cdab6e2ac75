"""Large constants of models, kept once and outside of them, so that variants of a model cost little."""

from __future__ import annotations

from math import prod

import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from medseg.export.parity import onnx_infer
from medseg.task import Infer

LARGE = 1024  # values; smaller constants stay where they are
_KINDS = (TensorProto.FLOAT, TensorProto.INT8)


class Constants:
    """The values of models without them. Models may share constants; one of the same name is the same."""

    def __init__(self) -> None:
        self._kept: dict[str, TensorProto] = {}
        self._values: dict[str, onnxruntime.OrtValue] = {}

    def taken(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The model without its large constants: of these it has only names, types and shapes."""
        left = onnx.ModelProto()
        left.CopyFrom(model)
        for place, one in enumerate(model.graph.initializer):
            if one.data_type in _KINDS and prod(one.dims) >= LARGE:
                self._kept.setdefault(one.name, one)
                left.graph.initializer[place].CopyFrom(_named(one))
        return left

    def given_back(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The model with all of its constants."""
        whole = onnx.ModelProto()
        whole.CopyFrom(model)
        for one in whole.graph.initializer:
            if one.data_location == TensorProto.EXTERNAL:
                one.CopyFrom(self._kept[one.name])
        return whole

    def infer(self, model: onnx.ModelProto) -> Infer:
        """A model without its constants as a function, as `onnx_infer`."""
        outside = [one.name for one in model.graph.initializer if one.data_location == TensorProto.EXTERNAL]
        for name in outside:
            if name not in self._values:
                self._values[name] = onnxruntime.OrtValue.ortvalue_from_numpy(numpy_helper.to_array(self._kept[name]))
        return onnx_infer(model, constants={name: self._values[name] for name in outside})


def _named(constant: TensorProto) -> TensorProto:
    """The constant without its values."""
    found = TensorProto(name=constant.name, data_type=constant.data_type, dims=constant.dims)
    found.data_location = TensorProto.EXTERNAL
    found.external_data.add(key="location", value="not in a file")
    return found
