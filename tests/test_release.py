"""What a release needs: one version, packages that the index accepts, and a workflow that runs all checks."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from medseg import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_said_in_one_place_and_the_chart_follows_it():
    assert "version" not in PROJECT and "version" in PROJECT["dynamic"]
    chart = yaml.safe_load((ROOT / "deploy/helm/medseg/Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_the_citation_says_what_the_package_says():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["license"] == PROJECT["license"] and citation["title"] == PROJECT["name"]
    assert citation["abstract"] == PROJECT["description"]


def test_the_workflow_is_one_of_githubs_and_runs_what_a_submission_must_pass():
    """Checked with the schema in check-jsonschema, because actionlint's wheel downloads its program."""
    workflow = ROOT / ".github/workflows/ci.yml"
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    checked = subprocess.run(check, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    (job,) = yaml.safe_load(workflow.read_text())["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]


def test_every_package_that_an_extra_names_is_in_the_table_of_licenses():
    asked = [*PROJECT["dependencies"], *(one for extra in ("cpu", "rtx", "wandb") for one in of_extra(extra))]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=;! ]", one)[0]).lower() for one in asked} - {"medseg"}
    table = (ROOT / "docs/licenses.md").read_text()
    assert not [name for name in names if f"| {name} |" not in table], "run `make docs`"


def of_extra(name: str) -> list[str]:
    """The packages that an extra requires, with those of the extras that it names."""
    lines = PROJECT["optional-dependencies"][name]
    named = [extra for line in lines for found in re.findall(r"^medseg\[(.*)\]", line) for extra in found.split(",")]
    return [*lines, *(line for extra in named for line in of_extra(extra))]


@pytest.mark.fresh
def test_the_package_index_would_take_the_wheel_and_the_source(tmp_path):
    """Both have the version, and the description can be rendered."""
    subprocess.run([sys.executable, "-m", "uv", "build", "--quiet", "--out-dir", tmp_path, ROOT], check=True)
    files = sorted(one for one in tmp_path.iterdir() if one.name != ".gitignore")
    assert [one.name for one in files] == [f"medseg-{__version__}-py3-none-any.whl", f"medseg-{__version__}.tar.gz"]
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout
