"""Test and measure medseg on an NVIDIA GPU, tier by tier; each result is written as JSON as soon as it is known.

    python -m benchmarks.gpu [--out build/gpu] [--shared ../shared] [--only TIER ...]
    python -m benchmarks.gpu --rehearse [--out FOLDER]
    python -m benchmarks.gpu pack --out FOLDER [--part-mib 60] [--only GROUP ...]
    python -m benchmarks.gpu unpack PARTS --to FOLDER
    python -m benchmarks.gpu tables RESULTS

Without a GPU it says what is missing; --rehearse runs every tier at its smallest size on the CPU. For a machine without
network, `pack` gathers what it lacks, in parts that are small enough to be copied there, and `unpack` unpacks them
there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.gpu import page
from benchmarks.gpu.carried import pack_groups, unpack_all
from benchmarks.gpu.carried.groups import GROUPS
from benchmarks.gpu.setting import Setting, missing
from benchmarks.gpu.tiers import TIERS, chosen, run_all
from medseg.engines.gpu import cuda_version, driver_version, gpu_name
from medseg.errors import MedsegError


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; returns 0 if all of it was done, else 1."""
    given = list(sys.argv[1:] if words is None else words)
    commands: dict[str, Callable[[argparse.Namespace], int]] = {"pack": _pack, "unpack": _unpack, "tables": _tables}
    name = given[0] if given and given[0] in commands else ""
    try:
        return commands.get(name, _run)(_options(name).parse_args(given[bool(name) :]))
    except MedsegError as error:
        print(error, file=sys.stderr)
        return 1


def _run(asked: argparse.Namespace) -> int:
    """Run the tiers; on a GPU, write their tables into docs/gpu.md too."""
    if not asked.rehearse and (reason := missing()):
        print(reason, file=sys.stderr)
        return 1
    if asked.rehearse:  # waiting threads sleep; otherwise they would take most of a busy machine's time
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    shared = asked.shared.resolve() if asked.shared.is_dir() and not asked.rehearse else None
    setting = Setting(out, (asked.work or out / "work").resolve(), asked.rehearse, shared, asked.runs, asked.python8)
    where = "the CPU, at the smallest size" if asked.rehearse else f"{gpu_name()}, driver {driver_version() or '?'}"
    print(f"on {where}, CUDA up to {cuda_version() or 'none'}; results in {out}", file=sys.stderr)
    results = run_all(setting, chosen(asked.only))
    if not asked.rehearse:
        page.put(page.results_in(out))
    bad = [result.tier for result in results if result.state != "done"]
    bad += [f"{result.tier} ({item.name})" for result in results for item in result.items if item.problem]
    print(f"not whole: {', '.join(bad)}" if bad else "every tier is whole", file=sys.stderr)
    return 1 if bad else 0


def _pack(asked: argparse.Namespace) -> int:
    """Gather groups into parts."""
    pack_groups(asked.out, asked.only, asked.part_mib << 20, asked.shared, asked.runs)
    return 0


def _unpack(asked: argparse.Namespace) -> int:
    """Unpack the parts, and tell this Python where their packages are."""
    unpack_all(asked.parts, asked.to)
    return 0


def _tables(asked: argparse.Namespace) -> int:
    """Write the tables of results from another machine into docs/gpu.md."""
    page.put(page.results_in(asked.results))
    return 0


def _options(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    {"pack": _for_packing, "unpack": _for_unpacking, "tables": _for_tables}.get(name, _for_running)(parser)
    return parser


def _for_running(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, at the smallest size")
    parser.add_argument("--out", type=Path, default=Path("build/gpu"))
    parser.add_argument("--work", type=Path, help="where runs and engines lie; usually OUT/work")
    parser.add_argument(
        "--shared", type=Path, default=Path("../shared"), help="real data and weights, if they are there"
    )
    parser.add_argument("--runs", type=Path, help="fitted runs by name, as benchmarks/by_heart.py keeps them")
    parser.add_argument("--python8", type=Path, help="a Python that has TensorRT 8")
    parser.add_argument("--only", nargs="*", choices=[tier.name for tier in TIERS])


def _for_packing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part-mib", type=int, default=60)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--runs", type=Path, help="fitted runs to carry along")
    parser.add_argument("--only", nargs="*", choices=list(GROUPS), default=list(GROUPS))


def _for_unpacking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("parts", type=Path)
    parser.add_argument("--to", type=Path, required=True)


def _for_tables(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, help="the folder with the tiers' JSON files")


if __name__ == "__main__":
    sys.exit(main())
