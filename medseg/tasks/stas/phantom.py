"""Made-up pathology pictures in AI CUP 2022's layout: air spaces in stained tissue, with tumour cells in some."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from medseg.data.labelme import labelme_from_mask
from medseg.data.phantom import ellipsoid, grid_mm, paint
from medseg.task import Array

SHAPE = (471, 858)  # half of a real picture's rows and columns
TISSUE, AIR, CELLS = (214, 150, 190), (243, 238, 243), (118, 72, 150)  # RGB of the stain
SPACES, EMBEDDED_EVERY = 7, 4
EDGE = 3.0  # pixels


def phantom(directory: Path, patients: int, seed: int) -> None:
    """Write made-up pictures and LabelMe files to `directory/SEG_Train_Datasets`.

    The same seed gives the same bytes.
    """
    root = directory / "SEG_Train_Datasets"
    for folder in ("Train_Images", "Train_Annotations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(patients):
        image, mask = _picture(np.random.default_rng((seed, number)))
        content = io.BytesIO()
        Image.fromarray(image).save(content, "JPEG", quality=92)
        (root / "Train_Images" / f"{number:08}.jpg").write_bytes(content.getvalue())
        annotation = labelme_from_mask(mask, f"{number:08}.jpg", "STAS")
        if number % EMBEDDED_EVERY == EMBEDDED_EVERY - 1:  # a few of the real files embed the picture too
            annotation["imageData"] = base64.b64encode(content.getvalue()).decode()
        (root / "Train_Annotations" / f"{number:08}.json").write_text(json.dumps(annotation))


def _picture(rng: np.random.Generator) -> tuple[Array, Array]:
    """A picture (row, col, 3) uint8 and the mask (row, col) uint8 of its clusters of cells."""
    from scipy import ndimage  # imported here because it is slow and servers do not need it

    grid = grid_mm(SHAPE, (1, 1))
    centres = rng.uniform((-190, -380), (190, 380), (SPACES, 2))
    spaces = np.min([ellipsoid(grid, centre, rng.uniform(50, 110, 2)) for centre in centres], 0)
    cells = np.min([_cluster(grid, centre, rng) for centre in centres[: rng.integers(2, 5)]], 0)
    texture = sum(ndimage.gaussian_filter(rng.normal(size=SHAPE), scale) * scale for scale in (1.5, 5, 15))
    image = np.zeros((*SHAPE, 3), np.float32)
    for channel in range(3):
        layer = image[..., channel]
        layer += TISSUE[channel] + 30 * texture
        paint(layer, spaces, AIR[channel], EDGE)
        paint(layer, cells, CELLS[channel], EDGE)
    grain = rng.normal(0, 5, image.shape)
    return (image + grain).clip(0, 255).astype(np.uint8), (cells < 0).astype(np.uint8)


def _cluster(grid: Array, centre: Array, rng: np.random.Generator) -> Array:
    """Distance in pixels to a cluster of cells, negative inside: (row, col)."""
    cells = [ellipsoid(grid, centre + rng.normal(0, 14, 2), rng.uniform(8, 18, 2)) for _ in range(6)]
    return np.min(cells, 0)
