"""Cohorts elsewhere: Ray's and Kubernetes' files are what their owners take, and a Slurm array is run for real."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.cohort.ledger import read_ledger
from medseg.tasks import task_named
from tests.bench.runs import bright_run
from tests.patience import PATIENCE_S
from tests.slurm import slurm

DEPLOY = Path(__file__).parents[2] / "deploy"


def _fields(*needed: str, **types: Any) -> dict[str, Any]:
    """The JSON schema of an object with these fields and no others; a word is a type."""
    told = {name: {"type": one} if isinstance(one, str) else one for name, one in types.items()}
    return {"type": "object", "required": list(needed), "properties": told, "additionalProperties": False}


# What KubeRay's RayJob v1 takes, from the types of its operator (ray-operator/apis/ray/v1); pods are Kubernetes' own.
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
POD = {"template": "object", "rayStartParams": TEXTS}
HEAD = _fields("template", **POD, serviceType="string", headService="object", enableIngress="boolean")
WORKERS = _fields(
    *("groupName", "minReplicas", "maxReplicas", "template"),
    **POD,
    **dict.fromkeys(("replicas", "minReplicas", "maxReplicas", "numOfHosts", "idleTimeoutSeconds"), "integer"),
    **{"groupName": "string", "scaleStrategy": "object", "suspend": "boolean"},
)
CLUSTER = _fields(
    "headGroupSpec",
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": WORKERS},
    enableInTreeAutoscaling="boolean",
    autoscalerOptions="object",
    headServiceAnnotations=TEXTS,
    rayVersion="string",
    suspend="boolean",
)
RAY_JOB = _fields(
    **dict.fromkeys(("entrypoint", "runtimeEnvYAML", "jobId", "submissionMode", "entrypointResources"), "string"),
    **dict.fromkeys(("activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"), "integer"),
    **dict.fromkeys(("entrypointNumCpus", "entrypointNumGpus"), "number"),
    **dict.fromkeys(("submitterPodTemplate", "submitterConfig", "deletionStrategy"), "object"),
    **dict.fromkeys(("shutdownAfterJobFinishes", "suspend"), "boolean"),
    **{"rayClusterSpec": CLUSTER, "metadata": TEXTS, "clusterSelector": TEXTS, "managedBy": "string"},
)


def test_the_cluster_file_is_one_that_ray_takes() -> None:
    ray, jsonschema = pytest.importorskip("ray"), pytest.importorskip("jsonschema")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load((DEPLOY / "ray/cluster.yaml").read_text()), schema)


def test_the_ray_job_asks_each_pod_for_what_it_may_use_and_gives_a_command_that_there_is() -> None:
    job = yaml.safe_load((DEPLOY / "ray/rayjob.yaml").read_text())
    spec = job["spec"]["rayClusterSpec"]
    pods = [spec["headGroupSpec"]["template"], *(one["template"] for one in spec["workerGroupSpecs"])]
    for pod in pods:
        (container,) = pod["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["spec"]["volumes"]}
    _check_kuberay(job, pods)
    words = [word for word in job["spec"]["entrypoint"].split() if word.startswith("--")]
    said = subprocess.run([sys.executable, "-m", "medseg", "batch", "luna", "--help"], capture_output=True, text=True)
    assert words and all(word in said.stdout for word in words)


def _check_kuberay(job: dict[str, Any], pods: list[dict[str, Any]]) -> None:
    """The job's own fields are KubeRay's, its pods Kubernetes'."""
    jsonschema, schemas = pytest.importorskip("jsonschema"), pytest.importorskip("kubernetes_validate")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob") and job.keys() == {
        "apiVersion",
        "kind",
        "metadata",
        "spec",
    }
    jsonschema.validate(job["spec"], RAY_JOB)
    for pod in pods:
        whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": pod}
        schemas.validate(whole, schemas.latest_version(), strict=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"entrypoints": "medseg"},
        {"backoffLimit": "3"},
        {"rayClusterSpec": {"headGroupSpec": {"template": {}, "rayStartParams": {"num-cpus": 0}}}},
        {"rayClusterSpec": {"workerGroupSpecs": []}},
    ],
)
def test_a_field_that_kuberay_does_not_take_would_be_found(wrong: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, RAY_JOB)


@pytest.mark.long
def test_a_slurm_array_does_the_parts_of_a_cohort(tmp_path: Path) -> None:
    with slurm() as environment:
        _array(environment, tmp_path)


def _array(slurm: dict[str, str], tmp_path: Path) -> None:
    task = task_named("gi-tract")
    task.known_data("test").phantom(tmp_path / "data", 1, 0)
    run = bright_run(tmp_path / "run", task.networks[0])
    python = tmp_path / "medseg"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -m medseg "$@"\n')
    python.chmod(0o755)
    words = ["--parsable", "--array=1-2", f"--chdir={tmp_path}", str(DEPLOY / "slurm/cohort.sbatch")]
    asked = [str(tmp_path / "out"), "gi-tract", str(tmp_path / "data"), "--run", str(run.path)]
    environment = slurm | {"MEDSEG": str(python), "PYTHONPATH": str(DEPLOY.parent)}
    deadline = time.monotonic() + PATIENCE_S
    while (begun := subprocess.run(["sbatch", *words, *asked], env=environment, capture_output=True)).returncode:
        assert time.monotonic() < deadline, begun.stderr
        time.sleep(1)
    deadline = time.monotonic() + PATIENCE_S
    while subprocess.run(["squeue", "-h"], env=environment, capture_output=True).stdout:
        assert time.monotonic() < deadline, "the array has not ended"
        time.sleep(1)
    subprocess.run(
        [str(python), "batch", "gi-tract", "--out", str(tmp_path / "out"), "--merge"], check=True, env=environment
    )
    entries = read_ledger(tmp_path / "out/manifest.jsonl").entries.values()
    assert len(entries) == len(list((tmp_path / "data").rglob("*.png"))) and {one.status for one in entries} == {"done"}


@pytest.mark.long
def test_a_snakemake_workflow_does_the_parts_and_joins_them(tmp_path: Path) -> None:
    snakemake = shutil.which("snakemake")
    if not snakemake:
        pytest.skip("needs snakemake")
    task = task_named("gi-tract")
    task.known_data("test").phantom(tmp_path / "data", 1, 0)
    run = bright_run(tmp_path / "run", task.networks[0])
    asked = {"task": "gi-tract", "inputs": tmp_path / "data", "out": tmp_path / "out", "runs": run.path, "parts": 2}
    words = [f"{name}={value}" for name, value in asked.items()] + [f"medseg={sys.executable} -m medseg"]
    file = DEPLOY / "snakemake/Snakefile"
    subprocess.run([snakemake, "--snakefile", file, "--cores", "2", "--config", *words], cwd=tmp_path, check=True)
    entries = read_ledger(tmp_path / "out/manifest.jsonl").entries.values()
    assert len(entries) == len(list((tmp_path / "data").rglob("*.png"))) and {one.status for one in entries} == {"done"}
