"""Self-distillation: the float32 network teaches its own int8 self to answer as it does. No labels are needed."""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import onnx
import torch
from torch.nn import functional as F
from tqdm import tqdm

from medseg.errors import ExportError
from medseg.export import files
from medseg.export.evening import Range
from medseg.export.graph import onnx_from_program, torch_infer
from medseg.export.lessons import Lessons, lessons
from medseg.export.parity import CERTAIN, is_classifier
from medseg.export.samples import Drawn
from medseg.export.student import Student
from medseg.run import Run
from medseg.task import Infer, Network

UNFINISHED = "int8.distilling.pt"  # the state of a fit, in the run's folder until its file is recorded
RATES = {"weights": 1e-4, "ranges": 2e-3}  # Adam's, at their largest
WARM, FADING = 50, 400  # steps: the rates rise over the first ones, and fall as 1 / (1 + step / FADING)
LOOK = 50  # steps between two looks at the held-out samples
SAVE = 60.0  # seconds between two savings


@dataclass(frozen=True)
class Distill:
    """How long a fit takes: so many minutes in all, or until a step, if that is earlier.

    What the network is after a step does not depend on the time that it took.
    """

    minutes: float = 10.0
    steps: int | None = None


@dataclass(frozen=True)
class Distilled:
    """A float32 graph with fitted weights, the ranges of its products, and what the manifest says of the fit."""

    model: onnx.ModelProto
    ranges: Sequence[Range]
    facts: dict[str, Any]


@dataclass
class _Progress:
    """How far a fit is. Agreements are those of `Lessons.agreement`."""

    step: int
    seconds: float
    before: float
    best: float
    best_step: int
    best_state: dict[str, Any]


def distilled(
    run: Run,
    network: Network,
    program: torch.export.ExportedProgram,
    ranges: Sequence[Range],
    pool: Drawn,
    options: Distill,
) -> Distilled:
    """The network fitted on the pool's samples, as it was after its best step. The run's weights stay as they are.

    A fit that was stopped goes on where it was saved. Raises ExportError where its state cannot be written.
    """
    own = copy.deepcopy(program)
    teacher = program.module(check_guards=False)
    taught = lessons(network, torch_infer(program), pool)
    student = Student(own, ranges)
    optimizer = _optimizer(student)
    mark = f"{_weights(program)} {taught.fingerprint()}"
    at = _resumed(run.path / UNFINISHED, mark, student, optimizer) or _begun(student, taught)
    saved = at.seconds
    with tqdm(desc="distilling", unit=" steps", initial=at.step, leave=False, disable=None) as shown:
        while at.seconds < 60 * options.minutes and (options.steps is None or at.step < options.steps):
            started = perf_counter()
            _step(network, student, teacher, optimizer, taught, at.step)
            at.step += 1
            if at.step % LOOK == 0:
                _look(student, taught, at)
            at.seconds += perf_counter() - started
            shown.update()
            if at.seconds - saved > SAVE:
                _save(run.path / UNFINISHED, mark, student, optimizer, at)
                saved = at.seconds
    _save(run.path / UNFINISHED, mark, student, optimizer, at)
    if at.step % LOOK:  # after it was saved: a fit that goes on has no look that one without a stop would not have
        _look(student, taught, at)
    student.load_state_dict(at.best_state)
    return Distilled(onnx_from_program(own, network), student.ranges(), _facts(network, taught, at))


def forget(run: Run) -> None:
    """Remove the state of a fit whose file is recorded."""
    (run.path / UNFINISHED).unlink(missing_ok=True)


