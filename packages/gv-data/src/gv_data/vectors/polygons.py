"""Polygons and pixel masks, each made from the other.

Pixel ``(row, column)`` covers the square between the corners ``(column, row)`` and ``(column + 1,
row + 1)``; the transform maps corners, not centres, to the CRS. A polygon burns the pixels whose
centres it holds (GDAL's rule), and a mask becomes the outlines of its pixels, so that burning them
again gives the same mask.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from jaxtyping import Bool, Int, Integer, UInt8
from numpy.typing import ArrayLike, NDArray

from gv_data.errors import VectorError
from gv_data.rasters.quiet import quiet

type Geometries = Iterable[shapely.Geometry | None] | NDArray[np.object_]
"""A list, array or GeoSeries of geometries, where None is missing."""


@dataclass(frozen=True)
class Repaired:
    """Usable polygons out of what was given."""

    geometries: NDArray[np.object_]
    """Valid, 2D, non-empty polygons and multipolygons."""

    index: NDArray[np.intp]
    """Position in the input of each, ascending."""

    repaired: int
    """How many of them were invalid, e.g. self-intersecting, or not only polygons."""

    dropped: int
    """How many inputs were missing, empty, or without area."""


def repair(geometries: Geometries) -> Repaired:
    """Make polygons valid; keep what has an area.

    Args:
        geometries: Shapely geometries or None.

    Returns:
        The polygons and what became of the rest. A bow-tie becomes two triangles.
    """
    given = shapely.force_2d(np.atleast_1d(np.asarray(geometries, dtype=object)))
    good = shapely.is_valid(given) & np.isin(shapely.get_type_id(given), (3, 6))
    made = given.copy()
    for i in np.flatnonzero(~good & ~shapely.is_missing(given)):
        made[i] = _areal(shapely.make_valid(given[i], method="structure", keep_collapsed=False))
    kept = (shapely.area(made) > 0) & ~shapely.is_missing(made)
    return Repaired(
        geometries=made[kept],
        index=np.flatnonzero(kept),
        repaired=int((kept & ~good).sum()),
        dropped=int((~kept).sum()),
    )


def _areal(geometry: shapely.Geometry) -> shapely.Geometry:
    """The polygons of a geometry, joined."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return shapely.union_all(parts[shapely.get_dimensions(parts) == 2])


def rasterize(
    polygons: Geometries,
    transform: Affine,
    shape_hw: tuple[int, int],
    *,
    values: ArrayLike | int = 1,
    dtype: type[np.uint8] | type[np.int32] = np.uint8,
) -> Integer[np.ndarray, "h w"]:
    """Burn polygons into a mask.

    Args:
        polygons: Polygons in the CRS of the transform.
        transform: From pixel corners to the CRS.
        shape_hw: Rows and columns of the mask.
        values: What to burn: one number, or one a polygon, the later winning; 0 is background.
        dtype: ``np.uint8``, or ``np.int32`` for one label an instance.

    Returns:
        The mask: a pixel is burnt when its centre lies inside.

    Raises:
        VectorError: If a value does not fit ``dtype`` or there are not as many as polygons.
    """
    shapes = np.atleast_1d(np.asarray(polygons, dtype=object))
    burnt = np.broadcast_to(np.asarray(values), shapes.shape) if np.ndim(values) == 0 else values
    burnt = np.asarray(burnt)
    if len(burnt) != len(shapes):
        raise VectorError(f"{len(shapes)} polygons need as many values, got {len(burnt)}")
    mask = np.zeros(shape_hw, dtype)
    near = shapely.intersects(shapes, _footprint(transform, shape_hw)) & ~shapely.is_empty(shapes)
    if not near.any():
        return mask
    if burnt[near].min() < 0 or burnt[near].max() > np.iinfo(dtype).max:
        raise VectorError(f"values up to {burnt[near].max()} do not fit {np.dtype(dtype).name}")
    pairs = zip(shapes[near], burnt[near].tolist(), strict=True)
    with quiet():  # it warns when several threads burn at once
        rasterio.features.rasterize(pairs, out=mask, transform=transform)
    return mask


def _footprint(transform: Affine, shape_hw: tuple[int, int]) -> shapely.Polygon:
    height, width = shape_hw
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    return shapely.Polygon([transform @ corner for corner in corners])


def outline(labels: Integer[np.ndarray, "h w"], width_px: int = 1) -> Bool[np.ndarray, "h w"]:
    """The rim of every instance, inside it; instances that touch have one on either side.

    Args:
        labels: One number an instance, 0 for background.
        width_px: Pixels from the instance's edge inwards, along rows and columns.

    Returns:
        True on rims. The border of the image is no edge: the instance may go on outside.
    """
    inner = labels.astype(np.int64)
    rim = np.zeros(labels.shape, bool)
    for _ in range(width_px):
        step = np.zeros(labels.shape, bool)
        across, down = inner[:, 1:] != inner[:, :-1], inner[1:] != inner[:-1]
        step[:, 1:] |= across
        step[:, :-1] |= across
        step[1:] |= down
        step[:-1] |= down
        step &= inner > 0
        rim |= step
        inner[step] = -1
    return rim


def polygonize(
    mask: Bool[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"], transform: Affine
) -> NDArray[np.object_]:
    """Outlines of the connected regions of a mask.

    Args:
        mask: Regions are non-zero pixels that share a side (4-connectivity); a corner does not
            connect.
        transform: From pixel corners to the CRS.

    Returns:
        One valid polygon a region, with its holes, along pixel edges.
    """
    polygons, _ = polygonize_labels((np.asarray(mask) != 0).astype(np.uint8), transform)
    return polygons


def polygonize_labels(
    labels: Int[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"], transform: Affine
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Outlines of the connected regions of equal label.

    Args:
        labels: uint8 or int32, 0 for background.
        transform: From pixel corners to the CRS.

    Returns:
        Polygons along pixel edges, and the label of each.
    """
    found = rasterio.features.shapes(labels, mask=labels != 0, connectivity=4, transform=transform)
    rings: list[np.ndarray] = []
    counts, values = [], []
    for geometry, value in found:
        rings += [np.asarray(ring) for ring in geometry["coordinates"]]
        counts.append(len(geometry["coordinates"]))
        values.append(int(value))
    return _from_rings(rings, counts), np.array(values, dtype=np.int64)


def _from_rings(rings: list[np.ndarray], counts: list[int]) -> NDArray[np.object_]:
    """Polygons from their rings, the exterior first, ``counts`` rings each."""
    if not rings:
        return np.empty(0, dtype=object)
    starts = np.r_[0, np.cumsum([len(ring) for ring in rings])]
    return shapely.from_ragged_array(
        shapely.GeometryType.POLYGON,
        np.concatenate(rings),
        (starts, np.r_[0, np.cumsum(counts)]),
    )
