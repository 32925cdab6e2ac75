"""How much training samples are changed at random: one set of numbers for all loaders."""

from __future__ import annotations

from dataclasses import dataclass

FEWEST_HOLES, MOST_HOLES = 5, 8
WAVES = 2  # across the picture: this few waves bend organs but do not crumple them


@dataclass(frozen=True)
class Augmentation:
    """How much a training sample is changed. Lengths are shares of its sides; all draws are uniform."""

    flip: float = 0.0  # probability of a mirror image, drawn separately for each of `flip_axes`
    flip_axes: tuple[int, ...] = (-1,)  # counted from the end: -1 is left-right
    move: float = 0.0  # probability of shift, scale, stretch and rotation together
    shift: float = 0.0  # the largest, along each axis
    scale: float = 0.0  # the largest growth or shrinkage, the same for all axes
    stretch: float = 0.0  # the same, drawn separately for each axis
    rotate_deg: float = 0.0  # the largest, in the plane of the last two axes
    quarter_turns: float = 0.0  # probability of one to three turns of 90 degrees
    bend: float = 0.0  # probability of smooth waves; they replace a grid distortion or an elastic distortion
    bend_by: float = 0.0  # the largest displacement
    holes: float = 0.0  # probability of 5 to 8 square holes, in the picture and in its mask
    hole_side: float = 0.0
    noise: float = 0.0  # standard deviation, in the picture's own unit
    crop: tuple[int, ...] = ()  # the size of a random crop; empty keeps the whole sample

    @property
    def moving(self) -> bool:
        """Whether pictures are flipped or moved by a matrix, not only resized."""
        return self.flip > 0 or self.move > 0


@dataclass(frozen=True)
class Colours:
    """How much the values of a training sample are changed, separately for each channel. All draws are uniform."""

    contrast: float = 0.0  # the largest share by which values are stretched or squeezed about 0
    brightness: float = 0.0  # the largest shift, in the sample's own unit
    gamma: float = 0.0  # the largest natural logarithm of the exponent, which acts on the channel's own range
    replaced: float = 0.0  # probability that one of `replaceable` shows the channel `by` instead
    replaceable: tuple[int, ...] = ()
    by: int = 0
