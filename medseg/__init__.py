"""Production inference and benchmarking for medical image segmentation."""

__version__ = "0.2.0"
