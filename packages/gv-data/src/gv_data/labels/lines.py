"""Lines with a width on the ground, such as roads, as polygons."""

import math
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from gv_data.errors import VectorError

_CELL_DEG = 0.5
"""Lines nearer than this share a projection: 40 km from its centre lengths are right to 1e-5."""

_STRAIGHT_M = 500.0
"""A side this long is drawn as one line: at 60 degrees north a parallel bends by 9 mm on it."""

_QUADRANT = 16
"""Sides of a quarter of a round end: its area is right to 0.2 %."""

_WIDEST_M = 100_000.0
"""Nothing on the ground that is drawn as a line is wider; a projection shows this much of it."""

_LINES = (shapely.GeometryType.LINESTRING, shapely.GeometryType.MULTILINESTRING)


def are_lines(geometries: NDArray[np.object_]) -> Bool[np.ndarray, " n"]:
    """Which geometries are lines."""
    return np.isin(shapely.get_type_id(geometries), _LINES)


def with_width(
    path: Path, frame: gpd.GeoDataFrame, width_m: float | None, column: str | None
) -> tuple[gpd.GeoDataFrame, int]:
    """Features whose lines have become polygons.

    Args:
        path: Their file, for errors.
        frame: Features in any CRS.
        width_m: Width of lines in metres on the ground.
        column: Attribute that says the width of each; where it holds no number above 0,
            ``width_m`` counts.

    Returns:
        The features, and how many lines had a width; those without stay lines. A line without
        length becomes an empty polygon.

    Raises:
        VectorError: If there is no such column, or a width is not above 0 or beyond 100 km.
    """
    if width_m is None and column is None:
        return frame, 0
    if width_m is not None and not 0 < width_m <= _WIDEST_M:
        raise VectorError(
            f"a line has a width above 0 m, got {width_m}: the most is {_WIDEST_M:,.0f} m"
        )
    geometries = frame.geometry.to_numpy().copy()
    widths = np.full(len(frame), np.nan if width_m is None else width_m)
    if column is not None:
        if column not in frame.columns or column == frame.geometry.name:
            columns = ", ".join(name for name in frame.columns if name != frame.geometry.name)
            raise VectorError(f"{path} has no column {column!r}, it has: {columns or 'none'}")
        own = pd.to_numeric(frame[column], errors="coerce").to_numpy(float, na_value=np.nan)
        widths = np.where(np.isfinite(own) & (own > 0), own, widths)
        if (widths > _WIDEST_M).any():
            raise VectorError(
                f"{path} has a line of {np.nanmax(widths):g} m in the column {column}: a line has "
                f"a width up to {_WIDEST_M:,.0f} m"
            )
    rows = np.flatnonzero(are_lines(geometries) & np.isfinite(widths))
    rows = rows[~shapely.is_empty(geometries[rows])]
    geometries[rows] = widen(geometries[rows], widths[rows], CRS(frame.crs))
    drawn = gpd.GeoSeries(geometries, index=frame.index, crs=frame.crs)
    return frame.set_geometry(drawn), len(rows)


def widen(
    lines: NDArray[np.object_], widths_m: Float[np.ndarray, " n"], crs: CRS
) -> NDArray[np.object_]:
    """Polygons around lines, with round ends.

    Each is drawn in an azimuthal equidistant projection of its neighbourhood (Snyder 1987, USGS
    Professional Paper 1395, p. 191, on the ellipsoid as in PROJ), where distances are those on the
    ground; at c from the middle of the line they are too long by a share of c^2 / 6 R^2, 1e-4 at
    150 km. A line runs straight between its vertices in its own CRS; in degrees its polygon runs on
    beyond 180 where the line crosses that.

    Args:
        lines: Not empty, in units of the CRS.
        widths_m: Of each, above 0.
        crs: Of the lines.

    Returns:
        Polygons in the same CRS; empty where a line has no length or lies outside what the CRS can
        show.
    """
    lines = _with_length(lines)
    found = np.full(len(lines), shapely.Polygon(), object)
    longitude, latitude = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(
        *_middles(lines).T
    )
    seen = np.flatnonzero(np.isfinite(longitude) & (np.abs(latitude) <= 90))
    band = np.floor(latitude[seen] / _CELL_DEG)
    across = np.cos(np.radians((band + 0.5) * _CELL_DEG)) / _CELL_DEG
    cells = np.stack([band, np.floor(longitude[seen] * across)], axis=1)
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    order = np.argsort(cell, kind="stable")
    for rows in np.split(seen[order], np.flatnonzero(np.diff(cell[order])) + 1):
        if len(rows):
            local = CRS.from_dict(
                {
                    "proj": "aeqd",
                    "lon_0": longitude[rows].mean(),
                    "lat_0": latitude[rows].mean(),
                    "datum": "WGS84",
                }
            )
            found[rows] = _widened(lines[rows], widths_m[rows], crs, local)
    return found


