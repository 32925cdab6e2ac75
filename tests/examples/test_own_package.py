"""A task of another package, in an environment of wheels, through every command; examples/ holds that package."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.cli.new_task import package_files
from medseg.run import Run
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/cells"
LONGEST = 200  # lines of the package's code, without blank ones


def test_the_example_is_what_new_task_writes() -> None:
    written = package_files("cells")
    there = [path for path in EXAMPLE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.relative_to(EXAMPLE) for path in there} == set(written)
    for path, text in written.items():
        assert (EXAMPLE / path).read_text() == text, f"{path}: medseg new-task cells --out examples/cells"
    lines = [line for path, text in written.items() if path.suffix == ".py" for line in text.splitlines()]
    assert len([line for line in lines if line.strip()]) < LONGEST


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with medseg and the package as wheels; what they need comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("fresh")
    uv = str(Path(sys.executable).parent / "uv")
    for source in (ROOT, EXAMPLE):
        built = subprocess.run([uv, "build", "-q", "--wheel", "-o", folder, source], capture_output=True, text=True)
        if built.returncode and "fetch" in built.stderr:
            pytest.skip("a wheel's build backend comes from a package index, which is not reachable")
        assert built.returncode == 0, built.stderr
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    python = folder / "env/bin/python"
    (site,) = (folder / "env/lib").glob("python*/site-packages")
    (rest,) = (path for path in map(Path, sys.path) if path.name == "site-packages" and path.is_relative_to(sys.prefix))
    (site / "zz_rest.pth").write_text(f"{rest}\n")
    wheels = sorted(folder.glob("*.whl"))
    subprocess.run([uv, "pip", "install", "-q", "--no-deps", "--python", python, *wheels], check=True)
    return folder


@pytest.fixture(scope="module")
def medseg(environment: Path):
    """Runs a command there, far from the checkout; gives what it printed."""

    def run(*words: str | Path, code: int = 0) -> str:
        command = [environment / "env/bin/medseg", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=environment, env=_variables(environment))
        assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    return run


def _variables(environment: Path) -> dict[str, str]:
    path = f"{environment / 'env/bin'}{os.pathsep}{os.environ['PATH']}"
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PATH": path}


@pytest.fixture(scope="module")
def run(medseg, environment: Path) -> Path:
    """A run of the package's network: fitted, exported in three precisions, judged on the package's own data."""
    medseg("data", "phantom", "cells", "--out", "data", "--patients", "8")
    assert json.loads(medseg("data", "check", "cells", "data", "--json"))["patients"] == 8
    fit = ["--epochs", "6", "--samples-per-epoch", "24", "--features", "4", "--loader", "dali"]
    medseg("train", "cells", "data", "--out", "run", *fit)
    medseg("export", "run", "--fp16", "--int8", "--calibration", "data")
    medseg("verify", "run")
    return environment / "run"


@pytest.mark.slow
def test_it_is_medsegs_wheel_and_not_the_checkout(medseg, environment: Path) -> None:
    code = "import medseg, cells; print(medseg.__file__, cells.__file__)"
    python = environment / "env/bin/python"
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=environment).stdout
    assert all(Path(path).is_relative_to(environment) for path in told.split())
    assert "cells: bright discs in pictures" in medseg("info")


@pytest.mark.slow
def test_it_is_fitted_imported_exported_and_judged(medseg, run: Path, environment: Path) -> None:
    files = Run(run).files
    assert {"weights.pt", "fp32.onnx", "fp16.onnx", "int8.onnx"} <= set(files)
    assert all(files[name]["parity"]["dice"] >= bound for name, bound in (("fp16.onnx", 0.999), ("int8.onnx", 0.99)))
    medseg("import", "cells", run / "weights.pt", "--out", "imported", "--features", "4")
    assert Run(environment / "imported").network == "cells"
    told = json.loads(medseg("evaluate", "cells", "data", "--run", run, "--out", "report", "--json"))
    assert len(told["patients"]) == 2  # a quarter was held out
    assert (environment / "report/cases.csv").read_text().startswith("case,dice,iou")
    assert len(list((environment / "report/worst").glob("*.png"))) == 2


@pytest.mark.slow
def test_it_is_asked_here_and_of_a_server_with_its_own_option(medseg, run: Path, environment: Path) -> None:
    medseg("predict", "cells", "data/pictures", "--run", run, "--out", "here", "--threshold", "0.4")
    with _served(environment, run) as url:
        medseg("predict", "cells", "data/pictures", "--url", url, "--out", "there", "--threshold", "0.4")
    answers = sorted(path.name for path in (environment / "here").glob("*_mask.png"))
    assert len(answers) == 8
    for name in answers:
        here, there = (np.asarray(Image.open(environment / folder / name)) for folder in ("here", "there"))
        assert np.count_nonzero(here != there) <= 2, "DALI rounds otherwise"
    refused = medseg("predict", "cells", "data/pictures", "--run", run, "--out", "x", "--threshold", "2", code=1)
    assert "--threshold" in refused and refused.count("\n") == 1


@contextmanager
def _served(environment: Path, run: Path) -> Iterator[str]:
    words = ["serve", "cells", "--run", run, "--http-port", "18731", "--grpc-port", "18732", "--metrics-port", "18733"]
    command = [environment / "env/bin/medseg", *words]
    server = subprocess.Popen(command, cwd=environment, env=_variables(environment), stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.search(r"http://[\d.:]+", line)
        assert found, (line, (environment / "triton.log").read_text()[-2000:])
        yield found[0]
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(PATIENCE_S)


@pytest.mark.slow
def test_its_repositories_are_written_for_every_target(medseg, run: Path, environment: Path) -> None:
    facts = {
        "precision": "fp32",
        "engine": "tensorrt",
        "gpu": "sm89",
        "version": "11",
        "target": {"batches": (1, 4, 8)},
    }
    shutil.copytree(run, environment / "planned")
    with Run(environment / "planned").adding(
        "fp32.plan", facts
    ) as plan:  # a stand-in: it is copied, and opened by a GPU's server alone
        plan.write_bytes(b"plan")
    for target in ("embedded", "cpu", "gpu"):
        medseg("serve", "cells", "--run", "planned", "--write-only", f"models-{target}", "--target", target)
        config = (environment / f"models-{target}/cells-decode-step/config.pbtxt").read_text()
        assert ("dali" in config) and ("KIND_GPU" in config) == (target == "gpu")
    assert (environment / "models-gpu/cells-decode-step/1/model.dali").is_file()


@pytest.mark.slow
def test_it_is_measured(medseg, run: Path, environment: Path) -> None:
    words = ["--out", "bench", "--quick", "--cases", "2", "--engine", "openvino"]
    medseg("bench", "cells", "data", "--run", run, *words, "--precision", "fp32", "--precision", "int8")
    record = json.loads((environment / "bench/bench.json").read_text())
    assert record["task"] == "cells"
    assert len(record["targets"]) == 4
    assert "dice" in (environment / "bench/report.md").read_text()
