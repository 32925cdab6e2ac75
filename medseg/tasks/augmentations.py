"""How much each network's training samples are changed at random: one set of numbers, whichever loader draws them."""

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


_STAS = Augmentation(quarter_turns=0.3)
# As the reference projects did; the medical reason for LUNA's full rotation is that a nodule has no upright.
AUGMENTATIONS = {
    "luna-segment": Augmentation(
        flip=0.5, flip_axes=(-2, -1), move=1, shift=0.015, stretch=0.2, rotate_deg=180, noise=25, crop=(64, 64)
    ),
    "luna-nodule": Augmentation(
        flip=0.5, flip_axes=(-3, -2, -1), move=1, shift=0.05, stretch=0.2, rotate_deg=180, noise=25
    ),
    "luna-malignancy": Augmentation(
        flip=0.5, flip_axes=(-3, -2, -1), move=1, shift=0.05, stretch=0.2, rotate_deg=180, noise=25
    ),
    "gi-tract": Augmentation(
        flip=0.5, move=0.5, shift=0.0625, scale=0.05, rotate_deg=10, bend=0.25, bend_by=0.02, holes=0.5, hole_side=0.05
    ),
    "brain-lgg": Augmentation(flip=0.5, move=1, scale=0.05, rotate_deg=15),
    "stas-efficientnetv2-m": _STAS,
    "stas-eca-nfnet-l2": _STAS,
    "stas-efficientnet-b6": _STAS,
}

# Values in standard deviations. Scanners differ, and where a patient has no pre- or post-contrast series, kaggle_3m
# shows FLAIR in its place.
COLOURS = {
    "brain-lgg": Colours(contrast=0.1, brightness=0.1, gamma=0.3, replaced=0.2, replaceable=(0, 2), by=1),
}
