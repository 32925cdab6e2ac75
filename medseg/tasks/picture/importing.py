"""Imports a user's network as a run with a description: an smp folder or checkpoint, a traced program or ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.bringing import Brought, NetworkOptions
from medseg.description import Description, Source
from medseg.errors import InputError
from medseg.files import sha256
from medseg.schema import read_json
from medseg.scratch import Scratch
from medseg.tasks.picture.choose import (
    activation_of,
    answering,
    channels,
    classes_of,
    described,
    said,
    size_of,
)
from medseg.tasks.picture.description import Architecture, Picture, picture_of

if TYPE_CHECKING:
    import torch

_CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_HEAD = "segmentation_head.0.weight"  # a key of every smp network


@dataclass(frozen=True)
class Found:
    """What a file itself says about its network."""

    channels: int  # of the input
    outputs: int  # channels of the output
    file: Path  # of the weights or the program
    architecture: Architecture | None = None  # None for a program or a graph
    activation: str | None = None
    size: str | None = None  # "256x320", where the network takes only this one
    source: Mapping[str, object] = field(default_factory=dict)
    state: Mapping[str, torch.Tensor] = field(default_factory=dict)
    beside: tuple[Path, ...] = ()  # other files that hold weights of the program


def imported(path: Path, choices: NetworkOptions) -> Brought:
    """The network in a file or folder, with its description.

    Raises InputError with what the file looks like, and with what is wrong or missing.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; expected a network's file or folder: check the path")
    found = _found(path, choices)
    if choices.describe:
        text, notes = said(choices.describe, choices), list[str]()
        _check_said(picture_of(text), found)
    else:
        text, notes = _described(found, choices)
    program, kept = _one_file(found)
    source = {"kind": "import" if found.state else "program", "file": found.file.name, "sha256": sha256(found.file)}
    return Brought(text, found.state, program, source | dict(found.source), tuple(notes), kept)


def _one_file(found: Found) -> tuple[Path | None, Scratch | None]:
    """The program's file, or None for weights; and the temporary folder of the file, if it is a new one.

    Where a graph's weights lie in other files, a new file with all of them is written.
    """
    if found.architecture or not found.beside:
        return None if found.architecture else found.file, None
    from medseg.models.given_onnx import read_graph

    scratch = Scratch("import")
    whole = Path(scratch.name) / found.file.name
    whole.write_bytes(read_graph(found.file).SerializeToString())
    return whole, scratch


def _found(path: Path, choices: NetworkOptions) -> Found:
    if path.is_dir():
        return _folder(path, choices)
    if path.suffix.lower() == ".onnx":
        from medseg.models import given_onnx

        graph, beside = given_onnx.whole_graph(path)
        return replace(_program(path, choices, *given_onnx.asked_and_answered(graph, path)), beside=beside)
    if path.suffix.lower() == ".pt2":
        from medseg.models import given_program

        return _program(path, choices, *given_program.asked_and_answered(path))
    return _checkpoint(path, choices)


def _program(path: Path, choices: NetworkOptions, asked: Sequence[int | None], answered: Sequence[int | None]) -> Found:
    """A program or graph, by the shapes (n, c, h, w) of its input and output, in which None is a free size.

    Raises InputError where the shapes are not those of a network for pictures.
    """
    if choices.arch or choices.encoder:
        raise InputError(f"{path} is a whole network: leave --arch and --encoder out")
    if len(asked) != 4 or len(answered) != 4 or asked[1] not in (1, 3) or not answered[1]:
        raise InputError(
            f"{path} takes {_shape(asked)} and answers {_shape(answered)}; expected (n, 1 or 3, height, width) to (n, "
            "classes, height, width): export a network of pictures"
        )
    sides = [side for side in asked[2:] if side]
    size = f"{sides[0]}x{sides[1]}" if len(sides) == 2 else None
    return Found(int(asked[1] or 3), int(answered[1]), path, size=size)


def _shape(shape: Sequence[int | None]) -> str:
    return f"({', '.join('free' if side is None else str(side) for side in shape)})"


def _folder(path: Path, choices: NetworkOptions) -> Found:
    """A folder that smp's `save_pretrained` wrote."""
    if choices.arch or choices.encoder:
        raise InputError(f"{path} says its architecture itself: leave --arch and --encoder out")
    weights = [path / name for name in _WEIGHTS if (path / name).is_file()]
    if not (path / _CONFIG).is_file() or not weights:
        raise InputError(
            f"{path} holds no {_CONFIG} with {' or '.join(_WEIGHTS)}; expected a folder of smp's save_pretrained: give "
            "the file of weights with --arch and --encoder"
        )
    try:
        config = read_json(path / _CONFIG)
    except ValueError as error:
        raise InputError(f"{path / _CONFIG} is not JSON ({str(error).splitlines()[0]}): save it again") from error
    if not isinstance(config, dict) or not isinstance(config.get("_model_class"), str):
        raise InputError(f"{path / _CONFIG} names no _model_class; expected smp's: save it again with save_pretrained")
    return _smp(path, weights[0], config, choices)


