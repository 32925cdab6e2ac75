"""The kit that tests and measures medseg on an NVIDIA GPU: `python -m benchmarks.gpu`, see docs/gpu.md."""
