"""`medseg import`: a published checkpoint becomes a run, or one clear error."""

import hashlib
from pathlib import Path

import pytest
import torch

from medseg.cli.import_ import import_
from medseg.errors import InputError, RunError
from medseg.run import Run
from medseg.tasks import network_named
from medseg.train.weights import load_run
from tests.shared import SHARED, needs_shared


def published(network: str) -> Path:
    return next((SHARED / "weights/luna").glob({"luna-segment": "seg*", "luna-nodule": "cls*"}[network]))


@needs_shared
@pytest.mark.parametrize(("network", "parameters"), [("luna-segment", 118_271), ("luna-nodule", 222_220)])
def test_published_weights_become_a_run(tmp_path, network, parameters):
    file = published(network)
    import_(network, file, tmp_path / "run")
    run = Run(tmp_path / "run")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert run.manifest["parameters"] == parameters
    assert run.manifest["source"] == {"kind": "import", "file": file.name, "sha256": digest}
    assert run.problems() == []
    theirs = torch.load(file, weights_only=True, map_location="cpu")["model_state"]
    ours = load_run(network_named(network), run).state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@needs_shared
def test_weights_of_another_network_are_refused_and_leave_no_run(tmp_path):
    with pytest.raises(InputError, match=r"does not fit the network: .* missing .* unexpected"):
        import_("luna-nodule", published("luna-segment"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@needs_shared
def test_a_run_is_not_overwritten(tmp_path):
    import_("luna-nodule", published("luna-nodule"), tmp_path / "run")
    with pytest.raises(RunError, match="already holds a run"):
        import_("luna-nodule", published("luna-nodule"), tmp_path / "run")


def test_option_the_network_lacks_is_refused(tmp_path):
    with pytest.raises(InputError, match="'luna-nodule' has no option --arch; it has --features"):
        import_("luna-nodule", tmp_path / "any.state", tmp_path / "run", arch="fpn")
