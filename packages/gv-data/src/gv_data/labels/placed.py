"""Polygons in one CRS, and on demand in others, found by place."""

from functools import cached_property

import geopandas as gpd
import numpy as np
import shapely
from jaxtyping import Float, Int
from pyproj import CRS

from gv_data.antimeridian import shifted
from gv_data.errors import VectorError
from gv_data.grid import Bounds

_PLAIN = (-180.0, 180.0)
"""The usual longitudes."""

_FRAME_DEG = 10.0
"""Frames of longitudes are this coarse, so that images side by side share one."""


class Placed:
    """Polygons in a CRS; without one they are those of a single image and stay where they are.

    Attributes:
        geometries: The polygons.
        crs: Of their coordinates.
    """

    def __init__(self, geometries: np.ndarray, crs: CRS | None) -> None:
        """Hold polygons."""
        self.geometries = geometries
        self.crs = crs
        self._elsewhere: dict[str, Placed] = {}
        self._framed: dict[tuple[float, float], Placed] = {}

    def at(self, crs: CRS | None, bounds: Bounds) -> "Placed":
        """The same polygons in a CRS; one that lies where it ends becomes empty.

        In degrees a place has many longitudes, 360 apart. Where the bounds, or the polygons, reach
        beyond 180 the polygons get those of the bounds, and parts that were cut at 180 degrees
        (RFC 7946) lie side by side; others become empty.

        Args:
            crs: The CRS.
            bounds: Of the ground that is asked for, in it.

        Raises:
            VectorError: If only one of both has a CRS.
        """
        (frame,) = frames(crs, np.array([bounds]))
        return self._in(crs)._within(tuple(frame.tolist()))

    def _in(self, crs: CRS | None) -> "Placed":
        if crs == self.crs:
            return self
        if crs is None or self.crs is None:
            raise VectorError("labels cannot be laid over an image without CRS")
        key = crs.to_wkt()
        if key not in self._elsewhere:
            moved = gpd.GeoSeries(self.geometries, crs=self.crs).to_crs(crs).to_numpy()
            lost = ~np.isfinite(shapely.bounds(moved)).all(axis=1)
            moved[lost] = shapely.Polygon()  # the CRS ends before: far from any image in it
            self._elsewhere[key] = Placed(moved, crs)
        return self._elsewhere[key]

    def _within(self, frame: tuple[float, float]) -> "Placed":
        if not _in_degrees(self.crs) or (frame == _PLAIN and self._plain):
            return self
        if frame not in self._framed:
            self._framed[frame] = Placed(_turned(self.geometries, *frame), self.crs)
        return self._framed[frame]

    @cached_property
    def _plain(self) -> bool:
        """Whether no longitude lies beyond 180."""
        xmin, _, xmax, _ = shapely.total_bounds(self.geometries)
        return not (xmin < _PLAIN[0] or xmax > _PLAIN[1])

    @cached_property
    def tree(self) -> shapely.STRtree:
        """Finds them."""
        return shapely.STRtree(self.geometries)

    def query(self, area: shapely.Geometry) -> Int[np.ndarray, " n"]:
        """Numbers of those that touch an area, in their order."""
        return np.sort(self.tree.query(area, predicate="intersects"))

    def __getstate__(self) -> dict[str, object]:
        return {k: v for k, v in self.__dict__.items() if k != "tree"}


def frames(crs: CRS | None, bounds: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 2"]:
    """The longitudes between which polygons are wanted for some bounds.

    Args:
        crs: Of the bounds.
        bounds: West, south, east and north.

    Returns:
        -180 and 180 for all that lies between them and for a CRS without degrees.
    """
    found = np.tile(_PLAIN, (len(bounds), 1))
    if _in_degrees(crs):
        beyond = (bounds[:, 0] < _PLAIN[0]) | (bounds[:, 2] > _PLAIN[1])
        found[beyond, 0] = np.floor(bounds[beyond, 0] / _FRAME_DEG) * _FRAME_DEG
        found[beyond, 1] = np.ceil(bounds[beyond, 2] / _FRAME_DEG) * _FRAME_DEG
    return found


def _in_degrees(crs: CRS | None) -> bool:
    return crs is not None and crs.is_geographic and crs.axis_info[0].unit_name == "degree"


def _turned(geometries: np.ndarray, west: float, east: float) -> np.ndarray:
    """Polygons with all their parts, moved by whole turns, that lie between two longitudes."""
    parts, owner = shapely.get_parts(geometries, return_index=True)
    low, _, high, _ = shapely.bounds(parts).T
    moved: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    for degrees in (-360.0, 0.0, 360.0):
        inside = (low + degrees < east) & (high + degrees > west)
        moved.append(shifted(parts[inside], np.full(inside.sum(), degrees)))
        owners.append(owner[inside])
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    numbers, starts = np.unique(owner[order], return_index=True)
    found = np.full(len(geometries), shapely.Polygon(), object)
    for number, shapes in zip(
        numbers, np.split(np.concatenate(moved)[order], starts[1:]), strict=False
    ):  # of nothing, split makes one empty part
        found[number] = shapes[0] if len(shapes) == 1 else shapely.union_all(shapes)
    return found
