"""Exact moments of image values that can be merged without looking at the pixels again.

Counts, means and sums of squared deviations (M2) of parts are pooled by the update of Chan, Golub
and LeVeque (1983), so the mean and standard deviation of any view of a catalog are those of all its
pixels together.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from jaxtyping import Bool, Float

_CHUNK_PX = 32_768  # a few bands of it fit the cache of a core


@dataclass(frozen=True)
class Moments:
    """Moments of each band over some valid pixels.

    Attributes:
        valid: Number of pixels with data.
        invalid: Number of pixels without.
        mean: Mean per band, in the units of the image.
        m2: Sum of squared deviations from the mean per band.
        minimum: Smallest value per band; infinite when nothing is valid.
        maximum: Largest value per band; minus infinite when nothing is valid.
    """

    valid: int
    invalid: int
    mean: Float[np.ndarray, " c"]
    m2: Float[np.ndarray, " c"]
    minimum: Float[np.ndarray, " c"]
    maximum: Float[np.ndarray, " c"]

    @classmethod
    def none(cls, bands: int) -> Self:
        """The moments of no pixels."""
        zeros, infinite = np.zeros(bands), np.full(bands, np.inf)
        return cls(0, 0, zeros, zeros, infinite, -infinite)

    @classmethod
    def of(cls, image: Float[np.ndarray, "c h w"], valid: Bool[np.ndarray, "h w"]) -> Self:
        """Moments of one array.

        Args:
            image: Values in physical units.
            valid: Where they are data.

        Returns:
            The moments, computed in float64.

        Examples:
            >>> image = np.array([[[1.0, 3.0, 99.0]]], np.float32)
            >>> moments = Moments.of(image, np.array([[True, True, False]]))
            >>> moments.mean.item(), moments.std.item()
            (2.0, 1.0)
        """
        values = image.reshape(len(image), -1) if valid.all() else image[:, valid]
        total = cls.none(len(image))
        for start in range(0, values.shape[1], _CHUNK_PX):
            chunk = values[:, start : start + _CHUNK_PX].astype(np.float64)
            mean = chunk.mean(axis=1)
            apart = chunk - mean[:, None]
            m2 = np.einsum("cn,cn->c", apart, apart)
            total += cls(chunk.shape[1], 0, mean, m2, chunk.min(axis=1), chunk.max(axis=1))
        return replace(total, invalid=valid.size - total.valid)

    def __add__(self, other: Self) -> Self:
        """Moments of both sets of pixels together."""
        count = self.valid + other.valid
        delta = other.mean - self.mean
        share = other.valid / count if count else 0.0
        return type(self)(
            count,
            self.invalid + other.invalid,
            self.mean + delta * share,
            self.m2 + other.m2 + delta**2 * self.valid * share,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
        )

    @property
    def std(self) -> Float[np.ndarray, " c"]:
        """Standard deviation per band (population, as for normalisation); NaN without pixels."""
        return np.sqrt(self.m2 / self.valid) if self.valid else np.full(len(self.m2), np.nan)
