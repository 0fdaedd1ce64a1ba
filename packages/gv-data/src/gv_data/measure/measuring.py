"""The statistics of one image, from one reading of its pixels, block by block.

Whole numbers of at most 16 bits are counted value by value; mean, moments and percentiles follow
from the counts, and the products of two bands are summed as whole numbers: no figure carries more
than the rounding of its last step. Other types are summed in float64, a few thousand pixels at a
time about their own mean, and merged.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from jaxtyping import Shaped

from gv_data.measure.counting import Counts, product_sum
from gv_data.rasters.raster import Scene
from gv_data.statistics import Histogram, Moments, Statistics

_CHUNK_PX = 32_768
"""Pixels summed at once: a few bands of them in float64 fit the cache of a core."""

_READ_BYTES = 2**22
"""About how much is read at once."""


def measure(scene: Scene, part: tuple[int, int, int, int] | None = None) -> Statistics:
    """Measure an image or a part of it.

    Args:
        scene: The open image.
        part: First row, first column, rows and columns; None means all.

    Returns:
        The statistics of its valid pixels, in physical units. A pixel is valid when all its bands
        are.

    Raises:
        RasterError: If a block cannot be decoded.
    """
    dtype = np.dtype(scene.dtype)
    exact = dtype.kind in "iu" and dtype.itemsize <= 2
    tally = _Exact(len(scene.bands), dtype) if exact else _Rounded(len(scene.bands))
    for block in pieces(scene, part or (0, 0, *scene.grid.shape_hw)):
        values, valid = scene.stored(*block)
        flat = values.reshape(len(values), -1)
        tally.add(flat if valid.all() else flat[:, valid.ravel()], int((~valid).sum()))
    moments, histograms = tally.found
    scales = tuple(zip(scene.scale.tolist(), scene.offset.tolist(), strict=True))
    return Statistics(
        scene.bands,
        moments.scaled(scene.scale, scene.offset),
        lambda: tuple(h.scaled(*by) for h, by in zip(histograms, scales, strict=True)),
    )


def pieces(scene: Scene, part: tuple[int, int, int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Cut a part of an image along the file's own blocks, so that each is decoded once.

    Args:
        scene: The open image.
        part: First row, first column, rows and columns.

    Yields:
        The same of each piece: some megabytes, or one block.
    """
    row, column, height_px, width_px = part
    down, across = scene.block_hw
    bytes_px = len(scene.bands) * np.dtype(scene.dtype).itemsize
    blocks = max(1, _READ_BYTES // (down * across * bytes_px))
    beside = min(blocks, -(-scene.grid.width_px // across))
    across, down = across * beside, down * (blocks // beside)
    for top in range(row - row % down, row + height_px, down):
        for left in range(column - column % across, column + width_px, across):
            first, start = max(top, row), max(left, column)
            end, stop = min(top + down, row + height_px), min(left + across, column + width_px)
            yield first, start, end - first, stop - start


class _Exact:
    """Sums over whole numbers of 8 or 16 bits."""

    def __init__(self, bands: int, dtype: np.dtype) -> None:
        self._unsigned = np.dtype(f"u{dtype.itemsize}")
        self._signed = dtype.kind == "i"
        self._counts = [Counts(self._unsigned) for _ in range(bands)]
        self._products = dict.fromkeys(combinations(range(bands), 2), 0)
        self._invalid = 0

    def add(self, values: Shaped[np.ndarray, "c n"], invalid: int) -> None:
        self._invalid += invalid
        for band, counts in zip(values, self._counts, strict=True):
            counts.add(band.view(self._unsigned))
        for a, b in self._products:
            self._products[a, b] += product_sum(values[a], values[b])

    @property
    def found(self) -> tuple[Moments, tuple[Histogram, ...]]:
        histograms = tuple(map(self._histogram, self._counts))
        valid = int(histograms[0].counts.sum())
        if not valid:
            return Moments.none(len(histograms), invalid=self._invalid), histograms
        sums = [int(h.counts @ h.values.astype(np.int64)) for h in histograms]
        means = np.array([total / valid for total in sums])
        m2, m3, m4 = (
            np.array(
                [
                    h.counts @ (h.values - mean) ** power
                    for h, mean in zip(histograms, means, strict=True)
                ]
            )
            for power in (2, 3, 4)
        )
        comoments = np.diag(m2)
        for (a, b), total in self._products.items():  # whole numbers up to the division
            comoments[a, b] = comoments[b, a] = (valid * total - sums[a] * sums[b]) / valid
        lowest, highest = (np.array([h.values[end] for h in histograms]) for end in (0, -1))
        moments = Moments(valid, self._invalid, means, m3, m4, comoments, lowest, highest)
        return moments, histograms

    def _histogram(self, counts: Counts) -> Histogram:
        total = counts.total
        found = np.flatnonzero(total)
        values = np.where(self._signed & (found >= len(total) // 2), found - len(total), found)
        order = np.argsort(values)
        return Histogram(values[order].astype(np.float64), total[found][order])


class _Rounded:
    """Sums over numbers of any other type."""

    def __init__(self, bands: int) -> None:
        self._moments = Moments.none(bands)
        self._counts = [Counts(np.dtype(np.uint16)) for _ in range(bands)]

    def add(self, values: Shaped[np.ndarray, "c n"], invalid: int) -> None:
        self._moments += Moments.none(len(values), invalid=invalid)
        for start in range(0, values.shape[1], _CHUNK_PX):
            chunk = values[:, start : start + _CHUNK_PX]
            self._moments += Moments.of(chunk)
            for band, counts in zip(chunk.astype(np.float32), self._counts, strict=True):
                counts.add((band.view(np.uint32) >> 16).astype(np.uint16))

    @property
    def found(self) -> tuple[Moments, tuple[Histogram, ...]]:
        return self._moments, tuple(map(_of_bins, self._counts))


def _of_bins(counts: Counts) -> Histogram:
    """Bins by the upper half of a float32: sign, exponent and 7 bits of the mantissa."""
    bins = np.flatnonzero(counts.total)
    ends = np.stack([bins << 16, (bins << 16) + 0xFFFF]).astype(np.uint32)
    middle = ends.view(np.float32).astype(np.float64).mean(axis=0)
    middle[np.abs(middle) < np.finfo(np.float32).tiny] = 0  # both zeros and what is next to them
    values, where = np.unique(middle, return_inverse=True)
    tallies = np.zeros(len(values), np.int64)
    np.add.at(tallies, where, counts.total[bins])
    return Histogram(values, tallies)
