"""`medseg import`: a published checkpoint becomes a run, or one clear error."""

import hashlib
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
import typer
from typer.testing import CliRunner

from medseg.cli.import_ import import_
from medseg.errors import InputError, RunError
from medseg.run import Run
from medseg.tasks import network_named
from medseg.train.weights import import_weights
from tests.models.loaded import load_run
from tests.shared import SHARED, needs_shared

app = typer.Typer()
app.command()(import_)
runner = CliRunner()


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
    with pytest.raises(InputError, match=r"holds no weights of this network .*; it fits luna-segment"):
        import_("luna-nodule", published("luna-segment"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@needs_shared
def test_a_run_is_not_overwritten(tmp_path):
    import_("luna-nodule", published("luna-nodule"), tmp_path / "run")
    with pytest.raises(RunError, match="already holds a run"):
        import_("luna-nodule", published("luna-nodule"), tmp_path / "run")


@pytest.mark.parametrize("smp_keeps", [True, False])
def test_unets_of_every_version_of_smp_are_taken(tmp_path, smp_keeps):
    """Some versions' encoders keep what EfficientNet has behind its last block (8.8 M parameters), some do not."""
    torch.manual_seed(0)
    theirs = smp.Unet("efficientnet-b1", encoder_weights=None, in_channels=3, classes=3).eval()
    ends = ("encoder._conv_head.", "encoder._bn1.")
    state = {key: value for key, value in theirs.state_dict().items() if smp_keeps or not key.startswith(ends)}
    assert any(key.startswith(ends) for key in state) is smp_keeps
    torch.save(state, tmp_path / "fold0.bin")
    found = runner.invoke(app, ["gi-tract", str(tmp_path / "fold0.bin"), "--out", str(tmp_path / "run")])
    assert "8,345,235 parameters" in found.stdout
    assert ("left out: encoder._conv_head.*" in found.stdout) is smp_keeps
    ours = load_run(network_named("gi-tract"), Run(tmp_path / "run"))
    picture = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(ours(picture), theirs(picture))


@pytest.mark.parametrize("parallel", [True, False])
def test_lggs_published_keys_are_taken(tmp_path, parallel):
    """The public U-Net's own state, made here as its author names it, at a small width."""
    state = {("module." if parallel else "") + key: value for key, value in public_unet(4).items()}
    torch.save(state, tmp_path / "unet.pt")
    found = runner.invoke(
        app, ["brain-lgg", str(tmp_path / "unet.pt"), "--features", "4", "--out", str(tmp_path / "run")]
    )
    assert found.exit_code == 0, found.output
    assert Run(tmp_path / "run").problems() == []


def public_unet(width: int) -> dict[str, torch.Tensor]:
    """mateuszbuda's state: `encoder1.enc1conv1.weight` to `conv.bias`, from the description of his network."""
    state: dict[str, torch.Tensor] = {}

    def block(prefix: str, inputs: int, outputs: int) -> None:
        for number, channels in ((1, inputs), (2, outputs)):
            state[f"{prefix}conv{number}.weight"] = torch.rand(outputs, channels, 3, 3)
            for name in ("weight", "bias", "running_mean", "running_var"):
                state[f"{prefix}norm{number}.{name}"] = torch.rand(outputs)
            state[f"{prefix}norm{number}.num_batches_tracked"] = torch.tensor(1)

    widths = [3, *(width * 2**level for level in range(4))]
    for level in range(1, 5):
        block(f"encoder{level}.enc{level}", widths[level - 1], widths[level])
        block(f"decoder{level}.dec{level}", 2 * widths[level], widths[level])
        state[f"upconv{level}.weight"] = torch.rand(2 * widths[level], widths[level], 2, 2)
        state[f"upconv{level}.bias"] = torch.rand(widths[level])
    block("bottleneck.bottleneck", widths[4], 2 * widths[4])
    state |= {"conv.weight": torch.rand(1, width, 1, 1), "conv.bias": torch.rand(1)}
    return state


def test_a_voter_of_stas_is_imported_as_its_team_saved_it(tmp_path):
    """From DataParallel, with the auxiliary head, under the encoder's old name; on that encoder's little sibling."""
    theirs = smp.DeepLabV3Plus("tu-tf_efficientnet_b0", encoder_weights=None, aux_params={"classes": 1, "dropout": 0.4})
    torch.save({f"module.{key}": value for key, value in theirs.state_dict().items()}, tmp_path / "b6.pth")
    network = network_named("stas-efficientnet-b6")
    run = import_weights(network, tmp_path / "b6.pth", tmp_path / "run", {"encoder": "tu-tf_efficientnet_b0"})
    assert run.manifest["source"]["left_out"] == ["classification_head."]
    ours, key = load_run(network, run).state_dict(), "encoder.model.conv_stem.weight"
    assert torch.equal(ours[key], theirs.state_dict()[key].transpose(2, 3))


def test_option_the_network_lacks_is_refused(tmp_path):
    with pytest.raises(InputError, match="'luna-nodule' has no option --arch; it has --features"):
        import_("luna-nodule", tmp_path / "any.state", tmp_path / "run", arch="fpn")


def other_network(tmp_path: Path, **options: object) -> Path:
    torch.save(network_named("luna-segment").build(**options).state_dict(), tmp_path / "w.pt")
    return tmp_path / "w.pt"


def imported(*words: object) -> tuple[int, str, str]:
    """The exit code, what was printed, and the sentence of an error."""
    found = runner.invoke(app, list(map(str, words)))
    return found.exit_code, found.stdout, str(found.exception)


def test_what_was_done_with_the_keys_is_said_and_recorded(tmp_path):
    state = network_named("luna-segment").build(context=3, features=2, depth=3).state_dict()
    plain = {f"module.net.{key}": value for key, value in state.items()} | {"module.loss.weight": torch.ones(1)}
    torch.save({"state_dict": plain, "ema": {key: value * 2 for key, value in state.items()}}, tmp_path / "w.pt")
    words = ("luna-segment", tmp_path / "w.pt", "--features", 2, "--out", tmp_path / "run")
    code, _, error = imported(*words)
    assert code == 1 and "2 sets of weights that differ" in error and not (tmp_path / "run").exists()
    code, told, _ = imported(*words, "--weights", "plain")
    assert code == 0 and "weights: state_dict.module.net" in told and "the prefix module.net. of all keys" in told
    assert "left out: module.loss.weight, which are not part of the network" in told
    source = Run(tmp_path / "run").manifest["source"]
    assert source["prefix"] == "module.net." and source["beside"] == ["module.loss.weight"]
    assert source["weights"] == "state_dict.module.net"


def test_the_option_that_would_fit_is_told(tmp_path):
    file = other_network(tmp_path, context=3, features=6, depth=3)
    code, _, error = imported("luna-segment", file, "--out", tmp_path / "run")
    assert code == 1 and error.endswith("it fits with --features 6") and len(error) < 700


def test_the_network_that_would_fit_is_told(tmp_path):
    code, _, error = imported("luna-nodule", other_network(tmp_path), "--out", tmp_path / "run")
    assert code == 1 and error.endswith("it fits luna-segment") and len(error) < 700


def test_the_architecture_that_would_fit_is_told(tmp_path):
    network = network_named("brain-lgg")
    torch.save(network.build(arch="unet-residual", features=4).state_dict(), tmp_path / "w.pt")
    code, _, error = imported("brain-lgg", tmp_path / "w.pt", "--out", tmp_path / "run")
    assert code == 1 and error.endswith("it fits with --arch unet-residual --features 4")


@needs_shared
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("25-prefix-orig-mod", None),
        ("26-ema-beside", "has 2 sets of weights that differ"),
        ("27-numpy-scalar-beside", None),
        ("28-nan-weights", "has NaN or infinity in"),
        ("29-git-lfs-pointer", "is a Git LFS pointer, not the weights: run `git lfs pull`"),
    ],
)
def test_the_cases_of_checkpoints(tmp_path, case, words):
    file = SHARED / "cases" / case / "w.pt"
    code, _, error = imported("luna-segment", file, "--features", 2, "--out", tmp_path / "run")
    if words:
        assert code == 1 and words in error and len(error) < 400 and not (tmp_path / "run").exists()
    else:
        assert code == 0 and Run(tmp_path / "run").problems() == []
