"""Production inference and benchmarking for medical image segmentation.

What the commands do, as functions of the same names: `medseg.predict`, `medseg.export`, `medseg.serve` and so on. They
return records (arrays, tables, runs); docs/python.md shows each. Nothing is imported before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medseg.api.answer import Answer as Answer
    from medseg.api.evaluation import evaluate as evaluate
    from medseg.api.evaluation import evaluate_submission as evaluate_submission
    from medseg.api.export import export as export
    from medseg.api.predict import predict as predict
    from medseg.api.predictor import Predictor as Predictor
    from medseg.api.predictor import open_predictor as open_predictor
    from medseg.api.serve import Repository as Repository
    from medseg.api.serve import serve as serve
    from medseg.api.train import TrainOptions as TrainOptions
    from medseg.api.train import train as train
    from medseg.bench.command import bench as bench
    from medseg.bench.lineup import Entry as Entry
    from medseg.bringing import NetworkOptions as NetworkOptions
    from medseg.export.options import ExportOptions as ExportOptions
    from medseg.run import Run as Run
    from medseg.task import Task as Task
    from medseg.tasks import task_named as task_named
    from medseg.tasks import task_names as task_names

__version__ = "0.3.0"

_HOMES = {
    "Answer": "medseg.api.answer",
    "Entry": "medseg.bench.lineup",
    "ExportOptions": "medseg.export.options",
    "NetworkOptions": "medseg.bringing",
    "Predictor": "medseg.api.predictor",
    "Repository": "medseg.api.serve",
    "Run": "medseg.run",
    "Task": "medseg.task",
    "TrainOptions": "medseg.api.train",
    "bench": "medseg.bench",
    "evaluate": "medseg.api.evaluation",
    "evaluate_submission": "medseg.api.evaluation",
    "export": "medseg.export",  # the package, which is called as the command is
    "open_predictor": "medseg.api.predictor",
    "predict": "medseg.api.predict",
    "serve": "medseg.api.serve",
    "task_named": "medseg.tasks",
    "task_names": "medseg.tasks",
    "train": "medseg.train",
}
__all__ = ["__version__"]
__all__ += list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'medseg' has no attribute {name!r}")
    from medseg.extras import needed

    with needed():
        home = import_module(_HOMES[name])
    return home if home.__name__ == f"{__name__}.{name}" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
