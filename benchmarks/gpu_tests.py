"""`make gpu`: the tests that need an NVIDIA GPU, where there is one; elsewhere a sentence that says what is missing."""

from __future__ import annotations

import sys

import pytest

from medseg.engines.gpu import cuda_version, driver_version, gpu_name


def missing() -> str:
    """What the tests lack on this machine, in one sentence; "" where they can run."""
    if gpu_name():
        return ""
    if cuda_version():
        return "NVIDIA's driver is here, but it sees no GPU; expected one: look at nvidia-smi and CUDA_VISIBLE_DEVICES"
    return "there is no NVIDIA driver here, and so no GPU; expected a machine with both, for make gpu"


def main() -> int:
    """The exit code of the tests, 1 where they cannot run."""
    if reason := missing():
        print(reason, file=sys.stderr)
        return 1
    print(f"GPU {gpu_name()}, driver {driver_version() or 'unknown'}, CUDA up to {cuda_version()}")
    return int(pytest.main(["-m", "gpu", "-rs"]))


if __name__ == "__main__":
    sys.exit(main())
