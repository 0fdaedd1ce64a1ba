"""How far labels lie beside what they outline.

Outlines are correlated with the edges of the image over all shifts of a few metres. An edge is a
complex number whose angle is twice its direction, so that only edges running along an outline count
and it does not matter which side is brighter; its length is bounded, so that no single bright roof
decides. The correlation over shifts has one sharp peak, and a scatter to compare it with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.fft
import shapely
from jaxtyping import Bool, Complex, Float
from scipy import ndimage

from gv_data.grid import Grid

REACH_M = 5.0
"""Largest shift along either axis that is looked for."""

STEPS_M = (0.4, 0.6, 0.8, 1.0)
"""Ground sampling distances at which images are compared: the first that the image can give."""

PEAK_MIN = 5.5
"""A peak this many scatters high is no accident: measured on labels laid over foreign ground."""

GAIN_MIN = 1.5
"""A shift is believed when its peak is this many times as high as no shift at all."""

SHIFT_MIN_M = 1.0
"""Smaller shifts are within what hand-drawn outlines differ by."""


@dataclass(frozen=True)
class Correlation:
    """How well outlines fit edges, by shift.

    Attributes:
        values: One a shift: rows from north to south, columns from west to east, no shift in the
            middle.
        step_m: Metres from one to the next.
        labels: Number of outlines.
    """

    values: Float[np.ndarray, "n n"]
    step_m: float
    labels: int

    def __add__(self, other: Self) -> Self:
        """The same over the ground of both."""
        return type(self)(self.values + other.values, self.step_m, self.labels + other.labels)

    def best(self) -> "Shift":
        """The shift at which the outlines fit best."""
        middle = len(self.values) // 2
        level = np.median(self.values)
        scatter = 1.4826 * np.median(np.abs(self.values - level)) or math.inf
        heights = (self.values - level) / scatter
        row, column = map(int, np.unravel_index(heights.argmax(), heights.shape))
        south = row - middle + _vertex(heights[:, column], row)
        east = column - middle + _vertex(heights[row], column)
        return Shift(
            east_m=east * self.step_m,
            north_m=-south * self.step_m,
            peak=float(heights[row, column]),
            unmoved=float(heights[middle, middle]),
        )


@dataclass(frozen=True)
class Shift:
    """By how much labels should move.

    Attributes:
        east_m: Metres to the east.
        north_m: Metres to the north.
        peak: How well they fit then, in scatters above the fit at any shift.
        unmoved: How well they fit as they are, in the same measure.
    """

    east_m: float
    north_m: float
    peak: float
    unmoved: float

    @property
    def certain(self) -> bool:
        """Whether the labels are shifted beyond doubt and beyond the care of drawing."""
        return (
            math.hypot(self.east_m, self.north_m) >= SHIFT_MIN_M
            and self.peak >= PEAK_MIN
            and self.peak >= GAIN_MIN * self.unmoved
        )

    def __str__(self) -> str:
        sideways = f"{abs(self.east_m):.1f} m {'east' if self.east_m >= 0 else 'west'}"
        upwards = f"{abs(self.north_m):.1f} m {'north' if self.north_m >= 0 else 'south'}"
        return f"{sideways}, {upwards}"


def step_m(gsd_m: float) -> float | None:
    """The ground sampling distance at which an image is compared; None if it is too coarse."""
    return next((step for step in STEPS_M if gsd_m <= 1.05 * step), None)


def correlate(
    image: Float[np.ndarray, "c h w"],
    valid: Bool[np.ndarray, "h w"],
    grid: Grid,
    polygons: Sequence[shapely.Polygon | shapely.MultiPolygon] | np.ndarray,
    step_m: float,
) -> Correlation:
    """Compare outlines with the edges of an image at all shifts within `REACH_M`.

    Args:
        image: Values in any unit.
        valid: Where they are data; borders of the void are no edges.
        grid: Where the pixels lie, ``step_m`` apart.
        polygons: Outlines in the CRS of the grid.
        step_m: Ground sampling distance.

    Returns:
        The correlation by shift.
    """
    reach = round(REACH_M / step_m)
    shape = [scipy.fft.next_fast_len(size + 2 * reach) for size in grid.shape_hw]
    product = scipy.fft.fft2(_edges(image, valid), shape)
    product *= np.conj(scipy.fft.fft2(_outlines(polygons, grid), shape))
    whole = scipy.fft.ifft2(product).real
    values = np.roll(whole, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    if grid.transform.e > 0:
        values = values[::-1]
    if grid.transform.a < 0:
        values = values[:, ::-1]
    return Correlation(values, step_m, len(polygons))


def _edges(
    image: Float[np.ndarray, "c h w"], valid: Bool[np.ndarray, "h w"]
) -> Complex[np.ndarray, "h w"]:
    grey = ndimage.gaussian_filter(image.mean(axis=0), 0.7)
    down, across = ndimage.sobel(grey, 0), ndimage.sobel(grey, 1)
    inner = ndimage.binary_erosion(valid, iterations=3)
    if not inner.any():
        return np.zeros(valid.shape, complex)
    strength = np.hypot(down, across)
    bounded = np.minimum(strength, np.quantile(strength[inner], 0.95))
    return np.where(inner, bounded, 0) * np.exp(2j * np.arctan2(down, across))


def _outlines(
    polygons: Sequence[shapely.Polygon | shapely.MultiPolygon] | np.ndarray, grid: Grid
) -> Complex[np.ndarray, "h w"]:
    """Length of outline in each pixel, its angle twice that of the normal."""
    rings = shapely.get_rings(shapely.get_parts(np.asarray(polygons, dtype=object)))
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    columns, rows = grid.pixels(xy).T
    points = columns + 1j * rows
    joined = ring[1:] == ring[:-1]
    starts, sides = points[:-1][joined], np.diff(points)[joined]
    # points along each side, at most half a pixel apart
    counts = np.maximum(1, np.ceil(2 * np.abs(sides))).astype(int)
    side = np.repeat(np.arange(len(sides)), counts)
    along = (np.arange(len(side)) - np.repeat(np.cumsum(counts) - counts, counts) + 0.5) / counts[
        side
    ]
    spots = starts[side] + along * sides[side] - (0.5 + 0.5j)  # from pixel centres
    row, column = np.floor(spots.imag).astype(int), np.floor(spots.real).astype(int)
    down, right = spots.imag - row, spots.real - column
    weights = (np.abs(sides) / counts * np.exp(2j * np.angle(1j * sides)))[side]
    drawn = np.zeros(grid.shape_hw, complex)
    for r, c, share in (
        (row, column, (1 - down) * (1 - right)),
        (row, column + 1, (1 - down) * right),
        (row + 1, column, down * (1 - right)),
        (row + 1, column + 1, down * right),
    ):
        inside = (r >= 0) & (c >= 0) & (r < grid.height_px) & (c < grid.width_px)
        np.add.at(drawn, (r[inside], c[inside]), (weights * share)[inside])
    return drawn


def _vertex(values: Float[np.ndarray, " n"], peak: int) -> float:
    """Where between its neighbours a peak is highest, by a parabola, in steps from it."""
    if not 0 < peak < len(values) - 1:
        return 0.0
    before, top, after = values[peak - 1 : peak + 2]
    bend = before - 2 * top + after
    return float((before - after) / (2 * bend)) if bend < 0 else 0.0
