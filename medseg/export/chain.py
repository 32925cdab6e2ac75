"""The chain of an export: torch -> ONNX FP32 -> FP16 and INT8 -> engines; each file is judged before it is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import onnx
from torch.export import ExportedProgram

from medseg.engines import open_engine
from medseg.errors import EngineError, ExportError, RunError
from medseg.export import files
from medseg.export.distill import distilled, forget
from medseg.export.fp16 import half_within
from medseg.export.fusions import computes_bf16, judge_by_engines
from medseg.export.given import yardstick
from medseg.export.graph import GRAPH, label, save_graph
from medseg.export.int8 import int8_within
from medseg.export.judges import Judges, judges_of
from medseg.export.lessons import pool, seen
from medseg.export.options import SCORE, ExportOptions, refuse_early
from medseg.export.parity import PRECISIONS, Budget, Parity, budget_for, compare, judged, onnx_infer
from medseg.export.plan import build
from medseg.export.samples import Calibration, calibration, usual_samples
from medseg.export.scores import LEAST
from medseg.export.search import Lowered
from medseg.export.speed import is_faster, speed
from medseg.export.ways import Ways, given
from medseg.run import Run
from medseg.scratch import Scratch
from medseg.task import Network
from medseg.tasks import network_of

REST = "bf16"  # what floats of an int8 file are computed in, where the CPU can, it holds, and it is faster
_WIDER = (16.0, 4.0)  # times the agreement's allowance: tried first if the score decides
_USUAL_PATIENTS = {1: 4, 3: 4, 4: 0}  # by the number of output axes: a whole volume takes minutes


Tell = Callable[[str], None]


@dataclass(frozen=True)
class Begun:
    """A run with its fp32 files: every further file is made from `full`, and judged on `known` by `judges`."""

    run: Run
    network: Network
    full: onnx.ModelProto
    known: Calibration
    judges: Judges
    program: ExportedProgram | None = None  # None of a graph that was brought along


def _patients(network: Network, options: ExportOptions) -> int:
    """On how many patients files are scored. Volumes: on one if the score decides, else on none, by default."""
    if options.scored is not None:
        return options.scored
    return max(_USUAL_PATIENTS[len(network.output_shape)], options.budget == SCORE)


def export(
    run: Run, network: Network, options: ExportOptions, tell: Tell = print, beside: Sequence[Run] = ()
) -> dict[str, str]:
    """Add the wanted files to the run. Returns the files that could not be made, each with the reason.

    `beside` are runs of the task's other networks, which complete the chain. Raises ExportError if not even fp32.onnx
    can be made, or options are wrong. `tell` is called with the name of each stage when it starts.
    """
    refuse_early(options, [run])
    judges = judges_of([run], beside, options.data, _patients(network, options))[run.path]
    return _finished(_begun(run, network, options, tell, judges), options, tell)


def export_together(
    runs: Sequence[Run], options: ExportOptions, tell: Callable[[Run, str], None], beside: Sequence[Run] = ()
) -> dict[str, str]:
    """`export` of several runs that form a chain: all fp32 files are made before any other file.

    `tell` is called with the run and the name of the stage.
    """
    refuse_early(options, runs)
    networks = [network_of(run) for run in runs]
    patients = max((_patients(network, options) for network in networks), default=0)
    judges = judges_of(runs, beside, options.data, patients)
    begun = [
        _begun(run, network, options, partial(tell, run), judges[run.path])
        for run, network in zip(runs, networks, strict=True)
    ]
    failed: dict[str, str] = {}
    for one in begun:
        not_made = _finished(one, options, partial(tell, one.run))
        failed |= {str(one.run.path / name): reason for name, reason in not_made.items()}
    return failed


def _begun(run: Run, network: Network, options: ExportOptions, tell: Tell, judges: Judges) -> Begun:
    tell("trace")
    stick = yardstick(run, network, options.command)
    count = options.samples or usual_samples(network)
    known = calibration(network, stick.infer, options.data, count)
    tell(GRAPH)
    started = perf_counter()
    full = stick.graph()
    exact = stick.exact(full)
    parity = judged(network, GRAPH, _parity(network, exact, known), _budget("fp32", options))
    facts = _facts("fp32", parity, known, options, _budget("fp32", options))
    _record(run, network, exact, facts | stick.facts | _since(started))
    return Begun(run, network, full, known, judges, stick.program)


def _finished(begun: Begun, options: ExportOptions, tell: Tell) -> dict[str, str]:
    failed = {}
    for name, make in _stages(begun, options):
        tell(name)
        try:
            make()
        except (ExportError, RunError, EngineError) as error:
            failed[name] = str(error)
    return failed


def _stages(begun: Begun, options: ExportOptions) -> list[tuple[str, Callable[[], Any]]]:
    """The files after fp32.onnx in the order in which they are made, each with the function that makes it."""
    stages: list[tuple[str, Callable[[], Any]]] = []
    if options.fp16:
        stages.append(("fp16.onnx", lambda: _lowered(begun, options, "fp16")))
    stages += _engine(begun, "fp16" if options.fp16 else "fp32", options)
    if options.bf16:
        stages.append(("bf16.onnx", lambda: _bfloat(begun, options)))
    if options.int8:
        stages.append(("int8.onnx", lambda: _lowered(begun, options, "int8")))
        stages += _engine(begun, "int8", options)
    return stages


def _engine(begun: Begun, precision: str, options: ExportOptions) -> list[tuple[str, Callable[[], Any]]]:
    """The stage that builds the engine of this precision, if one is asked for."""
    gpu_build = options.gpu_build
    if gpu_build is None:
        return []
    make = partial(build, begun.run, begun.network, precision, gpu_build, options.command)
    return [(f"{precision}{gpu_build.suffix}", make)]


def _lowered(begun: Begun, options: ExportOptions, precision: str) -> None:
    """Record the file that was made with the first, widest budget with which all judges accept it."""
    if options.budget == SCORE:
        begun.judges.check(begun.network.name)  # before the long work
    lowering = _lowering(begun, options, precision)
    budget, wider = _budget(precision, options), _WIDER if options.budget == SCORE else ()
    for widest in (budget.widened(times) for times in wider):
        with suppress(ExportError):
            return _lowered_within(begun, options, lowering, widest)
    return _lowered_within(begun, options, lowering, budget)


@dataclass(frozen=True)
class _Lowering:
    """What makes a file of a precision within a budget, and what the manifest says of how."""

    precision: str
    within: Callable[[Budget], Iterable[Lowered]]  # the files to choose from, the one to prefer first
    facts: dict[str, Any]


def _lowering(begun: Begun, options: ExportOptions, precision: str) -> _Lowering:
    network, known = begun.network, begun.known
    if precision == "fp16":
        return _Lowering(precision, lambda budget: [half_within(begun.full, network, known, budget)], {})
    shown, signed_only = seen(network, options.data, known), options.gpu_build is not None
    ways = Ways(begun.full, network, known, shown, signed_only)
    if not (options.distill and options.data and begun.program):
        return _Lowering(precision, lambda budget: int8_within(ways, network, known, budget), {})
    first, taught = list(ways.signed[0].ranges.values()), pool(network, options.data, known)
    own = distilled(begun.run, network, begun.program, first, taught, options.distill)
    fitted = given(own.model, own.ranges)
    return _Lowering(precision, lambda budget: int8_within(fitted, network, known, budget), {"distilled": own.facts})


def _lowered_within(begun: Begun, options: ExportOptions, lowering: _Lowering, budget: Budget) -> None:
    """Record the first of the files within the budget that all judges accept. Raises ExportError if there is none."""
    started, refused = perf_counter(), list[ExportError]()
    for found in lowering.within(budget):
        try:
            facts = _judged_lowered(begun, options, lowering, budget, found)
        except ExportError as error:
            refused.append(error)
            continue
        _record(begun.run, begun.network, found.model, facts | _since(started))
        if "distilled" in facts:
            forget(begun.run)
        return
    raise refused[0]


def _judged_lowered(
    begun: Begun, options: ExportOptions, lowering: _Lowering, budget: Budget, found: Lowered
) -> dict[str, Any]:
    precision = lowering.precision
    facts = lowering.facts | dict(found.facts) | {"kept_fp32": dict(found.kept)}
    facts[f"share_{precision}"] = dict(found.share)
    facts |= _judged_with(begun, options, budget, precision, found.model)
    if precision == "int8":
        facts |= _with_rest(begun, options, budget, found.model, facts["speed"])
    return _facts(precision, found.parity, begun.known, options, budget) | facts


def _with_rest(
    begun: Begun, options: ExportOptions, budget: Budget, model: onnx.ModelProto, full: dict[str, Any]
) -> dict[str, Any]:
    """What floats of an int8 file are computed in, and if it is not bfloat16, why; `full` is the speed in float32."""
    try:
        if not computes_bf16():
            raise ExportError("no engine here computes in bfloat16")
        facts = _judged_with(begun, options, budget, "int8", model, REST)
        if not is_faster(facts["speed"], full):
            raise ExportError("it is no faster")
    except (ExportError, EngineError) as error:
        return {"rest": {"precision": "fp32", "because": str(error)}}
    return facts | {"rest": {"precision": REST}}


def _judged_with(
    begun: Begun, options: ExportOptions, budget: Budget, precision: str, model: onnx.ModelProto, rest: str = ""
) -> dict[str, Any]:
    """What judges say of the model if its floats are computed in `rest`. Raises ExportError if one refuses it."""
    with _written(begun, model, precision, rest) as file:
        if precision == "int8":
            judge_by_engines(begun.network, begun.known, file, budget)
        return _judged_facts(begun, precision, file, options)


def _bfloat(begun: Begun, options: ExportOptions) -> None:
    """The same graph, labelled bf16: its engine then computes in bfloat16, and is judged with these answers."""
    started = perf_counter()
    network, known = begun.network, begun.known
    if options.budget == SCORE:
        begun.judges.check(network.name)
    name = PRECISIONS["bf16"].engine
    with _written(begun, begun.full, "bf16") as file:
        engine = open_engine(name, file)
        parity = compare(network, known.references, map(engine, known.samples))
        engine.close()
        usual = _budget("bf16", options)
        budget = usual.widened(_WIDER[0]) if options.budget == SCORE else usual
        judged(network, "bf16.onnx", parity, budget)
        found = _judged_facts(begun, "bf16", file, options)
    facts = {"engine": name} | _since(started) | found
    _record(begun.run, network, begun.full, _facts("bf16", parity, known, options, budget) | facts)


@contextmanager
def _written(begun: Begun, model: onnx.ModelProto, precision: str, rest: str = "") -> Iterator[Path]:
    """The model as a temporary file, which is not recorded in the run yet."""
    label(begun.run, begun.network, model, precision, rest)
    with Scratch("export") as folder:
        file = Path(folder) / f"{precision}.onnx"
        files.write(file, model.SerializeToString())
        yield file


def _judged_facts(begun: Begun, precision: str, file: Path, options: ExportOptions) -> dict[str, Any]:
    """What the manifest says about list, score and speed. Raises ExportError if list or score miss their bound."""
    least = LEAST if options.budget == SCORE else None
    facts = begun.judges.facts(begun.network.name, precision, file, options.lost, least)
    return facts | {"speed": speed(file, begun.run.path / GRAPH, begun.known.samples[0], precision)}


def _since(started: float) -> dict[str, Any]:
    return {"seconds": round(perf_counter() - started, 1)}


def _parity(network: Network, model: onnx.ModelProto, known: Calibration) -> Parity:
    infer = onnx_infer(model)
    return compare(network, known.references, (infer(sample) for sample in known.samples))


def _budget(precision: str, options: ExportOptions) -> Budget:
    return budget_for(precision, None if precision == "fp32" else options.dice)


def _facts(
    precision: str, parity: Parity, known: Calibration, options: ExportOptions, budget: Budget
) -> dict[str, Any]:
    return {
        "precision": precision,
        "parity": parity.facts() | {"calibration": known.origin},
        "budget": asdict(budget),
        "command": options.command,
    }


def _record(run: Run, network: Network, model: onnx.ModelProto, facts: dict[str, Any]) -> None:
    save_graph(run, network, model, f"{facts['precision']}.onnx", facts)