def distance(network: Network, logits: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """How far a student's logits (n, ...) are from its teacher's: cross-entropy with the teacher's probabilities.

    A classifier's logits are held to its teacher's too, as they rank what both call certain.
    """
    if network.folds > 1:
        logits, taught = (one.unflatten(1, (network.folds, -1)).flatten(0, 1) for one in (logits, taught))
    if is_classifier(network):
        moved = F.smooth_l1_loss(logits - logits.mean(1, keepdim=True), taught - taught.mean(1, keepdim=True))
        return F.cross_entropy(logits, taught.softmax(1)) + moved / CERTAIN
    if network.activation == "sigmoid":
        return F.binary_cross_entropy_with_logits(logits, taught.sigmoid())
    return F.cross_entropy(logits, taught.softmax(1))


def _optimizer(student: Student) -> torch.optim.Optimizer:
    of_ranges = {id(read.log_ranges) for read in student.reads}
    groups: dict[str, list[Any]] = {kind: [] for kind in RATES}
    for parameter in student.parameters():
        groups["ranges" if id(parameter) in of_ranges else "weights"].append(parameter.requires_grad_())
    return torch.optim.Adam([{"params": groups[kind], "lr": rate} for kind, rate in RATES.items()])


def _step(
    network: Network, student: Student, teacher: Any, optimizer: torch.optim.Optimizer, taught: Lessons, step: int
) -> None:
    batch = torch.from_numpy(taught.batch(step))
    with torch.no_grad():
        right = teacher(batch)
    optimizer.zero_grad()
    distance(network, student(batch), right).backward()
    for group, rate in zip(optimizer.param_groups, RATES.values(), strict=True):
        group["lr"] = rate * min(1.0, (step + 1) / WARM) / (1 + step / FADING)
    optimizer.step()


def _begun(student: Student, taught: Lessons) -> _Progress:
    """A fit that has not taken a step: its best is the network as it is."""
    agreement = taught.agreement(_infer(student))
    return _Progress(0, 0.0, agreement, agreement, 0, _copied(student))


def _look(student: Student, taught: Lessons, at: _Progress) -> None:
    """Keep the student as it is, if it agrees better on the held-out samples than ever before."""
    agreement = taught.agreement(_infer(student))
    if agreement > at.best:
        at.best, at.best_step, at.best_state = agreement, at.step, _copied(student)


def _infer(student: Student) -> Infer:
    def infer(batch: Any) -> Any:
        with torch.no_grad():
            return student(torch.from_numpy(batch)).numpy()

    return infer


def _save(file: Path, mark: str, student: Student, optimizer: torch.optim.Optimizer, at: _Progress) -> None:
    """Write the state of a fit. Raises ExportError where it cannot be written."""
    content = io.BytesIO()
    state = {"mark": mark, "at": vars(at), "student": student.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, content)
    files.write(file, content.getvalue())


def _resumed(file: Path, mark: str, student: Student, optimizer: torch.optim.Optimizer) -> _Progress | None:
    """How far the fit of the same weights on the same samples is, its state restored; None if there is no such fit.

    Raises ExportError where its file cannot be read.
    """
    if not file.is_file():
        return None
    try:
        state = torch.load(file, weights_only=True)
        if state["mark"] != mark:
            return None
        student.load_state_dict(state["student"])
        optimizer.load_state_dict(state["optimizer"])
        return _Progress(**state["at"])
    except Exception as error:  # whatever a damaged file makes of the reader
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ExportError(f"{file} cannot be read ({reason}); expected the state of a fit: remove it") from error


def _weights(program: torch.export.ExportedProgram) -> str:
    """Which weights a program has."""
    digest = hashlib.sha256()
    for one in program.state_dict.values():
        digest.update(one.detach().numpy().tobytes())
    return digest.hexdigest()


def _facts(network: Network, taught: Lessons, at: _Progress) -> dict[str, Any]:
    measure = "minus the largest errors" if is_classifier(network) else "dice"
    return {
        "data": taught.origin,
        "fitted": len(taught.fitted),
        "held_out": len(taught.held_out),
        "steps": at.step,
        "seconds": round(at.seconds, 1),
        "best_step": at.best_step,
        "measure": measure,
        "before": round(at.before, 6),
        "after": round(at.best, 6),
    }


def _copied(student: Student) -> dict[str, Any]:
    return {name: one.detach().clone() for name, one in student.state_dict().items()}
