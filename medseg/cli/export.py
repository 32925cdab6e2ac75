"""`medseg export`: a run's network as ONNX in several precisions and as TensorRT engines, all compared with torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli import words
from medseg.cli.groups import grouped
from medseg.cli.options import JsonOption, RunArguments
from medseg.cli.words import each
from medseg.errors import ExportError, InputError
from medseg.run import Run

if TYPE_CHECKING:
    from medseg.export.distill import Distill
    from medseg.export.options import ExportOptions
    from medseg.export.plan import GpuBuild


@dataclass(frozen=True)
class Made:
    """Which files are made."""

    fp16: Annotated[bool, typer.Option("--fp16", help="Also float16, within a Dice of 0.999 to torch's masks.")] = False
    int8: Annotated[bool, typer.Option("--int8", help="Also int8, within a Dice of 0.99. Needs --calibration.")] = False
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Also bfloat16 for OpenVINO on CPUs that have it, within a Dice of 0.995.")
    ] = False
    distill: Annotated[
        bool,
        typer.Option("--distill", help="Before int8, fit a copy of the network to int8's rounding. Needs no labels."),
    ] = False
    minutes: Annotated[float | None, typer.Option(min=0, help="How long --distill fits at most.  [default: 10]")] = None
    steps: Annotated[
        int | None, typer.Option(min=1, help="After how many steps --distill ends, where the minutes allow it.")
    ] = None

    @property
    def distilling(self) -> Distill | None:
        """How a network is fitted before int8, None where it is not. Raises InputError where only bounds are given."""
        if not self.distill and (self.minutes is not None or self.steps is not None):
            raise InputError("--minutes and --steps are bounds of --distill; expected --distill with them: add it")
        if not self.distill:
            return None
        from medseg.export.distill import Distill

        return Distill(steps=self.steps) if self.minutes is None else Distill(self.minutes, self.steps)


@dataclass(frozen=True)
class Built:
    """For which engine, and how."""

    engine: Annotated[
        str, typer.Option(help="onnx (which openvino and onnxruntime open too), tensorrt or tensorrt-rtx.")
    ] = "onnx"
    gpu: Annotated[
        str, typer.Option(help="For tensorrt-rtx: sm75, sm80, sm86, sm89 or sm120; not sm90 (H100). Needs no GPU.")
    ] = ""
    batch: Annotated[str, typer.Option(help="The engine's batches: smallest:tuned:largest.")] = "1:4:8"
    workspace: Annotated[int | None, typer.Option(min=1, help="The engine's workspace limit in MiB.")] = None
    tf32: Annotated[
        bool,
        typer.Option(
            "--tf32", help="Build the engine of fp32.onnx so that it computes in TF32; its precision is then tf32."
        ),
    ] = False

    @property
    def gpu_build(self) -> GpuBuild | None:
        """The engine to build, or None where ONNX files are enough. Raises InputError where it cannot be built."""
        from medseg.engines import ENGINES
        from medseg.export.plan import GpuBuild

        built = [name for name, kind in ENGINES.items() if kind.builds]
        if self.engine == "onnx" or (self.engine in ENGINES and self.engine not in built):
            return None
        if self.engine not in built:
            raise InputError(f"engine {self.engine!r} is unknown; expected onnx, or {' or '.join(built)} to build one")
        try:
            smallest, tuned, largest = sorted(int(part) for part in self.batch.split(":"))
        except ValueError as error:
            raise InputError(f"--batch {self.batch!r} is not smallest:tuned:largest, such as 1:4:8") from error
        if smallest < 1:
            raise InputError(f"--batch {self.batch!r} starts below 1; expected smallest:tuned:largest, such as 1:4:8")
        return GpuBuild(self.engine, self.gpu, (smallest, tuned, largest), self.workspace, self.tf32)


@dataclass(frozen=True)
class Judged:
    """How files are judged."""

    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="The task's data: real samples to judge on. Without it, samples are made up.",
            callback=each(words.there),
        ),
    ] = None
    dice: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="One Dice bound for all precisions, instead of each precision's own."),
    ] = None
    samples: Annotated[int | None, typer.Option(min=1, help="How many samples to judge on.")] = None
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="A run of another network of the task, needed to judge the list; it is not exported.",
            callback=each(words.known_run),
            autocompletion=words.runs,
        ),
    ] = None
    budget: Annotated[
        str,
        typer.Option(
            help="What decides on a lower precision: agreement (with torch), or score (at least 99 % of fp32's).",
        ),
    ] = "agreement"
    scored: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="On how many patients of DATA the score is measured beside fp32's.  [default: 4; of volumes 0]",
        ),
    ] = None
    lost: Annotated[
        int, typer.Option(min=0, help="How many findings (such as nodules) that fp32 lists a file may lose.")
    ] = 0


@grouped
def export(
    runs: RunArguments,
    made: Made,
    judged: Judged,
    built: Built,
    report: Annotated[
        bool,
        typer.Option("--report", help="Also report Dice, lesions and milliseconds of every file on the same samples."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Export runs to ONNX; compare each file with PyTorch before it is recorded.

    Give all runs of a task at once, or add the others with --beside: the list in an answer can only be
    judged with all of them.

    Example: medseg export runs/luna-segment --fp16 --calibration DATA --engine tensorrt-rtx --gpu sm89
    """
    import json as text
    import shlex

    from medseg.tasks import network_of

    opened = [Run(path) for path in runs]
    beside = [Run(path) for path in judged.beside or ()]
    for run in (*opened, *beside):
        network_of(run)
    from medseg.export.chain import export_together  # torch comes with it
    from medseg.export.options import ExportOptions

    command = shlex.join(["medseg", *sys.argv[1:]])
    options = ExportOptions(
        fp16=made.fp16,
        int8=made.int8,
        bf16=made.bf16,
        data=judged.calibration,
        dice=judged.dice,
        samples=judged.samples,
        gpu_build=built.gpu_build,
        command=command,
        lost=judged.lost,
        budget=judged.budget,
        scored=judged.scored,
        distill=made.distilling,
    )
    failed = export_together(opened, options, _progress(), beside)
    typer.echo(text.dumps({str(run.path): run.files for run in opened}) if json else _table(opened))
    for run in opened if report else ():
        _report(run, options)
    if failed:
        raise ExportError("; ".join(failed.values()))


