"""Where pixels lie: a coordinate reference system, a transform, a height and a width.

Rows run along the file's lines, columns along its samples; coordinates are those of pixel corners.
Distances on the ground are geodesic (Karney 2013, as in PROJ), never CRS units: a pixel of 0.15
units in EPSG:3857 is 0.13 m at 27 degrees north.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import shapely
from affine import Affine
from jaxtyping import Float, Int
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError

from gv_data.antimeridian import box_around, crosses, cut, traced
from gv_data.errors import RasterError

Bounds = tuple[float, float, float, float]
"""West, south, east, north, in units of a CRS."""

_GEOD = Geod(ellps="WGS84")
_LONLAT = CRS("OGC:CRS84")

_LEAN_MAX_PX = 0.01
"""How far rows and columns may lean over the whole image: what rounding leaves in a transform."""

_STRAIGHT_M = 10_000
"""A side up to this long is drawn as one line: in a UTM zone it bends by some metres at most."""

_INSET_PX = 1e-8
"""How far inside its sides the outline of an image across the antimeridian runs."""


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
        a, b, _, d, e, _, *_ = self.transform
        if not (a and e and all(map(math.isfinite, self.transform))):
            raise RasterError(
                f"pixels need a width and a height, the transform is {tuple(self.transform)}"
            )
        if max(abs(b * self.height_px / a), abs(d * self.width_px / e)) > _LEAN_MAX_PX:
            raise RasterError("a grid with rotated rows is not supported: warp it north-up first")

    @property
    def shape_hw(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height_px, self.width_px

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north in CRS units."""
        x0, y0 = self.transform @ (0, 0)
        x1, y1 = self.transform @ (self.width_px, self.height_px)
        return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)

    @cached_property
    def pixel_m(self) -> tuple[float, float]:
        """Height and width of the central pixel in metres on the ground.

        Raises:
            RasterError: If the image is not georeferenced.
        """
        transforms, shapes_hw = np.array([self.transform[:6]]), np.array([self.shape_hw])
        height_m, width_m = pixel_sizes_m(self.crs, transforms, shapes_hw)[0].tolist()
        return height_m, width_m

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

        Raises:
            RasterError: If a size is asked for that is not above 0, or the image is not
                georeferenced.

        Examples:
            >>> utm = Grid(CRS(32637), Affine(0.5, 0, 500_000, 0, -0.5, 0), 100, 200)
            >>> utm.at_gsd(1.0).shape_hw
            (50, 100)
        """
        if gsd_m is None:
            return self
        check_gsd(gsd_m)
        height_m, width_m = self.pixel_m
        return self.scaled(gsd_m / height_m, gsd_m / width_m)

    def scaled(self, down: float, across: float) -> "Grid":
        """The same ground with pixels some times as high and as wide.

        Args:
            down: Wanted factor on the height of a pixel.
            across: Wanted factor on its width.

        Returns:
            A grid with exactly these bounds, the factors as near as whole numbers of rows and
            columns allow.
        """
        height = max(1, round(self.height_px / down))
        width = max(1, round(self.width_px / across))
        scale = Affine.scale(self.width_px / width, self.height_px / height)
        return replace(self, transform=self.transform @ scale, height_px=height, width_px=width)

    def part(self, row: int, column: int, height_px: int, width_px: int) -> "Grid":
        """The window of some rows and columns; it may reach beyond the grid."""
        moved = self.transform @ Affine.translation(column, row)
        return replace(self, transform=moved, height_px=height_px, width_px=width_px)

    def pixels(self, xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Columns and rows (corners, not rounded) of coordinates in units of the CRS."""
        t = self.transform
        return (xy - [t.c, t.f]) / [t.a, t.e]

    def rows_columns(self, bounds: Bounds) -> tuple[float, float, float, float]:
        """First row, first column, last row, last column (corners, not rounded) of some bounds."""
        west, south, east, north = bounds
        across, _, left, _, down, top, *_ = self.transform
        c0, c1 = (west - left) / across, (east - left) / across
        r0, r1 = (north - top) / down, (south - top) / down
        return min(r0, r1), min(c0, c1), max(r0, r1), max(c0, c1)

    def lonlat_bounds(self) -> Bounds:
        """Bounds in degrees of longitude and latitude (OGC:CRS84).

        West lies above east where the image lies across the antimeridian (RFC 7946, section 5.2).

        Raises:
            RasterError: If the image is not georeferenced.
        """
        return box_around(np.array([self.footprint()]))

    def footprint(self) -> shapely.Polygon | shapely.MultiPolygon:
        """Outline of the grid in degrees of longitude and latitude (OGC:CRS84).

        Returns:
            A polygon; or one on each side of the antimeridian, where the image is cut by it. An
            image with a pole in it reaches from -180 to 180 degrees and up to the pole.

        Raises:
            RasterError: If the image is not georeferenced.
        """
        height, width = self.shape_hw
        rows, columns = (
            np.linspace(0, size, 2 + min(15, int(size * side_m / _STRAIGHT_M)))[:-1]
            for size, side_m in zip(self.shape_hw, self.pixel_m, strict=True)
        )
        ring = np.concatenate(
            [
                [(column, 0) for column in columns],
                [(width, row) for row in rows],
                [(width - column, height) for column in columns],
                [(0, height - row) for row in rows],
            ]
        )
        transform = np.array(self.transform[:6])
        lon, lat = lonlat(self.crs, corners(transform, ring[:, 0], ring[:, 1]))
        outline = shapely.Polygon(list(zip(lon, lat, strict=True)))
        # where lines lead to a pole it has any longitude, and the sides of a thin strip beside it
        # bend into each other between so few points
        projected = self.crs is not None and not self.crs.is_geographic
        polar = projected and np.abs(lat).max() > 90 - 1e-9
        if polar or crosses(lon, lat) or not outline.is_valid:
            return cut(*traced(self._along, _stops(len(columns), len(rows))))
        return outline

    def _along(self, stops: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """Longitudes and latitudes of places along the sides: 0 to 1 is the first side."""
        height, width = self.shape_hw
        # sides may lead through a pole, which has no longitude
        left, right, top, bottom = _INSET_PX, width - _INSET_PX, _INSET_PX, height - _INSET_PX
        columns = np.interp(stops, range(5), [left, right, right, left, left])
        rows = np.interp(stops, range(5), [top, top, bottom, bottom, top])
        return lonlat(self.crs, corners(np.array(self.transform[:6]), columns, rows))


def _stops(across: int, down: int) -> Float[np.ndarray, " n"]:
    """Places along the four sides, so many on each of two, and the first again."""
    sides = [side + np.arange(n) / n for side, n in enumerate((across, down, across, down))]
    return np.r_[(*sides, 4.0)]


def check_gsd(gsd_m: float) -> None:
    """Refuse a ground sampling distance that no pixel can have."""
    if not 0 < gsd_m < math.inf:
        raise RasterError(f"a ground sampling distance is above 0 m, got {gsd_m}")


def corners(
    transforms: Float[np.ndarray, "*n 6"],
    columns: Float[np.ndarray, " *n"],
    rows: Float[np.ndarray, " *n"],
) -> tuple[Float[np.ndarray, " *n"], Float[np.ndarray, " *n"]]:
    """X and y of some (column, row), as `affine.Affine` has them to the last digit.

    Args:
        transforms: Six coefficients a transform.
        columns: Pixel corners, not necessarily whole numbers.
        rows: As many.
    """
    a, b, c, d, e, f = np.moveaxis(transforms, -1, 0)
    return columns * a + rows * b + c, columns * d + rows * e + f


def pixel_sizes_m(
    crs: CRS | None, transforms: Float[np.ndarray, "n 6"], shapes_hw: Int[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 2"]:
    """Height and width of the central pixel of grids in one CRS, in metres on the ground.

    Args:
        crs: Their CRS.
        transforms: Six coefficients a grid.
        shapes_hw: Rows and columns.

    Raises:
        RasterError: If there is no CRS, or a grid does not lie on the Earth.
    """
    if crs is None:
        raise RasterError("an image without CRS has no size on the ground")
    middle = shapes_hw / 2
    # long enough for the digits of the inverse geodesic, short enough to be local
    reach = np.minimum(50, middle)
    ends = np.array([(0, -1), (0, 1), (-1, 0), (1, 0)])  # left, right, top and bottom
    rows, columns = np.moveaxis(middle[:, None] + ends * reach[:, None], -1, 0)
    lon, lat = lonlat(crs, corners(transforms[:, None], columns, rows))
    starts, stops = (np.stack([lon[:, n::2], lat[:, n::2]]) for n in (0, 1))
    _, _, metres = _GEOD.inv(*starts, *stops)
    return metres[:, ::-1] / (2 * reach)


def lonlat(
    crs: CRS | None, xy: tuple[Float[np.ndarray, " *n"], Float[np.ndarray, " *n"]]
) -> tuple[Float[np.ndarray, " *n"], Float[np.ndarray, " *n"]]:
    """Longitudes and latitudes (OGC:CRS84) of coordinates in units of a CRS.

    Raises:
        RasterError: If there is no CRS, it has no relation to the Earth, or a point is not on it.
    """
    if crs is None:
        raise RasterError("an image without CRS has no place on the ground")
    try:
        lon, lat = _to_lonlat(crs).transform(*xy)
    except ProjError as error:
        raise RasterError(f"{crs.name!r} cannot be related to the Earth: {error}") from error
    # half a pixel beyond a pole is usual, metres taken for degrees are not
    lost = ~(np.isfinite(lon) & (np.abs(lat) <= 91))
    if lost.any():
        x, y = (values[lost][0] for values in xy)
        raise RasterError(f"the image does not lie on the Earth: x {x:.9g}, y {y:.9g} in {crs}")
    return lon, lat


@lru_cache(maxsize=1024)
def ends_at_the_antimeridian(crs: CRS | None) -> bool:
    """Whether coordinates on both sides of the antimeridian are far apart, as degrees are.

    Those of a UTM zone or around a pole run on.
    """
    if crs is None:
        return False
    sides = np.array([179.8, 179.9, -179.9]), np.zeros(3)
    x, y = _to_lonlat(crs).transform(*sides, direction="INVERSE")
    near, across = np.hypot(np.diff(x), np.diff(y))
    return not across < 10 * near  # of 0.1 and 0.2 degrees; infinite where the CRS ends before


@lru_cache(maxsize=1024)
def _to_lonlat(crs: CRS) -> Transformer:
    """From a CRS to degrees; made in milliseconds, so kept."""
    return Transformer.from_crs(crs, _LONLAT, always_xy=True)
