"""Polygons in one CRS, and on demand in others, found by place."""

from functools import cached_property

import geopandas as gpd
import numpy as np
import shapely
from jaxtyping import Int
from pyproj import CRS

from gv_data.errors import VectorError


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

    def at(self, crs: CRS | None) -> "Placed":
        """The same polygons in a CRS; one that lies where it ends becomes empty.

        Raises:
            VectorError: If only one of both has a CRS.
        """
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

    @cached_property
    def tree(self) -> shapely.STRtree:
        """Finds them."""
        return shapely.STRtree(self.geometries)

    def query(self, area: shapely.Geometry) -> Int[np.ndarray, " n"]:
        """Numbers of those that touch an area, in their order."""
        return np.sort(self.tree.query(area, predicate="intersects"))

    def __getstate__(self) -> dict[str, object]:
        return {k: v for k, v in self.__dict__.items() if k != "tree"}
