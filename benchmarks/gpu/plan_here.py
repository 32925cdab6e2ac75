"""Builds, reads back, runs and times one engine in a process of its own, with a Python that has the library.

    python -m benchmarks.gpu.plan_here JOB.json

The results of each stage are printed at once as a line of JSON, so that they are not lost if a later stage fails.
Python 3.10 is enough, because TensorRT 8 has no packages for later ones. torch is not needed.
"""

from __future__ import annotations

import json
import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.timing import spread
from medseg.engines import library, open_engine
from medseg.engines.tensorrt import begun
from medseg.errors import MedsegError
from medseg.export.plan import GpuBuild, build
from medseg.run import Run
from medseg.task import Network, Recipe

_FLOATS = {"half": "FP16", "fp16": "FP16", "float": "FP32", "fp32": "FP32"}


def main(job: dict[str, Any]) -> None:
    """Build the engine, read it back, answer the samples, and time each batch size."""
    run, gpu_build = Run(Path(job["run"])), GpuBuild(job["engine"], job["gpu"], tuple(job["batches"]))
    started = time.perf_counter()
    name = build(run, _network(job), job["precision"], gpu_build)
    file, facts = run.path / name, Run(run.path).files[name]
    share = facts.get("share_fp16", {}).get("weight_bytes")
    _tell(version=facts["version"], build_s=round(time.perf_counter() - started, 1), mb=file.stat().st_size / 1e6)
    _tell(weights_fp16=share)
    engine = open_engine(job["engine"], file, streams=1)
    _tell(**layers_in(job["engine"], file))
    asked = np.load(job["asked"])
    np.save(job["answers"], np.concatenate([engine(one[np.newaxis]) for one in asked]))
    for size in job["sizes"]:
        batch = np.concatenate([asked] * -(-size // len(asked)))[:size]
        _tell(batch=size, **spread(partial(engine, batch), job["seconds"]))
    engine.close()


def layers_in(engine: str, file: Path) -> dict[str, int]:
    """How many of the built layers write FP16 and how many FP32, according to the library's own inspector."""
    trt = library(engine)
    log = trt.Logger(trt.Logger.ERROR)
    opened = begun(trt.Runtime, log).deserialize_cuda_engine(file.read_bytes())
    told = opened.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return counted(json.loads(told)["Layers"])


def counted(layers: list[Any]) -> dict[str, int]:
    """The number of layers by the type of their first output, which is part of the inspector's text on the format."""
    found = {"layers_fp16": 0, "layers_fp32": 0}
    for layer in layers:
        outputs = layer.get("Outputs", []) if isinstance(layer, dict) else []
        kind = str(outputs[0].get("Format/Datatype", outputs[0].get("Datatype", ""))) if outputs else ""
        named = [_FLOATS[word] for word in re.findall(r"[a-z0-9]+", kind.lower()) if word in _FLOATS]
        if named:
            found[f"layers_{named[0].lower()}"] += 1
    return found


def _network(job: dict[str, Any]) -> Network:
    """The facts about the network that the builder needs; building it would need packages that are missing here."""
    free = {int(axis): multiple for axis, multiple in job["free_axes"].items()}
    shapes = tuple(job["input_shape"]), tuple(job["output_shape"])
    return Network(job["network"], *shapes, (), Recipe(0, 0, 0.0), lambda **_: None, free_axes=free)


def _tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    try:
        main(json.loads(Path(sys.argv[1]).read_text()))
    except MedsegError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
