"""Damaged pictures: refused in one sentence, or read alike by the plain functions and by DALI.

A PNG vouches for all of its bytes, so what is read of it is what was saved. JPEG and TIFF have no checksum.
"""

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from medseg.dali_pipelines.decode import Decoder
from medseg.data.encoded import encoded_tensor
from medseg.task import Array
from medseg.tasks import task_named
from tests.dali_pipelines.damage import damaged
from tests.fuzz.outcomes import Campaign, Outcome, SilentError, outcome

RNG = np.random.default_rng(3)
COARSE = Image.fromarray(RNG.integers(0, 255, (9, 12, 3), np.uint8)).resize((96, 72), Image.Resampling.BICUBIC)
GREY = Image.fromarray(np.asarray(COARSE)[..., 0].astype(np.uint16) * 91)
TURNED = Image.Exif()
TURNED[0x112] = 6
TOLERANCE = 2e-4  # of decoded and scaled values; see docs/dali.md


def saved(picture: Image.Image, form: str, **how: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **how)
    return file.getvalue()


FORMATS = {
    "16-bit PNG": ("gi-tract", saved(GREY, "PNG")),
    "16-bit PNG, turned": ("gi-tract", saved(GREY, "PNG", exif=TURNED)),
    "PNG": ("stas", saved(COARSE, "PNG")),
    "JPEG": ("stas", saved(COARSE, "JPEG", quality=90)),
    "JPEG, turned": ("stas", saved(COARSE, "JPEG", exif=TURNED)),
    "JPEG, progressive": ("stas", saved(COARSE, "JPEG", progressive=True)),
    "TIFF": ("brain-lgg", saved(COARSE, "TIFF")),
    "TIFF, turned": ("brain-lgg", saved(COARSE, "TIFF", exif=TURNED)),
    "TIFF, LZW": ("brain-lgg", saved(COARSE, "TIFF", compression="tiff_lzw")),
    "TIFF, JPEG inside": ("brain-lgg", saved(COARSE, "TIFF", compression="jpeg")),
}
DECODERS: dict[str, Decoder] = {}


def by_both(task: str, data: bytes) -> tuple[Array, Array]:
    """The decoded tensor by the plain function and by DALI."""
    steps = {step.name: step.run for step in task_named(task).pipeline.steps}
    how = task_named(task).decoding["decode"]
    tensors = steps["check"]({"encoded": encoded_tensor([data])}, None)
    dali = DECODERS.setdefault(task, Decoder(how))
    return steps["decode"](tensors, None)[how.output], dali(tensors)[how.output]


def alike(pair: tuple[Array, Array]) -> Array:
    """What both read. Raises SilentError where that is not the same."""
    plain, dali = pair
    if plain.shape != dali.shape or np.abs(plain.astype(float) - dali).max() > TOLERANCE:
        raise SilentError("the plain functions and DALI differ")
    return plain


def outcomes(name: str, count: int, _: Path, seed: int) -> Iterator[Outcome]:
    task, whole = FORMATS[name]
    wanted = alike(by_both(task, whole))

    def same(found: Array) -> bool:
        return found.shape == wanted.shape and bool(np.abs(found.astype(float) - wanted).max() <= TOLERANCE)

    for number, data in enumerate(damaged(whole, count, seed)):
        word = outcome(lambda data=data: alike(by_both(task, data)), same, altered="PNG" not in name)
        yield word, f"{name}, number {number}"


CAMPAIGNS = {name: Campaign(partial(outcomes, name), clear=0.5 if "PNG" in name else 0.2) for name in FORMATS}