def _with_length(lines: NDArray[np.object_]) -> NDArray[np.object_]:
    """Lines without their parts of no length, which GEOS cannot divide; empty if none is left."""
    parts, owner = shapely.get_parts(lines, return_index=True)
    kept = shapely.length(parts) > 0
    if kept.all():
        return lines
    found = np.full(len(lines), shapely.LineString(), object)
    if kept.any():
        shapely.multilinestrings(parts[kept], indices=owner[kept], out=found)
    return found


def _middles(lines: NDArray[np.object_]) -> Float[np.ndarray, "n 2"]:
    """The middle one of the vertices of each line, which lies on it on either side of 180 E.

    NaN for an empty one.
    """
    xy, line = shapely.get_coordinates(lines, return_index=True)
    first = np.searchsorted(line, np.arange(len(lines) + 1))
    middles = np.full((len(lines), 2), np.nan)
    there = np.diff(first) > 0
    middles[there] = xy[((first[:-1] + first[1:]) // 2)[there]]
    return middles


def _widened(
    lines: NDArray[np.object_], widths_m: Float[np.ndarray, " n"], crs: CRS, local: CRS
) -> NDArray[np.object_]:
    there = Transformer.from_crs(crs, local, always_xy=True)
    back = Transformer.from_crs(local, crs, always_xy=True)

    def moved(transformer: Transformer, shapes: NDArray[np.object_]) -> NDArray[np.object_]:
        return shapely.transform(
            shapes, lambda xy: np.stack(transformer.transform(xy[:, 0], xy[:, 1]), axis=1)
        )

    straight = shapely.segmentize(lines, _STRAIGHT_M / _unit_m(lines, there))
    drawn = moved(there, straight)
    lost = ~np.isfinite(shapely.bounds(drawn)).all(axis=1)
    drawn[lost] = shapely.LineString()
    wide = shapely.buffer(drawn, widths_m / 2, quad_segs=_QUADRANT)
    wide = moved(back, shapely.segmentize(wide, _STRAIGHT_M))
    if crs.is_geographic:  # longitudes jump at 180, the outline of a line does not
        middle = _middles(lines)[:, 0]
        turn = 2 * math.pi / crs.axis_info[0].unit_conversion_factor
        xy, shape = shapely.get_coordinates(wide, return_index=True)
        xy[:, 0] += turn * np.rint((middle[shape] - xy[:, 0]) / turn)
        wide = shapely.set_coordinates(wide, xy)
    wide[~np.isfinite(shapely.bounds(wide)).all(axis=1)] = shapely.Polygon()
    return wide


def _unit_m(lines: NDArray[np.object_], there: Transformer) -> float:
    """Metres of a unit of the CRS where it is longest on some lines."""
    xy, line = shapely.get_coordinates(lines, return_index=True)
    sides = line[1:] == line[:-1]
    units = np.hypot(*np.diff(xy, axis=0).T)[sides]
    metres = np.hypot(*np.diff(np.stack(there.transform(*xy.T), axis=1), axis=0).T)[sides]
    known = (units > 0) & np.isfinite(metres) & (metres > 0)
    return float((metres[known] / units[known]).max(initial=1e-9))
