"""What a stranger's checkpoint looks like, and what of it is refused before anything in it can run."""

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from medseg.errors import InputError
from medseg.models.foreign import ARCHITECTURES, smp_network
from medseg.models.given_program import program_module, refuse_code
from medseg.models.looks import said

ENCODERS = {"segformer": "mit_b0", "dpt": "tu-vit_tiny_patch16_224.augreg_in21k"}


def shapes(module: nn.Module, prefix: str = "") -> dict[str, tuple[int, ...]]:
    return {f"{prefix}{key}": tuple(value.shape) for key, value in module.state_dict().items()}


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - set(ENCODERS)))
def test_a_network_of_smp_is_known_by_its_tensors(name: str) -> None:
    with torch.device("meta"):
        module = smp_network(name, "resnet18", {}, 3, 2)
    words = f"an smp {ARCHITECTURES[name].__name__} with a resnet18 encoder, 2 classes"
    assert words in said(shapes(module)) and words in said(shapes(module, "model.net."))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("model.0.conv.unit0.conv.weight", "a MONAI UNet"),
        ("model.1.submodule.0.conv.weight", "a MONAI UNet"),
        ("convInit.conv.weight", "a MONAI SegResNet"),
        ("encoder.stages.0.0.convs.0.conv.weight", "nnU-Net"),
        ("backbone.conv1.weight", "torchvision"),
        ("my.own.weight", "not those of an smp network"),
    ],
)
def test_another_projects_network_is_named_with_the_way(key: str, words: str) -> None:
    assert words in said({key: (8, 3, 3, 3)}) and "export it" in said({key: (8, 3, 3, 3)})


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "small.pt2"
    free = ({0: torch.export.Dim("batch")},)
    made = torch.export.export(_Small().eval(), (torch.zeros(2, 3, 16, 16),), dynamic_shapes=free)
    content = io.BytesIO()
    torch.export.save(made, content)
    path.write_bytes(content.getvalue())
    return path


def test_a_program_of_arithmetic_is_opened(program: Path) -> None:
    assert program_module(program)(torch.zeros(3, 3, 16, 16)).shape == (3, 2, 16, 16)


def changed(program: Path, out: Path, edit: dict[str, bytes], swap: tuple[str, str] = ("", "")) -> Path:
    """The program with entries added or replaced, and a text of its graph swapped."""
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(out, "w") as new:
        root = old.namelist()[0].split("/")[0]
        for name in old.namelist():
            content = edit.pop(name.split("/", 1)[-1], None) or old.read(name)
            if name.endswith("models/model.json") and swap[0]:
                assert swap[0].encode() in content
                content = content.replace(swap[0].encode(), swap[1].encode())
            new.writestr(name, content)
        for name, content in edit.items():
            new.writestr(f"{root}/{name}", content)
    return out


@pytest.mark.parametrize(
    ("entry", "swap", "words"),
    [
        ("data/aotinductor/model/run.so", ("", ""), "could run code"),
        ("data/sample_inputs/model.pt", ("", ""), "example inputs"),
        ("", ("torch.ops.aten.conv2d.default", "torch.serialization.os.system"), "torch.serialization.os.system"),
        ("", ("torch.ops.aten.conv2d.default", "#custom:evil"), "could run code"),
        ("", ("Symbol('s", "exec('s"), "not arithmetic"),
    ],
)
def test_a_program_that_could_run_code_is_refused_unopened(
    entry: str, swap: tuple[str, str], words: str, program: Path, tmp_path: Path
) -> None:
    pickle = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."
    file = changed(program, tmp_path / "evil.pt2", {entry: pickle} if entry else {}, swap)
    with pytest.raises(InputError, match=words.replace(".", "[.]")):
        refuse_code(file)


@pytest.mark.parametrize("content", [b"", b"PK", json.dumps({}).encode(), b"\x80\x02."])
def test_a_file_that_is_no_program_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.pt2").write_bytes(content)
    with pytest.raises(InputError, match="not an archive"):
        refuse_code(tmp_path / "x.pt2")
