"""Labels that are a raster beside the image, pixel by pixel."""

import math

import numpy as np
from jaxtyping import Bool, Int, UInt8

from gv_data.errors import RasterError
from gv_data.rasters.raster import Scene
from gv_data.sources import IGNORE, Source


class ClassTable:
    """Which class each value of a mask means."""

    def __init__(self, source: Source) -> None:
        """Learn the values of a source's masks."""
        # unlisted values say nothing, where values are listed
        self._named = bool(source.classes)
        values = source.mask_values or tuple(range(len(source.classes)))
        self._classes = {value: number for number, value in enumerate(values)}
        self._ignored = source.ignore

    def of(self, values: Int[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """The class of each pixel, `IGNORE` where it is unknown.

        Raises:
            RasterError: If a value without a name is no number of a class.
        """
        found, where = np.unique(values, return_inverse=True)
        return np.array([self._class(value) for value in found.tolist()], np.uint8)[
            where.reshape(values.shape)
        ]

    def _class(self, value: float) -> int:
        if value in self._ignored:
            return IGNORE
        whole = math.isfinite(value) and value == int(value)
        if self._named:
            return self._classes.get(int(value), IGNORE) if whole else IGNORE
        if not whole or not 0 <= value <= IGNORE:
            raise RasterError(
                f"a mask holds {value:g}, which is no class from 0 to {IGNORE}: say which values "
                "mean what, as in --classes 0=ground,1000=building"
            )
        return int(value)


def read(
    scene: Scene, window: tuple[float, float, float, float], shape_hw: tuple[int, int]
) -> tuple[Int[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Values of a mask at the centres of the pixels of a window.

    Args:
        scene: The open mask.
        window: First row, first column, last row, last column as pixel corners of the file; it may
            reach beyond it.
        shape_hw: Rows and columns of the result.

    Returns:
        The values, and where there is one: beyond the file and on its nodata there is none, and 0
        in its place.

    Raises:
        RasterError: If it cannot be decoded.
    """
    top, left, bottom, right = window
    rows = _centres(top, bottom, shape_hw[0])
    columns = _centres(left, right, shape_hw[1])
    inside_down = (rows >= 0) & (rows < scene.grid.height_px)
    inside_across = (columns >= 0) & (columns < scene.grid.width_px)
    values = np.zeros(shape_hw, np.dtype(scene.dtype))
    known = np.zeros(shape_hw, bool)
    if inside_down.any() and inside_across.any():
        seen_down, seen_across = rows[inside_down], columns[inside_across]
        first, start = seen_down.min(), seen_across.min()
        part, valid = scene.stored(
            int(first),
            int(start),
            int(seen_down.max() - first + 1),
            int(seen_across.max() - start + 1),
        )
        target = np.ix_(inside_down, inside_across)
        picked = np.ix_(seen_down - first, seen_across - start)
        known[target] = valid[picked]
        values[target] = np.where(known[target], part[0][picked], 0)  # nodata is asked for no class
    return values, known


def _centres(first: float, last: float, count: int) -> Int[np.ndarray, " n"]:
    """The pixels of a file that hold the centres of ``count`` pixels."""
    return np.floor(first + (np.arange(count) + 0.5) * (last - first) / count).astype(np.int64)
