"""Overlapping windows over a large raster, and their results blended without seams.

Along each axis the weights of all windows add up to one at every pixel (raised-cosine ramps over
the overlap, divided by their sum; none at the raster's border), so blending is a plain sum: the
blend of a constant is that constant, and the blend of what an identity model returns is the image.
Windows come row by row, so only the rows that a later window can still change stay in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gv_data.errors import RasterError

_FINISHED_PX = 2**21
"""Pixels of a strip of finished rows: what follows needs the same memory for any width."""


@dataclass(frozen=True)
class Tiling:
    """Square windows that cover a raster.

    Attributes:
        shape_hw: Rows and columns of the raster.
        window_px: Side of a window. Windows of a smaller raster reach beyond its end.
        overlap_px: Smallest number of pixels that neighbours share; at most half a window.
    """

    shape_hw: tuple[int, int]
    window_px: int
    overlap_px: int

    def __post_init__(self) -> None:
        if self.window_px < 1 or not 0 <= self.overlap_px <= self.window_px // 2:
            raise RasterError(
                f"windows of {self.window_px} px can overlap by 0 to {self.window_px // 2} px, "
                f"got {self.overlap_px}"
            )

    @property
    def rows(self) -> tuple[int, ...]:
        """First rows of the windows."""
        return _starts(self.shape_hw[0], self.window_px, self.overlap_px)

    @property
    def columns(self) -> tuple[int, ...]:
        """First columns of the windows."""
        return _starts(self.shape_hw[1], self.window_px, self.overlap_px)

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """First row and column of each window, row by row."""
        return ((row, column) for row in self.rows for column in self.columns)


class Blend:
    """Sums weighted windows and gives rows back as soon as they are final.

    Examples:
        >>> tiling = Tiling((5, 7), window_px=4, overlap_px=2)
        >>> blend = Blend(tiling, channels=1)
        >>> ones = np.ones((1, 4, 4), np.float32)
        >>> strips = (strip for window in tiling for strip in blend.add(window, ones))
        >>> [(first, rows.shape) for first, rows in strips]
        [(0, (1, 1, 7)), (1, (1, 4, 7))]
    """

    def __init__(self, tiling: Tiling, channels: int) -> None:
        """Prepare for windows of ``channels`` layers, in the order of ``tiling``."""
        self._tiling = tiling
        height, width = tiling.shape_hw
        self._rows = _weights(tiling.rows, tiling.window_px, tiling.overlap_px, height)
        self._columns = _weights(tiling.columns, tiling.window_px, tiling.overlap_px, width)
        self._open = np.zeros((channels, tiling.window_px, tiling.shape_hw[1]), np.float32)

    def add(
        self, window: tuple[int, int], values: Float[np.ndarray, "c window window"]
    ) -> Iterator[tuple[int, Float[np.ndarray, "c rows w"]]]:
        """Add one window's values; the last window of a line of windows finishes rows.

        Args:
            window: First row and column, as the tiling gives them.
            values: What the model says there; beyond the raster's end it is ignored.

        Yields:
            First row and values of the rows that no later window changes, about two million pixels
            at a time: a wider raster comes in lower strips. Values are a view that the next step
            overwrites.
        """
        row, column = window
        height = min(self._tiling.window_px, self._tiling.shape_hw[0] - row)
        width = min(self._tiling.window_px, self._tiling.shape_hw[1] - column)
        weighted = values[:, :height, :width] * self._rows[row][:height, None]
        weighted *= self._columns[column][:width]
        self._open[:, :height, column : column + width] += weighted
        if column == self._tiling.columns[-1]:
            yield from self._finish(row)

    def _finish(self, row: int) -> Iterator[tuple[int, np.ndarray]]:
        later = [start for start in self._tiling.rows if start > row]
        count = (later[0] if later else self._tiling.shape_hw[0]) - row
        step = max(1, _FINISHED_PX // self._tiling.shape_hw[1])
        for first in range(0, count, step):
            yield row + first, self._open[:, first : min(first + step, count)]
        kept = self._tiling.window_px - count
        for layer in self._open:  # one by one: the copy of one is small
            layer[:kept] = layer[count:].copy()
            layer[kept:] = 0


def _starts(size: int, window: int, overlap: int) -> tuple[int, ...]:
    """First pixels of windows spread evenly so that the last one ends with the raster."""
    if size <= window:
        return (0,)
    count = 1 + -(-(size - window) // (window - overlap))
    return tuple(round(n * (size - window) / (count - 1)) for n in range(count))


def _weights(
    starts: tuple[int, ...], window: int, overlap: int, size: int
) -> dict[int, Float[np.ndarray, " window"]]:
    """Weights of each window along one axis; at every pixel they add up to one."""
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(overlap) + 0.5) / max(overlap, 1))
    raw, total = {}, np.zeros(max(size, window))
    for start in starts:
        weight = np.ones(window)
        if start > 0:
            weight[:overlap] = ramp
        if start + window < size:
            weight[window - overlap :] = ramp[::-1]
        raw[start] = weight
        total[start : start + window] += weight
    return {s: (w / total[s : s + window]).astype(np.float32) for s, w in raw.items()}
