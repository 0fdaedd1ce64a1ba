"""Areas and lengths on the ground: on the WGS 84 ellipsoid, never in degrees or projected units.

Vertices are transformed to longitude and latitude and joined by geodesics (Karney 2013, J. Geodesy
87, 43-55, as in pyproj). A side that is straight in a projection differs from its geodesic by far
less than a millimetre at the size of buildings and fields.
"""

from itertools import pairwise

import numpy as np
import shapely
from jaxtyping import Float, Int
from pyproj import CRS, Geod, Transformer

from gv_data.errors import VectorError
from gv_data.vectors.polygons import Geometries

_ELLIPSOID = Geod(ellps="WGS84")


def area_m2(geometries: Geometries, crs: CRS | str | None) -> Float[np.ndarray, " n"]:
    """Ground area of polygons.

    Args:
        geometries: Polygons and multipolygons; rings may run either way.
        crs: CRS of their coordinates.

    Returns:
        Square metres, holes subtracted; 0 for points, lines and missing geometries, NaN where a
        coordinate has no longitude and latitude.

    Raises:
        VectorError: If there is no CRS.

    Examples:
        >>> equator = shapely.box(0, 0, 1, 1)
        >>> int(area_m2([equator], "EPSG:4326")[0] / 1e6)
        12308
    """
    shapes = np.atleast_1d(np.asarray(geometries, dtype=object))
    polygons, owner = shapely.get_parts(shapes, return_index=True)
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    first = np.r_[True, polygon[1:] != polygon[:-1]][: len(rings)]  # the exterior leads
    longitude, latitude, ring = _degrees(rings, crs)
    starts = np.searchsorted(ring, np.arange(len(rings) + 1))
    areas = np.array(
        [
            abs(_ELLIPSOID.polygon_area_perimeter(longitude[a:b], latitude[a:b])[0])
            for a, b in pairwise(starts)
        ]
    )
    signed = np.where(first, areas, -areas)
    return np.bincount(owner[polygon], weights=signed, minlength=len(shapes))


def length_m(geometries: Geometries, crs: CRS | str | None) -> Float[np.ndarray, " n"]:
    """Ground length of lines, or perimeter of polygons with their holes.

    Args:
        geometries: Lines, polygons and collections of one of them.
        crs: CRS of their coordinates.

    Returns:
        Metres; 0 for points and missing geometries.

    Raises:
        VectorError: If there is no CRS.
    """
    shapes = np.atleast_1d(np.asarray(geometries, dtype=object))
    parts, owner = shapely.get_parts(shapes, return_index=True)
    areal = shapely.get_dimensions(parts) == 2
    rings, ring_owner = shapely.get_rings(parts[areal], return_index=True)
    lines = np.r_[parts[~areal], rings]
    line_owner = np.r_[owner[~areal], owner[areal][ring_owner]]
    longitude, latitude, line = _degrees(lines, crs)
    joined = line[1:] == line[:-1]
    a, b = np.flatnonzero(joined), np.flatnonzero(joined) + 1
    _, _, lengths = _ELLIPSOID.inv(longitude[a], latitude[a], longitude[b], latitude[b])
    return np.bincount(line_owner[line[a]], weights=lengths, minlength=len(shapes))


def _degrees(
    lines: np.ndarray, crs: CRS | str | None
) -> tuple[Float[np.ndarray, " v"], Float[np.ndarray, " v"], Int[np.ndarray, " v"]]:
    """Longitude and latitude of all vertices, and the line each belongs to."""
    if crs is None:
        raise VectorError("areas and lengths on the ground need a CRS, the geometries have none")
    xy, line = shapely.get_coordinates(lines, return_index=True)
    to_degrees = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    longitude, latitude = to_degrees.transform(xy[:, 0], xy[:, 1])
    lost = ~np.isfinite(longitude)
    return np.where(lost, np.nan, longitude), np.where(lost, np.nan, latitude), line
