"""A glance at a scene: sixteen windows spread over it, at the wanted ground sampling distance."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from gv_data.errors import RasterError
from gv_data.rasters.raster import Scene

SIDE = 4
"""Windows along each side of a scene."""

WINDOW_PX = 192
"""Largest side of a window as it is looked at."""

SOURCE_PX = 1024
"""Largest side of a window in pixels of the file: what has to be decoded."""

VOID_SHARE_MIN = 0.02
"""A constant colour at the edges that covers more than this share is no object."""


@dataclass(frozen=True)
class Glance:
    """Windows of a scene.

    Attributes:
        windows: One a place, None where time ran out; values and where they are data. Each lies in
            the middle of one of `SIDE` x `SIDE` cells; in a small scene it is the whole cell.
    """

    windows: tuple[tuple[Float[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]] | None, ...]

    @property
    def pixels(self) -> Float[np.ndarray, "c n"]:
        """All values that are data."""
        return np.concatenate([v[:, valid] for v, valid in filter(None, self.windows)], axis=1)

    @property
    def whole(self) -> bool:
        """Whether the file calls every pixel data."""
        return all(valid.all() for _, valid in filter(None, self.windows))

    @property
    def shares(self) -> Float[np.ndarray, "n n"]:
        """Share of data in each cell."""
        shares = [0.0 if window is None else window[1].mean() for window in self.windows]
        return np.reshape(shares, (SIDE, SIDE))


def glance(
    scene: Scene,
    gsd_m: float | None,
    *,
    bands: tuple[str, ...] | None = None,
    in_time: Callable[[], bool] = lambda: True,
) -> Glance:
    """Look at some windows of a scene.

    Args:
        scene: Any open scene.
        gsd_m: Ground sampling distance at which to look; None, or a scene without CRS: its own.
        bands: The bands wanted, or all.
        in_time: Asked before each window but the first.

    Returns:
        The windows, row by row.

    Raises:
        RasterError: If the file cannot be decoded.
    """
    # a decimated reading averages as training does, so that contrasts can be compared
    coarser = 1.0 if gsd_m is None or scene.grid.crs is None else max(1.0, gsd_m / scene.grid.gsd_m)
    cells = [size / SIDE for size in scene.grid.shape_hw]
    sides = [min(cell, WINDOW_PX * coarser, SOURCE_PX) for cell in cells]
    shape = tuple(max(1, math.floor(side / coarser)) for side in sides)
    windows: list[tuple[np.ndarray, np.ndarray] | None] = [None] * SIDE**2
    for place in np.random.default_rng(0).permutation(SIDE**2):
        row, column = divmod(int(place), SIDE)
        top = (row + 0.5) * cells[0] - sides[0] / 2
        left = (column + 0.5) * cells[1] - sides[1] / 2
        window = (top, left, top + sides[0], left + sides[1])
        if not any(windows) or in_time():
            windows[place] = scene.read(window, (shape[0], shape[1]), bands=bands)
    if not any(windows):
        raise RasterError(f"{scene.path} holds nothing to look at")
    return Glance(tuple(windows))


@dataclass(frozen=True)
class Void:
    """A constant colour where an image seems to have ended.

    Attributes:
        value: Its value in every band.
        share: Share of all pixels.
    """

    value: float
    share: float


def unmarked_void(seen: Glance, dtype: str) -> Void | None:
    """Find void that the file calls data.

    Args:
        seen: A look at an image.
        dtype: Its type on disk.

    Returns:
        The colour, if pixels that are equal in all bands cover more than `VOID_SHARE_MIN` of the
        windows and are joined to their edges; a single band must also hold 0 or an end of its
        type. None if the file marks void itself.
    """
    if not seen.whole:
        return None
    pixels = seen.pixels
    grey = pixels[0, (pixels == pixels[0]).all(axis=0)]
    if len(grey) <= VOID_SHARE_MIN * pixels.shape[1]:
        return None
    values, counts = np.unique(grey, return_counts=True)
    value = values[counts.argmax()]
    if len(pixels) == 1 and value not in _marks(dtype):
        return None
    void = sum(
        _joined_to_edge((image == value).all(axis=0)).sum()
        for image, _ in filter(None, seen.windows)
    )
    share = float(void / pixels.shape[1])
    return Void(float(value), share) if share > VOID_SHARE_MIN else None


def _marks(dtype: str) -> tuple[float, ...]:
    """Values that usually mean nothing."""
    if np.issubdtype(np.dtype(dtype), np.integer):
        limits = np.iinfo(dtype)
        return 0.0, float(limits.min), float(limits.max), -9999.0
    return 0.0, -9999.0, -32768.0, float(np.finfo(np.float32).min)


def _joined_to_edge(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    regions, _ = ndimage.label(mask)
    rim = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    return np.isin(regions, rim[rim > 0])
