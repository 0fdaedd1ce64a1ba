"""Do values mean what they meant in training? Their scale, and the order of their bands."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Self

import numpy as np
from jaxtyping import Float

from gv_data.statistics import Statistics

FAR_STD = 5.0
"""Means further apart than this many standard deviations of training are another scale."""

CONTRASTS_MIN = 20.0
"""No two places differ as much as this in contrast, other scales do."""

ORDER_MISFIT_MIN = 0.15
"""Relative brightness of the bands differs less than this between places seen by one camera."""

ORDER_GAIN_MIN = 2.5
"""Another order must fit this many times better."""

ORDER_BANDS_MAX = 5
"""The orders of more bands are too many to try."""

COLOURS = {"red", "green", "blue", "nir"}
"""Names of bands that mean the same in every file; other names may mean anything."""

FACTORS = {
    1e-4: "reflectance x 10,000",
    1e4: "reflectance in 0..1",
    1 / 255: "values in 0..255",
    255.0: "values in 0..1",
    1 / 65535: "values in 0..65,535",
    65535.0: "values in 0..1",
}
"""What multiplies values to the scale of training, and what they look like then."""


@dataclass(frozen=True)
class Values:
    """How the values of each band are distributed.

    Attributes:
        mean: Mean per band.
        std: Standard deviation per band.
        low: 1st percentile per band.
        high: 99th percentile per band.
    """

    mean: Float[np.ndarray, " c"]
    std: Float[np.ndarray, " c"]
    low: Float[np.ndarray, " c"]
    high: Float[np.ndarray, " c"]

    @classmethod
    def of(cls, pixels: Float[np.ndarray, "c n"]) -> Self:
        """The distribution of some pixels."""
        pixels = pixels.astype(np.float64)
        low, high = np.percentile(pixels, (1, 99), axis=1)
        return cls(pixels.mean(axis=1), pixels.std(axis=1), low, high)

    @classmethod
    def of_statistics(cls, known: Statistics) -> Self:
        """The distribution of all pixels of measured images."""
        return cls(known.mean, known.std, known.percentile(1), known.percentile(99))

    def of_bands(self, order: Sequence[int]) -> "Values":
        """The same of some bands."""
        picked = list(order)
        return Values(self.mean[picked], self.std[picked], self.low[picked], self.high[picked])


def factor(trained: Values, here: Values) -> float | None:
    """The factor of `FACTORS` that brings values to the scale of training, if they need one."""
    trained_std, std = np.maximum(trained.std, 1e-12), np.maximum(here.std, 1e-12)
    contrast = np.median(np.log(trained_std / std))
    if abs(contrast) < np.log(CONTRASTS_MIN):
        return None
    nearest = min(FACTORS, key=lambda tried: abs(contrast - np.log(tried)))
    fits = np.abs(nearest * here.mean - trained.mean) <= 3 * trained_std
    alike = np.abs(np.log(trained_std / (nearest * std))) <= np.log(6)
    return nearest if (fits & alike).all() else None


def are_far(trained: Values, here: Values) -> bool:
    """Whether the mean of a band lies more than `FAR_STD` standard deviations of training off."""
    return bool((np.abs(here.mean - trained.mean) > FAR_STD * trained.std).any())


def compare(names: Sequence[str], trained: Values, here: Values, *, first: str, second: str) -> str:
    """Both ranges of each band, in words; ``first`` and ``second`` say whose they are."""
    return "; ".join(
        f"{name} {first} {_number(a)}..{_number(b)}, {second} {_number(c)}..{_number(d)}"
        for name, a, b, c, d in zip(
            names, trained.low, trained.high, here.low, here.high, strict=True
        )
    )


def _number(value: float) -> str:
    """A value with three digits, in full."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def can_be(own: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether bands may be others, judged by number and names in this order."""
    return len(own) == len(wanted) and not any(
        a != b and {a, b} <= COLOURS for a, b in zip(own, wanted, strict=True)
    )


def better_order(
    trained: Values, here: Values, current: Sequence[int]
) -> tuple[tuple[int, ...], float, float] | None:
    """Another choice of bands that fits far better.

    Places differ in light and ground, which all bands share; what is compared is how bright the
    bands are among themselves, as logarithms.

    Args:
        trained: Of the bands of training.
        here: Of all bands of the scene.
        current: Positions in the scene of the bands as they would be taken.

    Returns:
        The positions that fit best, their misfit, and that of the current ones; or None.
    """
    count = len(here.mean)
    positive = (trained.mean > 0).all() and (here.mean > 0).all()
    if not positive or len(trained.mean) < 2 or count > ORDER_BANDS_MAX:
        return None

    def misfit(order: Sequence[int]) -> float:
        ratios = np.log(here.mean[list(order)] / trained.mean)
        return float(np.std(ratios))

    best = min(permutations(range(count), len(trained.mean)), key=misfit)
    now, then = misfit(current), misfit(best)
    if now > ORDER_MISFIT_MIN and now > ORDER_GAIN_MIN * then:
        return best, then, now
    return None
