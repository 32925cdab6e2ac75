"""Damaged pictures: refused in one sentence, or read alike by the plain functions and by DALI.

A PNG vouches for all of its bytes, so what is read of it is what was saved. JPEG and TIFF have no checksum.
"""

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from medseg.dali_pipelines.decode import Decoder
from medseg.data.encoded import encoded_tensor
from medseg.task import Array
from medseg.tasks import task_named
from tests.dali_pipelines.damage import damaged
from tests.fuzz.outcomes import COUNTS, counted, outcome

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


def outcomes(name: str, count: int) -> Iterator[tuple[str, str]]:
    task, whole = FORMATS[name]
    (wanted, _), vouched = by_both(task, whole), "PNG" in name

    def same(found: tuple[Array, Array]) -> bool:
        return found[0].shape == wanted.shape and bool(np.abs(found[0].astype(float) - wanted).max() <= TOLERANCE)

    for number, data in enumerate(damaged(whole, count, seed=5)):
        word = outcome(lambda data=data: by_both(task, data), same, altered=not vouched)
        if word in ("right", "altered"):
            plain, dali = by_both(task, data)
            alike = plain.shape == dali.shape and np.abs(plain.astype(float) - dali).max() <= TOLERANCE
            word = word if alike else "silent: the plain functions and DALI differ"
        yield word, f"{name}, number {number}"


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_pictures(name: str, count: int) -> None:
    found = counted(outcomes(name, count))
    assert found["clear"] >= count // (2 if "PNG" in name else 5), found
