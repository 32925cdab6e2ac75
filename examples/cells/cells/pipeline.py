"""Inference as named steps: one encoded picture in, its mask on the picture's own grid out."""

import numpy as np

from medseg.data.decoding import decoder
from medseg.data.encoded import MAX_BYTES, MAX_SIDE, RGB, check, pack, portable, too_large
from medseg.data.grid import png, resized
from medseg.errors import InputError
from medseg.task import Decode, Networks, Pipeline, Step, Tensor, Tensors

from .network import NETWORK, SIZE

DECODE = Decode(RGB, "input", SIZE, "bits", mean=(0.5,) * 3, std=(0.25,) * 3)


def checked(tensors: Tensors, _: Networks) -> Tensors:
    """`encoded` (1,) bytes to `packed` (1, bytes) uint8 and `size` (1, 2): height, width. Raises InputError."""
    encoded = tensors["encoded"].ravel()
    if len(encoded) != 1:
        raise InputError(f"tensor 'encoded' holds {len(encoded)} pictures; expected 1 picture per request")
    size = check(encoded[0], RGB)
    return {"packed": pack([portable(encoded[0], RGB)]), "size": np.array([size], np.int32)}


def answer(tensors: Tensors, _: Networks) -> Tensors:
    """`logits` (1, 1, h, w) to `mask` (h, w) uint8 0/1 on the picture's own grid, and `mask_png` (1,) 0/255."""
    height, width = tensors["size"][0].tolist()
    probability = 1 / (1 + np.exp(-np.clip(resized(tensors["logits"][0], (height, width))[0], -30, 30)))
    least = tensors["threshold"][0] if "threshold" in tensors else np.float32(0.5)
    mask = (probability >= least).astype(np.uint8)
    return {"mask": mask, "mask_png": np.array([png(mask * np.uint8(255))], object)}


PIPELINE = Pipeline(
    tensors=(
        Tensor("encoded", "bytes", (1,)),
        Tensor("threshold", "float32", (1,), optional=True, values=(0, 1)),
        Tensor("packed", "uint8", (1, -1), limit=MAX_BYTES),
        Tensor("size", "int32", (1, 2), values=(1, MAX_SIDE), problem=too_large),
        Tensor("input", "float32", (1, *NETWORK.input_shape)),
        Tensor("logits", "float32", (1, *NETWORK.output_shape)),
        Tensor("mask", "uint8", (-1, -1), limit=MAX_SIDE),
        Tensor("mask_png", "bytes", (1,)),
    ),
    inputs=("encoded", "threshold"),
    steps=(
        Step("check", checked, ("encoded",), ("packed", "size")),
        Step("decode", decoder(DECODE), ("packed",), ("input",)),
        Step("segment", NETWORK.name, ("input",), ("logits",)),
        Step("answer", answer, ("logits", "size", "threshold"), ("mask", "mask_png")),
    ),
    outputs=("mask", "mask_png"),
    networks=(NETWORK,),
)
