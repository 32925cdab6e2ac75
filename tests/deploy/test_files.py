"""What compose.yaml and the Dockerfile say, held against the files there are, docker-compose itself and uv.lock."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("yaml")
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
needs_compose = pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose")


def _compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_compose_mounts_files_that_exist_and_keeps_the_server_inside() -> None:
    compose = _compose()
    made_elsewhere = {"./models", "./secrets", "front-made"}
    for service in compose["services"].values():
        sources = {volume.split(":")[0] for volume in service["volumes"]} - made_elsewhere
        assert all((DEPLOY / source).is_file() for source in sources)
    for name in ("triton-cpu", "triton-gpu"):
        triton = compose["services"][name]
        assert "ports" not in triton and triton["read_only"] and triton["user"] == "1000:1000"
        assert all(volume.endswith(":ro") for volume in triton["volumes"])


def test_every_image_has_a_tag_and_every_service_is_confined() -> None:
    compose = _compose()
    for name, service in compose["services"].items():
        assert re.search(r":(v?\d+\.\d+\.\d+|\$\{TRITON_TAG\S*.*\})$", service["image"]), name
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    front = compose["services"]["front"]
    assert front["read_only"] and front["user"] == "101:101"


def test_the_image_has_the_locked_versions(tmp_path: Path) -> None:
    """What the Dockerfile asks uv for, asked here."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    assert not re.findall(r"^(?:CMD|.* CMD) +[^\[\s]", text, re.MULTILINE)  # no shell between Docker and the program
    embedded, nvidias = re.findall(r"uv (export [^&]*?) +--output-file", text)
    assert text.count("--require-hashes") == 2
    asked = [(nvidias.replace("${EXTRAS}", extras), bool(extras)) for extras in ("", "--extra torch")]
    asked += [(embedded.replace("${ENGINE}", engine), False) for engine in ("openvino", "onnxruntime")]
    for words, torch in asked:
        command = [sys.executable, "-m", "uv", *words.split(), "--offline"]
        done = subprocess.run(command, cwd=DEPLOY.parent, capture_output=True, text=True)
        if "No module named uv" in done.stderr:
            pytest.skip("needs uv")
        assert done.returncode == 0, done.stderr
        assert "--hash=sha256:" in done.stdout and ("torch==" in done.stdout) == torch


@needs_compose
@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_compose_itself_reads_the_file(profile: str, tmp_path: Path) -> None:
    command = ["docker-compose", "-f", str(DEPLOY / "compose.yaml"), "--profile", profile, "config", "--services"]
    done = subprocess.run(command, env={"TRITON_TAG": "25.01", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {f"triton-{profile}", "front", "prometheus"} <= set(done.stdout.split())
