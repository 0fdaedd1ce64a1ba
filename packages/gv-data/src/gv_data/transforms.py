"""Random changes that keep a map true: turned and mirrored windows, other light and colours.

Each transform is a function of a sample of arrays and a generator, so the same window with the same
seed is changed in the same way in any process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gv_data.dataset import Sample

type Transform = Callable[[Sample, np.random.Generator], Sample]


def chain(*transforms: Transform) -> "Chain":
    """One transform that applies several in order."""
    return Chain(transforms)


@dataclass(frozen=True)
class Chain:
    """Transforms applied one after the other.

    Attributes:
        transforms: In this order.
    """

    transforms: Sequence[Transform]

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Change a sample."""
        for transform in self.transforms:
            sample = transform(sample, random)
        return sample


def turn(sample: Sample, random: np.random.Generator) -> Sample:
    """Turn by 0, 90, 180 or 270 degrees and mirror or not; all eight are as likely.

    Pixels move together with mask, edge and validity; ``bounds`` and ``transform`` stay those of
    the window on the ground.
    """
    turns, mirrored = int(random.integers(4)), bool(random.integers(2))
    changed = dict(sample)
    for key in ("image", "valid", "mask", "edge"):
        if key in changed:
            turned = np.rot90(changed[key], turns, axes=(-2, -1))
            changed[key] = np.flip(turned, axis=-1) if mirrored else turned
    return changed


@dataclass(frozen=True)
class Light:
    """Other exposure, contrast, gamma and colour balance, as another day or camera would give.

    Values are taken relative to the ``white`` of the sensor; where there is no image they stay 0.

    Attributes:
        brightness: Largest shift of all bands together, as a share of ``white``.
        contrast: Largest relative change of the spread about the window's mean.
        colour: Largest relative change of each band by itself.
        gamma: Largest change of the exponent, in its logarithm.
        grey: Chance of a window with its bands mixed towards their mean.
        white: Value of a bright pixel: 255 for bytes, 1 for reflectance.
    """

    brightness: float = 0.25
    contrast: float = 0.4
    colour: float = 0.3
    gamma: float = 0.4
    grey: float = 0.2
    white: float = 255.0

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Change the image of a sample."""
        image, valid = np.asarray(sample["image"], np.float32) / self.white, sample["valid"]
        if not valid.any():
            return sample
        gains = random.uniform(1 - self.colour, 1 + self.colour, len(image))
        image = image * gains.astype(np.float32)[:, None, None]
        if random.random() < self.grey:
            mixed = random.uniform(0, 1)
            image = (1 - mixed) * image + mixed * image.mean(axis=0, keepdims=True)
        spread = 1 + random.uniform(-self.contrast, self.contrast)
        middle = float(image[:, valid].mean())
        shift = random.uniform(-self.brightness, self.brightness)
        image = (image - middle) * spread + middle + shift
        exponent = float(np.exp(random.uniform(-self.gamma, self.gamma)))
        image = np.clip(image, 0, None) ** exponent * self.white
        return {**sample, "image": np.where(valid, image, np.float32(0))}
