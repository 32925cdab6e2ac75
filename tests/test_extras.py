"""A missing package gives an error of one sentence with the extra that installs it, wherever it is needed."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import medseg
from medseg.errors import PackageError
from medseg.extras import EXTRAS, known, needed

ROOT = Path(medseg.__file__).parent
PROJECT = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]


def name_of(requirement: str) -> str:
    for mark in "[<>=!~; ":
        requirement = requirement.partition(mark)[0]
    return requirement.lower().replace("_", "-")


def imported() -> set[str]:
    """Every module that medseg's files import, at any depth."""
    names = set()
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
    return names


def test_all_that_is_imported_is_a_dependency_or_of_a_known_extra():
    always = {name_of(one) for one in PROJECT["dependencies"]}
    distributions = packages_distributions()
    given = {"medseg", "triton_python_backend_utils", *sys.stdlib_module_names}  # the second comes with Triton's stub
    for module in imported():
        top = module.split(".")[0]
        brought = {name_of(one) for one in distributions.get(top, [])}
        assert top in given or brought & always or known(module), f"nobody says what brings {module}"


def test_each_known_extra_is_one_of_the_project():
    assert set(EXTRAS.values()) <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("torch", "torch"),
        ("torch.nn.functional", "torch"),
        ("nvidia", "nvidia.dali"),
        ("nvidia.dali.plugin", "nvidia.dali"),
        ("google", "google.protobuf"),
        ("torchvisionary", None),
        ("medseg.nothing", None),
        ("", None),
    ],
)
def test_what_a_module_belongs_to(module, package):
    assert known(module) == package


@pytest.mark.parametrize("package", EXTRAS)
def test_a_package_that_lacks_names_its_extra(package):
    with pytest.raises(PackageError, match=rf"'{package}'.*pip install 'medseg\[{EXTRAS[package]}\]'"), needed():
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def test_a_module_of_ours_that_lacks_stays_a_fault():
    with pytest.raises(ModuleNotFoundError), needed():
        raise ModuleNotFoundError("No module named 'medseg.nothing'", name="medseg.nothing")


def without(module: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own in which a module cannot be imported, so that other tests are not affected."""
    lacking = f"import sys; sys.modules[{module!r}] = None\n"
    return subprocess.run([sys.executable, "-c", lacking + code], capture_output=True, text=True)


def test_the_command_line_says_it_in_one_line(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"")
    words = ["medseg", "import", "luna-segment", str(tmp_path / "weights.pt"), "--out", str(tmp_path / "run")]
    said = without("torch", f"sys.argv = {words}\nfrom medseg.cli.main import main; main()")
    assert said.stderr.splitlines() == [
        "error: this needs the package 'torch', which is not installed: pip install 'medseg[torch]'"
    ]


def test_the_library_says_it_too():
    said = without("tritonclient.grpc", "import medseg; medseg.Repository")
    assert re.search(r"PackageError: .*medseg\[triton\]", said.stderr)
