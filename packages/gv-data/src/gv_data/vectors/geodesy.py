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

_STRIP_DEG, _SIDE_DEG = 90, 0.1
"""Width of a strip, and of the sides that follow a parallel to 1e-6 of the area."""

_MUCH = 0.45
"""Share of the Earth from which on a polygon is cut: an area of half is taken for the rest."""


def area_m2(geometries: Geometries, crs: CRS | str | None) -> Float[np.ndarray, " n"]:
    """Ground area of polygons.

    Args:
        geometries: Polygons and multipolygons; rings may run either way.
        crs: CRS of their coordinates.

    Returns:
        Square metres, holes subtracted. In degrees, what has a side of more than 180 of them off
        the poles, or covers nearly half of the Earth and more, is as wide as it is drawn: its sides
        are straight in longitude and latitude. 0 for points, lines and missing geometries, NaN
        where a coordinate has no longitude and latitude.

    Raises:
        VectorError: If there is no CRS.

    Examples:
        >>> equator = shapely.box(0, 0, 1, 1)
        >>> int(area_m2([equator], "EPSG:4326")[0] / 1e6)
        12308
    """
    shapes = np.atleast_1d(np.asarray(geometries, dtype=object))
    polygons, owner = shapely.get_parts(shapes, return_index=True)
    if crs is not None and CRS(crs).is_geographic:
        polygons, piece_of = _pieces(polygons)
        owner = owner[piece_of]
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


def _pieces(polygons: np.ndarray) -> tuple[np.ndarray, Int[np.ndarray, " p"]]:
    """Cut polygons in degrees of which geodesics would enclose the other side of the Earth.

    Returns:
        The polygons, those cut into strips of longitude with many vertices; the number of the
        polygon that each is of.
    """
    whole = np.arange(len(polygons))
    west, _, east, _ = shapely.bounds(polygons).reshape(-1, 4).T
    wide = [n for n in np.flatnonzero(east - west > 180) if _encloses_much(polygons[n])]
    if not wide:
        return polygons, whole
    found, owners = [np.delete(polygons, wide)], [np.delete(whole, wide)]
    for n in wide:
        edges = np.append(np.arange(west[n], east[n], _STRIP_DEG), east[n])
        strips = shapely.box(edges[:-1], -90, edges[1:], 90)
        cut = shapely.get_parts(shapely.intersection(polygons[n], strips))
        cut = cut[shapely.get_dimensions(cut) == 2]
        found.append(shapely.segmentize(shapely.get_parts(cut), _SIDE_DEG))
        owners.append(np.full(len(found[-1]), n))
    return np.concatenate(found), np.concatenate(owners)


def _encloses_much(polygon: shapely.Geometry) -> bool:
    """Whether a polygon in degrees has a side over half of a parallel, or covers half the Earth."""
    if shapely.get_dimensions(polygon) != 2 or not shapely.is_valid(polygon):
        return False
    longitude, latitude = shapely.get_coordinates(shapely.get_exterior_ring(polygon)).T
    side = np.abs(np.diff(longitude)) > 180
    at_pole = np.minimum(np.abs(latitude[1:]), np.abs(latitude[:-1])) > 90 - 1e-9
    height = np.sin(np.radians(latitude))  # with the longitude, an equal area on the sphere
    area = np.sum(np.diff(longitude) * (height[1:] + height[:-1])) / 2
    return bool((side & ~at_pole).any() or abs(area) > _MUCH * 360 * 2)


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
