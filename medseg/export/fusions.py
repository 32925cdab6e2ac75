"""What installed engines make of int8 files: fused kernels compute some products otherwise than ONNX says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from medseg.engines import ENGINES, open_engine
from medseg.export import files
from medseg.export.parity import Budget, compare, judged
from medseg.export.samples import Calibration
from medseg.export.search import Lowering
from medseg.scratch import Scratch
from medseg.task import Array, Infer, Network

WRONG = 0.02  # of the answers' spread: an engine that only rounds otherwise adds less to int8's own error
SAMPLES = 4


def openers(suffix: str) -> list[str]:
    """The installed engines that open files of this suffix."""
    return [name for name, kind in ENGINES.items() if kind.suffix == suffix and find_spec(kind.package)]


def computes_bf16() -> bool:
    """Whether OpenVINO is installed and computes in bfloat16 on this CPU."""
    if find_spec("openvino") is None:
        return False
    from medseg.engines.openvino import computes_bf16

    return computes_bf16()


def miscomputed(lowering: Lowering, samples: Sequence[Array]) -> dict[str, str]:
    """The nodes that an engine computes wrongly in int8, and so must stay float32; each with the reason in words.

    They are found by lowering one part of the nodes, and if that is wrong, its halves.
    """
    found: dict[str, str] = {}
    with Scratch("export") as folder:
        file = Path(folder) / "int8.onnx"
        for name in openers(file.suffix):
            asked = _Asked(lowering, samples[:SAMPLES], name, file)
            right = [node for node in lowering.names if node not in found]
            found |= dict.fromkeys(culprits(right, asked.is_wrong), f"{name} computes it wrongly in int8")
    return found


def judge_by_engines(network: Network, known: Calibration, file: Path, budget: Budget) -> None:
    """Raise ExportError if an installed engine that opens the file gives answers outside the budget.

    Engines fuse int8 operations into their own kernels. For some graphs OpenVINO's kernels give very different answers.
    """
    for name in openers(file.suffix):
        engine = open_engine(name, file)
        parity = compare(network, known.references, map(engine, known.samples))
        engine.close()
        judged(network, f"{file.name} in {name}", parity, budget)


def culprits(group: Sequence[str], wrong: Callable[[Sequence[str]], bool]) -> Iterator[str]:
    """Those of a group that are wrong alone, found by halves: an error that needs two of different halves is missed."""
    if not group or not wrong(group):
        return
    if len(group) == 1:
        yield group[0]
        return
    middle = len(group) // 2
    yield from culprits(group[:middle], wrong)
    yield from culprits(group[middle:], wrong)


class _Asked:
    """An engine that is asked for the answers of models with some of the nodes in int8."""

    def __init__(self, lowering: Lowering, samples: Sequence[Array], name: str, file: Path) -> None:
        self._lowering, self._samples, self._name, self._file = lowering, samples, name, file
        self._full = self._answers(lowering.judge(lowering.draft(lowering.names)))

    def is_wrong(self, group: Sequence[str]) -> bool:
        """Whether its answers are farther from float32's than those that ONNX demands, if this group is in int8."""
        draft = self._lowering.draft(set(self._lowering.names) - set(group))
        files.write(self._file, self._lowering.finish(draft).SerializeToString())
        engine = open_engine(self._name, self._file)
        theirs = self._error(engine)
        engine.close()
        return not theirs <= self._error(self._lowering.judge(draft)) + WRONG * float(self._full.std())

    def _error(self, infer: Infer) -> float:
        return float(np.abs(self._answers(infer) - self._full).mean())

    def _answers(self, infer: Infer) -> Array:
        return np.concatenate([infer(sample).ravel() for sample in self._samples])