def _smp(path: Path, weights: Path, config: Mapping[str, Any], choices: NetworkOptions) -> Found:
    from medseg.models.foreign import architecture_named, decoder_options

    count, outputs, encoder = (config.get(name) for name in ("in_channels", "classes", "encoder_name"))
    if not isinstance(encoder, str) or not all(isinstance(one, int) for one in (count, outputs)):
        raise InputError(f"{path / _CONFIG} lacks encoder_name, in_channels or classes: save it again")
    name = architecture_named(str(config["_model_class"]))
    architecture = Architecture(name, encoder, decoder_options(config))
    activation = {"sigmoid": "sigmoid", "softmax": "softmax", "softmax2d": "softmax"}.get(str(config.get("activation")))
    state, source = _state(weights, architecture, (int(count or 0), int(outputs or 0)), choices)
    return Found(int(count or 0), int(outputs or 0), weights, architecture, activation, None, source, state)


def _checkpoint(path: Path, choices: NetworkOptions) -> Found:
    """A state dict, or a trainer's checkpoint that holds one."""
    from medseg.models.foreign import architecture_named, check_encoder
    from medseg.models.looks import channels_of, looks_like, outputs_of

    if not (choices.arch and choices.encoder):
        raise InputError(
            f"{path} holds weights, which do not name their network: {looks_like(path)}; expected --arch and --encoder "
            "with the names that smp has for them"
        )
    architecture = Architecture(architecture_named(choices.arch), choices.encoder)
    check_encoder(choices.encoder)
    sizes = channels_of(path), outputs_of(path)
    state, source = _state(path, architecture, (sizes[0] or 3, sizes[1] or 1), choices)
    return Found(sizes[0] or 3, sizes[1] or 1, path, architecture, None, None, source, state)


def _state(
    path: Path, architecture: Architecture, sizes: tuple[int, int], choices: NetworkOptions
) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """The weights by the architecture's own names, and the record of what was done with the file's keys.

    `sizes` are the numbers of input and output channels.
    """
    from medseg.models.brought import weights_for
    from medseg.models.foreign import smp_network

    module = smp_network(architecture.name, architecture.encoder, architecture.options, *sizes)
    return weights_for(module, path, choices.weights)


def _described(found: Found, choices: NetworkOptions) -> tuple[str, list[str]]:
    """The text of the description, and a note for each assumption in it."""
    notes = list[str]()
    names = classes_of(choices.classes) if choices.classes else ()
    classes, activation = answering(found.outputs, names, activation_of(choices.activation) or found.activation)
    if not names:
        notes.append(f"classes: named {', '.join(one.name for one in classes)}; give --classes a,b")
    if not (choices.activation or found.activation):
        notes.append(f"activation: {activation}, from the number of names; give --activation if it is not")
    if choices.size and found.size and size_of(choices.size) != size_of(found.size):
        raise InputError(f"--size is {choices.size}; the network takes only {found.size}: leave --size out")
    size = choices.size or found.size
    if not size:
        notes.append(
            "size: pictures keep theirs and are padded to multiples of 32; give --size if pictures were resized in "
            "training"
        )
    if not choices.normalisation:
        notes.append(
            "normalisation: values divided by 255; give --normalisation imagenet, or another, if training used that"
        )
    colours = "rgb" if found.channels == 3 else "grey"
    shared = Description(
        "picture",
        channels(colours, 8, found.channels, choices.normalisation or "unit"),
        classes,
        activation,
        {},
        source=Source(files={file.name: sha256(file) for file in (found.file, *found.beside)}),
    )
    picture = Picture(shared, colours, 8, size_of(size or "keep"), "bilinear", "logits", found.architecture)
    return described(picture), notes


def _check_said(picture: Picture, found: Found) -> None:
    """Raise InputError where the user's description does not fit the network in the file."""
    told = {"channels": len(picture.shared.channels), "outputs": picture.outputs}
    held = {"channels": found.channels, "outputs": found.outputs}
    for name, count in told.items():
        if count != held[name]:
            raise InputError(f"the description says {count} {name}, {found.file} has {held[name]}: correct one of them")
    if picture.architecture and found.architecture and picture.architecture != found.architecture:
        raise InputError(f"the description has another architecture than {found.file}: leave it out of the description")
