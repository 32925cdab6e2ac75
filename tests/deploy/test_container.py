"""The image of deploy/Dockerfile that needs no GPU: built and run for real, as deploy/try.sh does it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.run import Run

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROMISES = (
    r"the image has \d+ MB",
    "healthy, as user 1000 on a root that says: Read-only file system",
    r"a CT is answered: .*\.csv",
    r"a killed step is back after [\d.]+ s, and the answer is the same",
    r"it took at most \d+ MiB of 3g",
    "stopped: what was asked before is answered, and it ended with code 0",
)


def _text(name: str) -> str:
    return (DEPLOY / name).read_text()


COMPOSED = (
    "the Dockerfile's image is built on a stand-in for NVIDIA's",
    r"a picture is answered through the front: .*\.png",
    r"a killed step is back after [\d.]+ s",
    "Prometheus counts the answers",
    "stopped, with code 0",
)


def _lacks(*more: str) -> str:
    """What is missing to run containers here, in words; "" where nothing is."""
    for program in ("podman", "mmdebstrap", "openssl", "slirp4netns", *more):
        if shutil.which(program) is None:
            return f"needs {program}"
    return "" if os.geteuid() == 0 else "needs root, to make a base image"


@pytest.mark.long  # minutes: an image is built from nothing
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(_lacks()), reason=_lacks() or "can")
def test_the_image_does_what_it_promises(luna_runs: list[Run], tmp_path: Path) -> None:
    medseg = tmp_path / "medseg"
    medseg.write_text(f'#!/bin/sh\nexec {sys.executable} -m medseg "$@"\n')
    medseg.chmod(0o755)
    for run in luna_runs[:2]:
        shutil.copytree(run.path, tmp_path / run.path.name)
    environment = os.environ | {"MEDSEG": str(medseg), "BACK_S": "120"}  # a busy machine takes what it takes
    runs = [str(tmp_path / run.path.name) for run in luna_runs[:2]]
    done = subprocess.run(["bash", DEPLOY / "try.sh", *runs], env=environment, capture_output=True, text=True)
    if "Operation not permitted" in done.stderr:
        pytest.skip("containers may not run here")
    assert done.returncode == 0, done.stderr
    for promise in PROMISES:
        assert re.search(f"^try: {promise}", done.stdout, re.MULTILINE), (promise, done.stdout)


@pytest.mark.long  # minutes: images are built from nothing
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(_lacks("docker-compose", "iptables")), reason=_lacks("docker-compose", "iptables") or "can")
def test_compose_starts_server_front_and_prometheus() -> None:
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(DEPLOY.parent)}
    done = subprocess.run(["bash", DEPLOY / "try_compose.sh"], env=environment, capture_output=True, text=True)
    if "Operation not permitted" in done.stderr:
        pytest.skip("containers may not run here")
    assert done.returncode == 0, done.stderr
    for promise in COMPOSED:
        assert re.search(f"^try: {promise}", done.stdout, re.MULTILINE), (promise, done.stdout)


def test_the_embedded_image_comes_first_and_takes_what_is_locked() -> None:
    text = _text("Dockerfile").replace("\\\n", " ")
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?", text, re.MULTILINE)
    assert [name for _, name in stages] == ["embedded", ""]  # a builder that builds all stages before it builds none
    embedded = text[: text.index("FROM nvcr.io")]
    assert "--require-hashes" in embedded and "medseg server install" in embedded
    assert "USER 1000:1000" in embedded and "torch" not in embedded.lower().replace("pytorch", "")
    ignored = (DEPLOY.parent / ".dockerignore").read_text().splitlines()
    copied = {word for words in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for word in words.split()}
    assert ignored[0] == "*" and copied <= {line[1:] for line in ignored if line.startswith("!")}


@pytest.mark.parametrize(("name", "words"), [("try.sh", []), ("try_compose.sh", ["what"])])
def test_the_scripts_are_sound_bash_and_say_how_they_are_called(name: str, words: list[str]) -> None:
    for script in (name, "store.sh"):
        assert subprocess.run(["bash", "-n", DEPLOY / script]).returncode == 0
    lines = _text(name).splitlines()
    assert lines.index("source deploy/store.sh") < lines.index("trap clean EXIT"), "it would empty the user's store"
    done = subprocess.run(["bash", DEPLOY / name, *words], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(f"usage: deploy/{name}")
