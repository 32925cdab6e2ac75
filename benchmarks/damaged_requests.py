"""Damaged pictures through the real server: each must be refused in one sentence, or answered as the functions do.

    python benchmarks/damaged_requests.py --count 200

A task's `check` and `decode` steps are served as an ensemble, as in its repository; later steps get arrays.
"""

from __future__ import annotations

import argparse
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from PIL import Image

from medseg.data.encoded import encoded_tensor
from medseg.engines.triton import TritonModel
from medseg.errors import InputError
from medseg.task import Pipeline, Task
from medseg.tasks import task_named
from medseg.triton_models.repository import swapped, write
from medseg.triton_models.server import Server, serving
from tests.dali_pipelines.damage import damaged, strange

FORMATS = {"gi-tract": "PNG", "brain-lgg": "TIFF", "stas": "JPEG"}
_TOLERANCE = 2e-4  # of decoded and scaled values; see docs/dali.md
_AT_ONCE = 4


def whole(task: str) -> bytes:
    """An undamaged picture of the kind that the task takes, made up of blobs and noise."""
    rng = np.random.default_rng(7)
    coarse = Image.fromarray(rng.integers(0, 255, (9, 12, 3), np.uint8)).resize((212, 156), Image.Resampling.BICUBIC)
    noisy = np.asarray(coarse) // 2 + rng.integers(0, 60, (156, 212, 3), np.uint8)
    picture = Image.fromarray(noisy[..., 0].astype(np.uint16) * 91 if task == "gi-tract" else noisy)
    file = io.BytesIO()
    picture.save(file, FORMATS[task])
    return file.getvalue()


def campaign(server: Server, task: Task, files: Sequence[bytes]) -> Counter[str]:
    """The number of files by outcome; several are sent at once."""
    models = [TritonModel(f"grpc://127.0.0.1:{server.ports.grpc}", task.name) for _ in range(_AT_ONCE)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        outcomes = pool.map(lambda item: outcome(models[item[0] % _AT_ONCE], task, item[1]), enumerate(files))
        counted = Counter(outcomes)
    for model in models:
        model.close()
    return counted


def outcome(model: TritonModel, task: Task, data: bytes) -> str:
    """ "answered" like the plain functions, "refused" in one sentence, or in words what went wrong."""
    tensors = {"encoded": encoded_tensor([data])}
    (name,) = task.pipeline.outputs
    try:
        found = model.ask(tensors, (name,))[name]
    except InputError as error:
        sentence = str(error)
        fine = "expected" in sentence and "\n" not in sentence and "object at 0x" not in sentence
        return "refused" if fine else f"badly worded: {sentence}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    try:
        expected = task.pipeline(tensors, lambda _: lambda batch: batch)[name]
    except InputError as error:
        return f"answered where the plain functions refuse: {error}"
    same = found.shape == expected.shape and np.abs(found.astype(float) - expected).max() <= _TOLERANCE
    return "answered" if same else "answered otherwise"


def decoding(task: str) -> Task:
    """The task with only its steps up to the decoded tensor."""
    found = task_named(task)
    steps = found.pipeline.steps[:2]
    pipeline = Pipeline(found.pipeline.tensors, steps[0].inputs, steps, steps[1].outputs)
    return replace(found, pipeline=pipeline)


@contextmanager
def served(tasks: Sequence[Task], folder: Path) -> Iterator[Server]:
    """The tasks on one embedded server, with DALI as the decoder."""
    names = [name for task in tasks for name in write(folder / "models", task, [], swapped(task, "dali"))]
    with serving(folder / "models", names, folder / "triton.log") as server:
        yield server


def main() -> None:
    """Run the campaign and print its counts as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="damaged files of each format")
    count = parser.parse_args().count
    tasks, started = [decoding(name) for name in FORMATS], perf_counter()
    found = {}
    with TemporaryDirectory() as folder, served(tasks, Path(folder)) as server:
        for task in tasks:
            files = [*damaged(whole(task.name), count), *(data for _, data in strange()), whole(task.name)]
            found[FORMATS[task.name]] = dict(campaign(server, task, files))
    print(json.dumps({"seconds": round(perf_counter() - started, 1), "files": found}, indent=2))


if __name__ == "__main__":
    main()
