"""Exact statistics of image values, which merge without looking at the pixels again.

Counts, means and sums of powers of deviations of parts are pooled about the mean of all of them
(Chan, Golub and LeVeque 1983; Pebay 2008, SAND2008-6212), in any order and grouping, so the figures
of any view of a catalog are those of all its pixels together. Histograms add up as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from jaxtyping import Float, Int, Shaped

from gv_data.errors import CatalogError

if TYPE_CHECKING:
    from torchvision.transforms.v2 import Normalize


@dataclass(frozen=True)
class Histogram:
    """How often each value occurs.

    Whole numbers of at most 16 bits are counted one by one. Other types are counted in bins that
    are the same for all images, so that they merge: those of bfloat16, 128 to each doubling; a
    value then is the middle of its bin, at most 0.4 % off.

    Attributes:
        values: Ascending, in physical units.
        counts: Pixels with each value, all above 0.
    """

    values: Float[np.ndarray, " n"]
    counts: Int[np.ndarray, " n"]

    @classmethod
    def none(cls) -> Self:
        """The histogram of no pixels."""
        return cls(np.zeros(0), np.zeros(0, np.int64))

    def __add__(self, other: Self) -> Self:
        """The histogram of both sets of pixels together."""
        values, where = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        counts = np.zeros(len(values), np.int64)
        np.add.at(counts, where, np.concatenate([self.counts, other.counts]))
        return type(self)(values, counts)

    def percentile(self, percent: float) -> float:
        """The smallest value that at least so many percent of the pixels do not exceed.

        Args:
            percent: From 0 to 100.

        Returns:
            A value that occurs (numpy's method ``inverted_cdf``); NaN without pixels.

        Examples:
            >>> Histogram(np.array([1.0, 5.0]), np.array([3, 1])).percentile(90)
            5.0
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"a percentile is from 0 to 100, got {percent}")
        if not len(self.values):
            return np.nan
        upto = np.cumsum(self.counts)
        wanted = percent / 100 * upto[-1]
        return float(self.values[min(np.searchsorted(upto, wanted), len(upto) - 1)])

    def scaled(self, scale: float, offset: float) -> Self:
        """The histogram of ``value * scale + offset``."""
        step = 1 if scale > 0 else -1
        return type(self)((self.values * scale + offset)[::step], self.counts[::step])

    @property
    def entropy_bits(self) -> float:
        """Shannon's entropy of the values in bits; NaN without pixels."""
        if not len(self.counts):
            return np.nan
        shares = self.counts / self.counts.sum()
        return float(-(shares * np.log2(shares)).sum()) + 0.0


