"""Production inference and benchmarking for medical image segmentation."""

__version__ = "0.1.0"
