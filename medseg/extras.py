"""Which extra brings a package that is not installed: the one place that knows, for every command and process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from medseg.errors import PackageError

EXTRAS = {
    "cuda.bindings": "rtx",
    "dynamic_network_architectures": "nnunet",
    "fsspec": "remote",
    "google.protobuf": "triton",
    "grpc": "triton",
    "h11": "triton",
    "highdicom": "dicom",
    "lightning_fabric": "train",
    "monai": "train",
    "nvidia.dali": "dali",
    "onnx": "export",
    "onnxruntime": "onnxruntime",
    "onnxscript": "export",
    "openvino": "openvino",
    "pyarrow": "remote",
    "pynvml": "nvml",
    "pytorch_lightning": "train",
    "ray": "ray",
    "safetensors": "torch",
    "segmentation_models_pytorch": "torch",
    "sklearn": "train",
    "tensorboard": "train",
    "tensorrt": "trt",
    "tensorrt_rtx": "rtx",
    "timm": "torch",
    "torch": "torch",
    "torchmetrics": "train",
    "torchvision": "torch",
    "tritonclient": "triton",
    "wandb": "wandb",
}


@contextmanager
def needed() -> Iterator[None]:
    """Within, a package of an extra that is not installed is a PackageError; any other that lacks stays as it is."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = known(error.name or "")
        if package is None:
            raise
        raise PackageError(
            f"this needs the package {package!r}, which is not installed: pip install 'medseg[{EXTRAS[package]}]'"
        ) from error


def known(module: str) -> str | None:
    """The package of an extra that a module belongs to, or that a module is a parent of: `nvidia` of `nvidia.dali`."""
    return next((one for one in EXTRAS if f"{module}.".startswith(f"{one}.") or one.startswith(f"{module}.")), None)
