"""Where pixels lie: a coordinate reference system, a transform, a height and a width.

Rows run along the file's lines, columns along its samples; coordinates are those of pixel corners.
Distances on the ground are geodesic (Karney 2013, as in PROJ), never CRS units: a pixel of 0.15
units in EPSG:3857 is 0.13 m at 27 degrees north.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

from affine import Affine
from pyproj import CRS, Geod, Transformer

from gv_data.errors import RasterError

Bounds = tuple[float, float, float, float]
"""West, south, east, north, in units of a CRS."""

_GEOD = Geod(ellps="WGS84")
_LONLAT = CRS("OGC:CRS84")


@dataclass(frozen=True)
class Grid:
    """The pixels of an image on the ground.

    Attributes:
        crs: Reference system of the coordinates; None when the image is not georeferenced.
        transform: (column, row) of pixel corners -> (x, y) in units of the CRS.
        height_px: Number of rows.
        width_px: Number of columns.
    """

    crs: CRS | None
    transform: Affine
    height_px: int
    width_px: int

    def __post_init__(self) -> None:
        if self.height_px < 1 or self.width_px < 1:
            raise RasterError(f"a grid needs pixels, got {self.height_px} x {self.width_px}")
        if self.transform.b or self.transform.d:
            raise RasterError("a grid with rotated rows is not supported: warp it north-up first")

    @property
    def shape_hw(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height_px, self.width_px

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north in CRS units."""
        x0, y0 = self.transform * (0, 0)
        x1, y1 = self.transform * (self.width_px, self.height_px)
        return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)

    @cached_property
    def pixel_m(self) -> tuple[float, float]:
        """Height and width of the central pixel in metres on the ground.

        Raises:
            RasterError: If the image is not georeferenced.
        """
        if self.crs is None:
            raise RasterError("an image without CRS has no size on the ground")
        step_px = 50  # long enough for the digits of the inverse geodesic, short enough to be local
        row, column = self.height_px / 2, self.width_px / 2
        ends = [
            (column - step_px, row),
            (column + step_px, row),
            (column, row - step_px),
            (column, row + step_px),
        ]
        to_lonlat = Transformer.from_crs(self.crs, _LONLAT, always_xy=True)
        lon, lat = to_lonlat.transform(*zip(*(self.transform * end for end in ends), strict=True))
        if not all(map(math.isfinite, (*lon, *lat))):
            raise RasterError(f"the image does not lie on the Earth: {self.bounds} in {self.crs}")
        across = _GEOD.inv(lon[0], lat[0], lon[1], lat[1])[2] / (2 * step_px)
        along = _GEOD.inv(lon[2], lat[2], lon[3], lat[3])[2] / (2 * step_px)
        return along, across

    @property
    def gsd_m(self) -> float:
        """Ground sampling distance: side in metres of a square as large as the central pixel."""
        return math.sqrt(self.pixel_m[0] * self.pixel_m[1])

    def at_gsd(self, gsd_m: float | None) -> "Grid":
        """The same ground with pixels of a wanted size on the ground.

        Args:
            gsd_m: Wanted ground sampling distance in metres; None keeps the pixels.

        Returns:
            A grid with exactly these bounds; its pixels differ from ``gsd_m`` by as much as whole
            numbers of rows and columns require (under 0.5 / rows).

        Examples:
            >>> utm = Grid(CRS(32637), Affine(0.5, 0, 500_000, 0, -0.5, 0), 100, 200)
            >>> utm.at_gsd(1.0).shape_hw
            (50, 100)
        """
        if gsd_m is None:
            return self
        along, across = self.pixel_m
        height = max(1, round(self.height_px * along / gsd_m))
        width = max(1, round(self.width_px * across / gsd_m))
        scale = Affine.scale(self.width_px / width, self.height_px / height)
        return Grid(self.crs, self.transform @ scale, height, width)

    def part(self, row: int, column: int, height_px: int, width_px: int) -> "Grid":
        """The window of some rows and columns; it may reach beyond the grid."""
        moved = self.transform @ Affine.translation(column, row)
        return replace(self, transform=moved, height_px=height_px, width_px=width_px)

    def rows_columns(self, bounds: Bounds) -> tuple[float, float, float, float]:
        """First row, first column, last row, last column (corners, not rounded) of some bounds."""
        west, south, east, north = bounds
        c0, r0 = ~self.transform * (west, north)
        c1, r1 = ~self.transform * (east, south)
        return min(r0, r1), min(c0, c1), max(r0, r1), max(c0, c1)

    def lonlat_bounds(self) -> Bounds:
        """Bounds in degrees of longitude and latitude (OGC:CRS84)."""
        if self.crs is None:
            raise RasterError("an image without CRS has no longitude and latitude")
        return Transformer.from_crs(self.crs, _LONLAT, always_xy=True).transform_bounds(
            *self.bounds
        )
