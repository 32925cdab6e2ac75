"""How much training samples are changed at random: one set of numbers, whichever loader draws them."""

from __future__ import annotations

from dataclasses import dataclass

FEWEST_HOLES, MOST_HOLES = 5, 8
WAVES = 2  # across the picture: few enough to bend organs and not to crumple them


@dataclass(frozen=True)
class Augmentation:
    """How much a training sample is changed; lengths are shares of its sides, and everything is drawn evenly."""

    flip: float = 0.0  # probability of a mirror image, for each of `flip_axes` on its own
    flip_axes: tuple[int, ...] = (-1,)  # counted from the end: -1 is left-right
    move: float = 0.0  # probability of shift, scale, stretch and rotation together
    shift: float = 0.0  # the largest, along each axis
    scale: float = 0.0  # the largest growth or shrinkage, of all axes alike
    stretch: float = 0.0  # the same for each axis on its own
    rotate_deg: float = 0.0  # the largest, in the plane of the last two axes
    quarter_turns: float = 0.0  # probability of one to three turns of 90 degrees
    bend: float = 0.0  # probability of smooth waves, in place of a grid or elastic distortion
    bend_by: float = 0.0  # the largest displacement
    holes: float = 0.0  # probability of 5 to 8 square holes, in the picture and in its mask
    hole_side: float = 0.0
    noise: float = 0.0  # standard deviation in the picture's own unit
    crop: tuple[int, ...] = ()  # the size that a random part is cut to; empty keeps the size

    @property
    def moving(self) -> bool:
        """Whether pictures are placed by a matrix, not only resized."""
        return self.flip > 0 or self.move > 0


@dataclass(frozen=True)
class Colours:
    """How much the values of a training sample are changed, each channel on its own; everything is drawn evenly."""

    contrast: float = 0.0  # the largest share by which values are stretched or squeezed about 0
    brightness: float = 0.0  # the largest shift, in the sample's own unit
    gamma: float = 0.0  # the largest natural logarithm of an exponent over the channel's own range
    replaced: float = 0.0  # probability that one of `replaceable` shows the channel `by` instead
    replaceable: tuple[int, ...] = ()
    by: int = 0
