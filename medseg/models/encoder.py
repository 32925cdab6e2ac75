"""Pretrained encoder weights from a local file; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from medseg.errors import InputError
from medseg.models.checkpoint import load_state, read_weights

# The layers of timm, torchvision and efficientnet-pytorch that follow the encoder in a classifier.
CLASSIFIERS = ("fc.", "_fc.", "classifier.", "head.", "conv_head.", "_conv_head.", "bn2.", "_bn1.", "final_conv.")


def load_encoder(module: nn.Module, file: Path) -> None:
    """Load a classifier's published weights into a network's encoder, without the classifier's last layers.

    Raises InputError for a network without an encoder, and where the file does not fit the encoder.
    """
    encoder = getattr(module, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise InputError(
            f"--encoder-weights is {file}; this network has no pretrained encoder: use --encoder-weights none"
        )
    target = getattr(encoder, "model", encoder)  # smp wraps timm's encoders once more
    expected = target.state_dict()
    state = {_key(key, expected): value for key, value in read_weights(file, expected).state.items()}
    kept = {key: value for key, value in state.items() if key in expected or not key.startswith(CLASSIFIERS)}
    load_state(target, kept, file)


def _key(key: str, expected: dict[str, object]) -> str:
    """The key as the encoder has it. timm renames `stages.0` to `stages_0` where it returns features of each stage."""
    first, _, rest = key.partition(".")
    second, _, tail = rest.partition(".")
    flattened = f"{first}_{second}.{tail}"
    return flattened if flattened in expected else key
