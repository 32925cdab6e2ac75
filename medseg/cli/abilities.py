"""What a machine can do, from what `medseg doctor` found on it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from medseg.engines import ENGINES

_CPU_ENGINES = sorted(
    (name for name, kind in ENGINES.items() if not kind.builds), key=lambda name: ENGINES[name].suffix
)
_GPU_ENGINES = [name for name, kind in ENGINES.items() if kind.builds]


@dataclass(frozen=True)
class Ability:
    """One thing that people do with medseg: whether it works here, and what it uses or lacks."""

    what: str
    can: bool
    because: str = ""


def abilities(found: Mapping[str, str]) -> list[Ability]:
    """What works here; `found` are the states by what was looked at."""
    engines = [name for name in _CPU_ENGINES if found[f"engine {name}"] == "ok"]
    training = _lacking({"train": ("pytorch_lightning", "monai", "torchmetrics")})
    exporting = _lacking({"export": ("torch", "onnx", "onnxscript", "onnxruntime")})
    serving = _lacking({"triton": ("tritonclient", "h11")}) + _server(found)
    ready = training + exporting + serving + ([] if "openvino" in engines else ["medseg[openvino]"])
    return [
        Ability("predict and evaluate on the CPU", bool(engines), _with(engines, ["medseg[openvino]"])),
        Ability("train", not training, _with([], training)),
        Ability("export to ONNX, fp16 and int8", not exporting, _with([], exporting)),
        Ability("serve, and bench what is served", not serving, _with([], serving)),
        Ability("README's demo", not ready, _with([], list(dict.fromkeys(ready)))),
        _gpu(found),
    ]


def _gpu(found: Mapping[str, str]) -> Ability:
    engines = [name for name in _GPU_ENGINES if found[f"engine {name}"] == "ok"]
    if found.get("GPU") == "ok":
        return Ability("GPU engines", bool(engines), _with(engines, ["medseg[trt]"]))
    driver = found.get("NVIDIA driver") == "ok"
    return Ability("GPU engines", False, ": the GPU cannot be asked" if driver else ": no driver")


def _server(found: Mapping[str, str]) -> list[str]:
    if not sys.platform.startswith("linux"):
        return ["Linux"]
    return [] if found["tritonserver"] == "ok" else ["`medseg server install`"]


def _lacking(extras: Mapping[str, Sequence[str]]) -> list[str]:
    """The extras of which a package is not installed."""
    return [f"medseg[{extra}]" for extra, packages in extras.items() if not all(map(find_spec, packages))]


def _with(using: Sequence[str], lacking: Sequence[str]) -> str:
    if using:
        return f", with {', '.join(using)}"
    return f": needs {', '.join(lacking)}" if lacking else ""
