"""STAS's vote on a made-up picture, in seconds: three simple colour rules replace its trained networks.

Each sees too much in a third of the slide of its own. The pipeline, the vote, the scores and the picture are real.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from medseg.task import Array, Infer, Reading
from medseg.tasks import task_named

RED = 0
BRIGHTEST, TOO_BRIGHT = 0.51, 0.66  # of red, below which a pixel is taken for a tumour cell's


def main(folder: Path) -> None:
    """Make a picture up, ask the three, write the answer, and print what each scores alone and together."""
    task = task_named("stas")
    data, out = folder / "data", folder / "answer"
    task.known_data("make a picture").phantom(data, 1, 3)
    (source,) = task.files.sources(data / "SEG_Train_Datasets" / "Train_Images", Reading())
    request = source.load()
    networks = {one.name: _rule(third) for third, one in enumerate(task.networks)}
    answer = task.pipeline(dict(request.tensors) | task.optional_tensors({}), networks.__getitem__)
    out.mkdir(parents=True, exist_ok=True)
    written = task.files.write(replace(request, name="vote"), answer, out)
    (case,) = task.known_data("read a picture").read(data, source.name)
    (scores,) = task.known_scoring("score it").rows(data, [case], [answer]).values()
    for name in networks:
        print(f"  in place of {name:24} alone: Dice {scores[f'alone: {name}']:.3f}")
    print(f"  at least two of the three: Dice {scores['dice']:.3f} (1 is perfect)")
    print(f"The vote: {next(path for path in written if path.name.endswith('overlay.png'))}")


def _rule(third: int) -> Infer:
    """A stand-in for a network: (n, 3, h, w) -> logits (n, 1, h, w) float32, above 0 where a pixel is dark enough."""

    def network(batch: Array) -> Array:
        width = batch.shape[-1]
        brightest = np.full(width, BRIGHTEST, np.float32)
        brightest[third * width // 3 : (third + 1) * width // 3] = TOO_BRIGHT
        return (20 * (brightest - batch[:, RED : RED + 1])).astype(np.float32)

    return network


if __name__ == "__main__":
    main(Path(sys.argv[1]))