@dataclass(frozen=True)
class Moments:
    """Sums over the valid pixels of some images, from which the usual figures follow.

    Attributes:
        valid: Number of pixels with data.
        invalid: Number of pixels without.
        mean: Mean per band.
        m3: Sum of the third powers of the deviations from the mean.
        m4: Sum of the fourth powers.
        comoments: Sums of the products of the deviations of two bands; on its diagonal, of squares.
        minimum: Smallest value; infinite without pixels.
        maximum: Largest value; minus infinite without pixels.
    """

    valid: int
    invalid: int
    mean: Float[np.ndarray, " c"]
    m3: Float[np.ndarray, " c"]
    m4: Float[np.ndarray, " c"]
    comoments: Float[np.ndarray, "c c"]
    minimum: Float[np.ndarray, " c"]
    maximum: Float[np.ndarray, " c"]

    @classmethod
    def none(cls, bands: int, *, invalid: int = 0) -> Self:
        """The moments of no valid pixels."""
        zeros, infinite = np.zeros(bands), np.full(bands, np.inf)
        square = np.zeros((bands, bands))
        return cls(0, invalid, zeros, zeros, zeros, square, infinite, -infinite)

    @classmethod
    def of(cls, values: Shaped[np.ndarray, "c n"]) -> Self:
        """Moments of some valid pixels, at least one, summed in float64.

        Examples:
            >>> Moments.of(np.array([[1, 3]])).comoments.tolist()
            [[2.0]]
        """
        values = values.astype(np.float64)
        mean = values.mean(axis=1)
        apart = values - mean[:, None]
        squares = apart * apart
        return cls(
            values.shape[1],
            0,
            mean,
            (squares * apart).sum(axis=1),
            (squares * squares).sum(axis=1),
            apart @ apart.T,
            values.min(axis=1),
            values.max(axis=1),
        )

    @classmethod
    def pooled(
        cls,
        valid: Int[np.ndarray, " k"],
        invalid: Int[np.ndarray, " k"],
        mean: Float[np.ndarray, "k c"],
        m3: Float[np.ndarray, "k c"],
        m4: Float[np.ndarray, "k c"],
        comoments: Float[np.ndarray, "k c c"],
        minimum: Float[np.ndarray, "k c"],
        maximum: Float[np.ndarray, "k c"],
    ) -> Self:
        """Moments of ``k`` sets of pixels together, about the mean of all."""
        total = int(valid.sum())
        n = valid.astype(np.float64)[:, None]
        share = n / max(total, 1)
        middle = np.median(mean[valid > 0], axis=0) if total else 0.0  # what is summed is small
        pooled = middle + (share * (mean - middle)).sum(axis=0)
        d = np.where(n > 0, mean - pooled, 0.0)
        m2 = np.einsum("kcc->kc", comoments)
        return cls(
            total,
            int(invalid.sum()),
            pooled,
            (m3 + 3 * d * m2 + n * d**3).sum(axis=0),
            (m4 + 4 * d * m3 + 6 * d**2 * m2 + n * d**4).sum(axis=0),
            comoments.sum(axis=0) + np.einsum("kc,kd->cd", n * d, d),
            minimum.min(axis=0),
            maximum.max(axis=0),
        )

    def __add__(self, other: Self) -> Self:
        """Moments of both sets of pixels together."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return self.pooled(*map(np.stack, pairs))

    def scaled(self, scale: Float[np.ndarray, " c"], offset: Float[np.ndarray, " c"]) -> Self:
        """Moments of ``value * scale + offset``."""
        ends = np.stack([self.minimum * scale + offset, self.maximum * scale + offset])
        return type(self)(
            self.valid,
            self.invalid,
            self.mean * scale + offset,
            self.m3 * scale**3,
            self.m4 * scale**4,
            self.comoments * np.outer(scale, scale),
            ends.min(axis=0) if self.valid else self.minimum,
            ends.max(axis=0) if self.valid else self.maximum,
        )


@dataclass(frozen=True)
class Statistics:
    """Figures of the valid pixels of some images, per band and in physical units.

    Attributes:
        bands: Names of the bands.
        moments: Counts, means and sums of powers.
        count: Gives the histogram of each band, when it is asked for.
    """

    bands: tuple[str, ...]
    moments: Moments
    count: Callable[[], tuple[Histogram, ...]]

    @cached_property
    def histograms(self) -> tuple[Histogram, ...]:
        """The histogram of each band."""
        return self.count()

    @property
    def valid(self) -> int:
        """Number of pixels with data."""
        return self.moments.valid

    @property
    def invalid(self) -> int:
        """Number of pixels without."""
        return self.moments.invalid

    @property
    def mean(self) -> Float[np.ndarray, " c"]:
        """Mean; NaN without pixels."""
        return self.moments.mean if self.valid else np.full(len(self.bands), np.nan)

    @property
    def minimum(self) -> Float[np.ndarray, " c"]:
        """Smallest value; infinite without pixels."""
        return self.moments.minimum

    @property
    def maximum(self) -> Float[np.ndarray, " c"]:
        """Largest value; minus infinite without pixels."""
        return self.moments.maximum

    @property
    def std(self) -> Float[np.ndarray, " c"]:
        """Standard deviation (population, as for normalisation); NaN without pixels."""
        return np.sqrt(self.covariance.diagonal())

    @property
    def skewness(self) -> Float[np.ndarray, " c"]:
        """Third standardised moment; NaN where all values are the same."""
        return self._standardised(self.moments.m3, 3)

    @property
    def kurtosis(self) -> Float[np.ndarray, " c"]:
        """Excess kurtosis: 0 for a normal distribution; NaN where all values are the same."""
        return self._standardised(self.moments.m4, 4) - 3

    @property
    def covariance(self) -> Float[np.ndarray, "c c"]:
        """Covariance of each two bands (population); NaN without pixels."""
        return (
            self.moments.comoments / self.valid
            if self.valid
            else np.full(self.moments.comoments.shape, np.nan)
        )

    @property
    def correlation(self) -> Float[np.ndarray, "c c"]:
        """Pearson's correlation of each two bands; NaN where a band has one value only."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.covariance / np.outer(self.std, self.std)

    def percentile(self, percent: float) -> Float[np.ndarray, " c"]:
        """Percentile of each band; see `Histogram.percentile`."""
        return np.array([histogram.percentile(percent) for histogram in self.histograms])

    @property
    def entropy_bits(self) -> Float[np.ndarray, " c"]:
        """Shannon's entropy of each band's values in bits; NaN without pixels."""
        return np.array([histogram.entropy_bits for histogram in self.histograms])

    def normalize(self) -> "Normalize":
        """Torchvision's transform that brings these images to mean 0 and standard deviation 1.

        Raises:
            CatalogError: If a band has one value only.
        """
        from torchvision.transforms.v2 import Normalize

        flat = [band for band, std in zip(self.bands, self.std, strict=True) if not std > 0]
        if flat:
            raise CatalogError(f"the band {flat[0]} has one value only: it cannot be normalised")
        return Normalize(mean=self.mean.tolist(), std=self.std.tolist())

    def _standardised(self, sums: Float[np.ndarray, " c"], power: int) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums / self.valid / self.std**power
