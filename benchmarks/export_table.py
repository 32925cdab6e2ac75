"""Writes the export table into docs/benchmarks.md: every network in every precision, and as a TensorRT-RTX engine.

    python -m benchmarks.export_table --shared ../shared --out build/export-table [--runs RUNS]

LUNA's networks have their published weights if `--shared` holds them; luna-malignancy has those of the nodule network
from which it is fine-tuned. The other networks have learnt a few of the task's samples by heart (RUNS of `by_heart.py`,
or made here), so that their logits are not close to the threshold. Each network is exported in a process of its own
with a time limit. Finished networks are not exported again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import traceback
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.by_heart import DATA, learnt
from benchmarks.by_heart import NETWORKS as PICTURES

NETWORKS = ("luna-segment", "luna-nodule", "luna-malignancy", *PICTURES)
PUBLISHED = {"luna-segment": "seg_*.state", "luna-nodule": "cls_*.state", "luna-malignancy": "cls_*.state"}
SAMPLES = {"stas": 2, "brain-lgg": 6}
FILES = ("fp32.onnx", "fp16.onnx", "bf16.onnx", "int8.onnx", "fp16.sm89.rtx")
START, END = "<!-- export table: start -->", "<!-- export table: end -->"


def main() -> None:
    """Export what is missing, print the table, and put it into the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, default=Path("build/export-table"))
    parser.add_argument("--runs", type=Path, help="what by_heart.py kept")
    parser.add_argument("--document", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--minutes", type=float, default=12, help="the most that one network may take")
    parser.add_argument("--only", nargs="*", default=list(NETWORKS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        result = options.out / f"{name.replace(' ', '-')}.json"
        if not result.is_file():
            bounded((name, options.shared, options.runs, result), options.minutes * 60)
    rows = [row for name in NETWORKS for row in lines(name, options.out / f"{name.replace(' ', '-')}.json")]
    table = "\n".join([*HEAD, *rows])
    print(table)
    put(options.document, table)


def bounded(asked: tuple[str, Path, Path | None, Path], seconds: float) -> None:
    """Export one network in a process of its own, which is stopped if it takes too long."""
    name, *_, result = asked
    print(name, file=sys.stderr, flush=True)
    process = multiprocessing.get_context("spawn").Process(target=exported, args=asked)
    process.start()
    process.join(seconds)
    reason = f"not finished in {seconds / 60:.0f} minutes"
    if process.is_alive():
        process.terminate()
        process.join()
    elif process.exitcode:
        reason = f"ended with code {process.exitcode}, as for want of memory"
    if not result.is_file():
        result.write_text(json.dumps(unfinished(result.with_suffix(""), reason), indent=1))


def unfinished(folder: Path, reason: str) -> dict[str, Any]:
    """The files of a run whose export was stopped; the other files are not finished."""
    manifest = folder / "manifest.json"
    found = json.loads(manifest.read_text()) if manifest.is_file() else {}
    facts = {name: found.get(name, {}) for name in ("source", "files")}
    return facts | {"failed": {"all": reason}}


def exported(name: str, shared: Path, runs: Path | None, result: Path) -> None:
    """Export one network and write the result: recorded files with their facts, and reasons for the others."""
    from medseg.errors import MedsegError
    from medseg.export.chain import export
    from medseg.export.options import ExportOptions
    from medseg.export.plan import GpuBuild
    from medseg.tasks import network_named, task_of

    network = network_named(name.split()[0])
    task = task_of(network)
    data = shared / "data" / DATA[task]
    folder = result.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    target = GpuBuild("tensorrt-rtx", "sm89", (1, 1, 4) if task == "stas" else (1, 4, 8))
    wanted = ExportOptions(True, True, data if data.is_dir() else None, None, SAMPLES.get(task), True, target)
    run = None
    try:
        run = made(name, shared, runs, folder)
        failed = export(run, network, wanted, lambda stage: print("  ", stage, file=sys.stderr, flush=True))
    except MedsegError as error:
        failed = {"all": str(error)}
    except Exception:
        failed = {"all": traceback.format_exc().strip().splitlines()[-1]}
    parameters = run.manifest.get("parameters") if run else None
    source = run.manifest["source"] if run else {}
    facts = {"parameters": parameters, "source": source, "files": run.files if run else {}, "failed": failed}
    result.write_text(json.dumps(facts, indent=1))


def made(name: str, shared: Path, runs: Path | None, folder: Path) -> Any:
    """The run to export: with published weights if there are any, else with learnt or random weights."""
    import torch

    from medseg.run import Run
    from medseg.tasks import network_named
    from medseg.train.weights import import_weights, save_weights

    network = network_named(name.split()[0])
    if found := sorted((shared / "weights" / "luna").glob(PUBLISHED.get(name, "none"))):
        return import_weights(network, found[0], folder, {})
    if runs and (kept := runs / name.replace(" ", "-")).is_dir():
        shutil.copytree(kept, folder)
        return Run(folder)
    if name in PICTURES:
        return learnt(name, shared, folder)
    torch.manual_seed(0)
    run = Run.create(folder, network.name, dict(network.options), {"kind": "random", "seed": 0})
    save_weights(run, network.build(**network.options))
    return run


HEAD = (
    "| network | weights | file | MB | seconds | share low | Dice | flipped voxels | probability error | kept FP32 |",
    "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
)


def lines(name: str, result: Path) -> list[str]:
    """One network's lines of the table: one for each file, or the reason why it is missing."""
    if not result.is_file():
        return [f"| {name} | | not run | | | | | | | |"]
    found = json.loads(result.read_text())
    weights = {"import": "published", "random": "random", "by heart": "by heart"}.get(
        found.get("source", {}).get("kind"), ""
    )
    rows = []
    for file in FILES:
        facts = found["files"].get(file)
        rows.append(f"| {name} | {weights} | {file} | {_cells(facts) if facts else _reason(file, found['failed'])} |")
    return rows


def _cells(facts: dict[str, Any]) -> str:
    share = facts.get("share_fp16") or facts.get("share_int8")
    low = f"{share['weight_bytes']:.0%}" if share else ""
    cells = [f"{facts['bytes'] / 1e6:.1f}", f"{facts.get('seconds', '')}", low]
    if parity := facts.get("parity"):
        cells += [f"{parity['dice']:.5f}", f"{parity['flipped']} of {parity['voxels']}"]
        cells += [f"{parity['probability_error']:.4f}", str(len(facts.get("kept_fp32", ())))]
    else:
        cells += ["as fp16.onnx, needs the GPU", "", "", ""]
    return " | ".join(cells)


def _reason(file: str, failed: dict[str, str]) -> str:
    reason = failed.get(file) or failed.get(f"fp16{Path(file).suffix}") or failed.get("all") or "not made"
    if " has no file with precision " in reason:
        reason = f"needs a {Path(file).stem.split('.')[0]}.onnx"
    return f"| | | {reason.replace('|', '/')} | | |"


def put(document: Path, table: str) -> None:
    """Replace the document's section between the marks, or add it at the end."""
    head = (
        f"Measured {date.today().isoformat()} on a 2-core x86-64 with AVX-512, no GPU: "
        "`python -m benchmarks.export_table --shared ../shared`. Seconds are wall-clock on a busy machine; the "
        "trace of the network is not counted for fp32.onnx. Weights: `published` are the authors' (for "
        "luna-malignancy those of the nodule network, from which it is fine-tuned). `by heart` means that the "
        "network was made to overfit a few of the samples on which it is judged, until its Dice was over 0.955 (STAS's "
        "at 320 x 320, the others on crops; `python -m benchmarks.by_heart`), "
        "so its masks have a margin, although a small one. `random` means not trained: this shows that the files can "
        "be made, but says little about their masks."
    )
    section = f"{START}\n{head}\n\n{table}\n{END}"
    text = document.read_text() if document.is_file() else "# Benchmarks\n"
    if START in text:
        text = text[: text.index(START)] + section + text[text.index(END) + len(END) :]
    else:
        text += f"\n## Export: every network in every precision\n\n{section}\n"
    document.write_text(text)


if __name__ == "__main__":
    main()
