"""Tables of windows around places: points, polygons, whole images."""

import geopandas as gpd
import numpy as np
import shapely
from jaxtyping import Int

from gv_data.errors import CatalogError
from gv_data.store.grids import Grids
from gv_data.windows.windows import Windows


def windows_around(
    grids: Grids, places: gpd.GeoSeries | gpd.GeoDataFrame, *, window_px: int
) -> tuple[Windows, Int[np.ndarray, " n"]]:
    """Windows with a place in the middle, on every image that shows it.

    Args:
        grids: Those of a view: ``dataset.grids``.
        places: Points, lines or polygons in any CRS.
        window_px: Side of a window. What does not fit into one is covered by several, side by side.

    Returns:
        The windows in the order of the places, moved by less than a pixel to begin at one and
        possibly reaching beyond their image; and the position in ``places`` of each.

    Raises:
        CatalogError: If the places have no CRS, or none lies on an image.
    """
    shapes = places.geometry
    if shapes.crs is None:
        raise CatalogError("places without CRS lie nowhere\n  try: places.set_crs(...)")
    tables, numbers = [Windows.joined([])], [np.empty(0, np.int64)]
    for crs, rows in grids.by_crs():
        if crs is None:
            continue
        moved = shapes.to_crs(crs).to_numpy()
        moved[~np.isfinite(shapely.bounds(moved)).all(axis=1)] = None  # the CRS ends before
        boxes = shapely.box(*grids.bounds[rows].T)
        place, image = shapely.STRtree(boxes).query(moved, predicate="intersects")
        windows, owner = _cover(grids, rows[image], moved[place], window_px)
        tables.append(windows)
        numbers.append(place[owner])
    found, number = Windows.joined(tables), np.concatenate(numbers)
    if not len(found):
        raise CatalogError(f"none of {len(shapes):,} places lies on an image")
    order = np.lexsort((found.rows, number))
    return found[order], number[order]


def _cover(
    grids: Grids, rows: Int[np.ndarray, " n"], shapes: np.ndarray, window_px: int
) -> tuple[Windows, Int[np.ndarray, " m"]]:
    """Windows over shapes, each on one image and in its CRS, and the shape of each."""
    own = grids[rows]
    bounds = shapely.bounds(shapes)
    edges = own.bounds
    bounds[:, :2] = np.maximum(bounds[:, :2], edges[:, :2])  # what lies on the image
    bounds[:, 2:] = np.minimum(bounds[:, 2:], edges[:, 2:])
    corners = np.stack([own.pixels(bounds[:, :2]), own.pixels(bounds[:, 2:])])[:, :, ::-1]
    low, high = corners.min(axis=0), corners.max(axis=0)
    counts_hw = np.maximum(1, np.ceil((high - low) / window_px - 1e-6)).astype(np.int64)
    counts = counts_hw.prod(axis=1)
    owner = np.repeat(np.arange(len(rows)), counts)
    number = np.arange(len(owner)) - np.repeat(counts.cumsum() - counts, counts)
    step = np.stack(np.divmod(number, counts_hw[owner, 1]), axis=1)
    start = (low + high - counts_hw * window_px) / 2
    first = np.rint(start[owner] + step * window_px).astype(np.int64)
    windows = Windows.parts(own[owner], rows[owner], first, window_px)
    touched = np.asarray(shapely.intersects(shapes[owner], shapely.box(*windows.bounds.T)))
    return windows[touched], owner[touched]


def whole_images(grids: Grids, *, window_px: int | None = None) -> Windows:
    """Each image as one window, with or without georeference.

    Args:
        grids: Those of a view: ``dataset.grids``.
        window_px: Rows and columns that every image is resampled to; None keeps its pixels.
    """
    shapes = grids.shapes_hw if window_px is None else np.full((len(grids), 2), window_px)
    count = len(grids)
    return Windows(np.arange(count), grids.bounds, shapes, np.zeros(count, np.int64))
