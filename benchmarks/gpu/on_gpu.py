"""A network for Triton's python backend whose answer stays on its device: the mean of the input channels minus a level.

The wheel's server has no native backends, so none of its networks leaves its answer on a GPU. This one does, so
medseg's steps get CUDA tensors as they do after TensorRT's backend. `level`, `classes` and `device` are in
config.pbtxt.
"""

import json

import triton_python_backend_utils as pb_utils
from torch.utils.dlpack import from_dlpack


class TritonPythonModel:
    def initialize(self, args):
        values = {name: one["string_value"] for name, one in json.loads(args["model_config"])["parameters"].items()}
        self.level, self.classes, self.device = float(values["level"]), int(values["classes"]), values["device"]

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        batch = from_dlpack(pb_utils.get_input_tensor_by_name(request, "input")).to(self.device)
        logits = (batch.mean(1, keepdim=True) - self.level).repeat(1, self.classes, *[1] * (batch.ndim - 2))
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("output", logits)])