def _report(run: Run, options: ExportOptions) -> None:
    """Write the run's waterfall beside its files; told on stderr, so that --json stays one document."""
    from medseg.export.samples import drawn, usual_samples
    from medseg.export.waterfall import markdown, waterfall, write
    from medseg.tasks import network_of

    network = network_of(run)
    samples = drawn(network, options.data, options.samples or usual_samples(network))
    stages = waterfall(run, network, samples)
    write(stages, run.path, samples.origin)
    typer.echo(markdown(stages), err=True)


def _progress() -> Callable[[Run, str], None]:
    started = perf_counter()

    def tell(run: Run, stage: str) -> None:
        if sys.stderr.isatty():
            typer.echo(f"{run.path} {perf_counter() - started:5.1f} s  {stage}", err=True)

    return tell


def _table(runs: list[Run]) -> str:
    """One line for each recorded file with its parity."""
    lines = []
    for run in runs:
        for name, facts in run.files.items():
            parity = facts.get("parity")
            words = f"Dice {parity['dice']:.5f}, {parity['flipped']} flipped of {parity['voxels']}" if parity else ""
            said = [say(facts[about]) for about, say in _WORDS.items() if about in facts]
            size = f"{facts['bytes'] / 1e6:.1f} MB"
            lines.append(f"{run.path / name}  {size}  {'; '.join(filter(None, [words, *said]))}".rstrip())
    return "\n".join(lines)


def _list_in_words(facts: dict[str, Any]) -> str:
    if not facts["judged"]:
        return f"list not judged, because {facts['because']}: give the task's other runs too"
    return f"of {facts['listed']} listed {facts['lost']} lost, {facts['gained']} gained, on {facts['scans']}"


def _score_in_words(facts: dict[str, Any]) -> str:
    if not facts["judged"]:
        return f"score not taken: {facts['because']}"
    share = f"{facts['share']:.2%} of fp32's {facts['score']} of {facts['fp32']:.4f}"
    held = "fails 99 %" if facts["verdict"] == "fails" else f"holds {facts['verdict']}"
    change = facts["change"]
    band = f", change {change['low']:+.4f} to {change['high']:+.4f}" if change and change["low"] is not None else ""
    return f"{share} ({held}{band})"


def _speed_in_words(facts: dict[str, Any]) -> str:
    if not facts["measured"]:
        return f"speed not measured: {facts['because']}"
    times = f"{facts['times']:.2f} times as fast as fp32 in {facts['engine']}"
    return times if facts["faster"] else f"no faster here: {times}"


def _distilled_in_words(facts: dict[str, Any]) -> str:
    held_out = f" (Dice held out: {facts['before']:.4f} before, {facts['after']:.4f} after)"
    return f"distilled in {facts['steps']} steps{held_out if facts['measure'] == 'dice' else ''}"


def _rest_in_words(facts: dict[str, Any]) -> str:
    return "what stays float is computed in bfloat16, on a CPU that can" if facts["precision"] == "bf16" else ""


_WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "distilled": _distilled_in_words,
    "list": _list_in_words,
    "score": _score_in_words,
    "speed": _speed_in_words,
    "rest": _rest_in_words,
}
