"""The kit that proves medseg on an NVIDIA GPU: `python -m benchmarks.gpu`, see docs/gpu.md."""
