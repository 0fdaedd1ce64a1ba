"""The pixels of many images as columns: a hundred thousand cost some arrays, not as many objects.

What `gv_data.grid.Grid` says of one image is said here of all of them at once, to the last digit.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import overload, override

import numpy as np
from affine import Affine
from jaxtyping import Float, Int
from pyproj import CRS

from gv_data.grid import Grid, check_gsd, corners, lonlat, pixel_sizes_m


@dataclass(frozen=True, eq=False)
class Grids(Sequence[Grid]):
    """Grids of many images, each made as a `Grid` when it is asked for.

    Attributes:
        systems: The CRSs there are, each once; None stands for no georeference.
        crs: Position in ``systems`` of each grid's CRS.
        transforms: Six coefficients a grid: (column, row) of pixel corners -> (x, y).
        shapes_hw: Rows and columns of each.
    """

    systems: tuple[CRS | None, ...]
    crs: Int[np.ndarray, " n"]
    transforms: Float[np.ndarray, "n 6"]
    shapes_hw: Int[np.ndarray, "n 2"]

    @classmethod
    def of(cls, grids: Iterable[Grid]) -> "Grids":
        """The columns of some grids."""
        kept = list(grids)
        systems: dict[CRS | None, int] = {}
        return cls(
            crs=np.array([systems.setdefault(g.crs, len(systems)) for g in kept], np.int32),
            systems=tuple(systems),
            transforms=np.array([g.transform[:6] for g in kept], float).reshape(-1, 6),
            shapes_hw=np.array([g.shape_hw for g in kept], np.int64).reshape(-1, 2),
        )

    @classmethod
    def joined(cls, tables: Sequence["Grids"]) -> "Grids":
        """Some grids after others, each CRS once."""
        systems: dict[CRS | None, int] = {}
        numbers = [[systems.setdefault(s, len(systems)) for s in one.systems] for one in tables]
        renamed = [
            np.array(number, np.int32)[one.crs] for number, one in zip(numbers, tables, strict=True)
        ]
        return cls(
            systems=tuple(systems),
            crs=np.concatenate(renamed),
            transforms=np.concatenate([one.transforms for one in tables]),
            shapes_hw=np.concatenate([one.shapes_hw for one in tables]),
        )

    @override
    def __len__(self) -> int:
        return len(self.crs)

    @overload
    def __getitem__(self, index: int) -> Grid: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray) -> "Grids": ...
    @override
    def __getitem__(self, index: int | slice | np.ndarray) -> "Grid | Grids":
        """One grid; or the grids of a slice, a mask or positions."""
        if isinstance(index, slice | np.ndarray):
            return Grids(
                self.systems, self.crs[index], self.transforms[index], self.shapes_hw[index]
            )
        height_px, width_px = self.shapes_hw[index].tolist()
        transform = Affine(*self.transforms[index].tolist())
        return Grid(self.systems[self.crs[index]], transform, height_px, width_px)

    @override
    def __iter__(self) -> Iterator[Grid]:
        return map(self.__getitem__, range(len(self)))

    @cached_property
    def bounds(self) -> Float[np.ndarray, "n 4"]:
        """West, south, east, north of each in units of its CRS."""
        return bounds_of(self.transforms, self.shapes_hw)

    @cached_property
    def pixel_m(self) -> Float[np.ndarray, "n 2"]:
        """Height and width of each central pixel in metres on the ground.

        Raises:
            RasterError: If an image is not georeferenced.
        """
        found = np.empty((len(self), 2))
        for crs, rows in self.by_crs():
            found[rows] = pixel_sizes_m(crs, self.transforms[rows], self.shapes_hw[rows])
        return found

    @property
    def gsd_m(self) -> Float[np.ndarray, " n"]:
        """Ground sampling distance of each, as `Grid.gsd_m`."""
        return np.sqrt(self.pixel_m.prod(axis=1))

    def at_gsd(self, gsd_m: float | None) -> "Grids":
        """The same ground with pixels of a wanted size, as `Grid.at_gsd`.

        Raises:
            RasterError: If a size is asked for that is not above 0, or an image is not
                georeferenced.
        """
        if gsd_m is None:
            return self
        check_gsd(gsd_m)
        return self.scaled(gsd_m / self.pixel_m)

    def scaled(self, factors: Float[np.ndarray, "n 2"]) -> "Grids":
        """The same ground with pixels some times as high and as wide, as `Grid.scaled`."""
        shapes = np.maximum(1, np.rint(self.shapes_hw / factors)).astype(np.int64)
        down, across = (self.shapes_hw / shapes).T
        ones = np.ones(len(self))
        steps = np.stack([across, down, ones, across, down, ones], axis=1)
        return replace(self, transforms=self.transforms * steps, shapes_hw=shapes)

    def parts(
        self, first: Int[np.ndarray, "n 2"], shapes_hw: Int[np.ndarray, "n 2"]
    ) -> Float[np.ndarray, "n 4"]:
        """Bounds of a window in each grid, as those of `Grid.part`.

        Args:
            first: First row and column; they may lie outside.
            shapes_hw: Rows and columns of the windows.
        """
        rows, columns = first.T
        moved = self.transforms.copy()
        moved[:, 2], moved[:, 5] = corners(self.transforms, columns, rows)
        return bounds_of(moved, shapes_hw)

    def pixels(self, xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Column and row (corners, not rounded) of a point in each grid, as `Grid.pixels`."""
        return (xy - self.transforms[:, [2, 5]]) / self.transforms[:, [0, 4]]

    def by_crs(self) -> Iterator[tuple[CRS | None, Int[np.ndarray, " m"]]]:
        """The CRSs that occur, with the positions of their grids."""
        for number, crs in enumerate(self.systems):
            rows = np.flatnonzero(self.crs == number)
            if len(rows):
                yield crs, rows

    def outlines_lonlat(self) -> Float[np.ndarray, "n 4 2"]:
        """Longitude and latitude of the four corners of each; NaN without georeference."""
        found = np.full((len(self), 4, 2), np.nan)
        for crs, rows in self.by_crs():
            if crs is not None:
                height, width = self.shapes_hw[rows].T[:, :, None]
                across, down = np.array([0, 1, 1, 0]) * width, np.array([0, 0, 1, 1]) * height
                xy = corners(self.transforms[rows][:, None], across, down)
                found[rows] = np.stack(lonlat(crs, xy), axis=-1)
        return found


def bounds_of(
    transforms: Float[np.ndarray, "n 6"], shapes_hw: Int[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 4"]:
    """West, south, east, north of pixels, in CRS units."""
    height, width = shapes_hw.T
    first = corners(transforms, np.zeros_like(width), np.zeros_like(height))
    last = corners(transforms, width, height)
    (west, east), (south, north) = np.sort(np.stack([first, last], axis=1), axis=1)
    return np.stack([west, south, east, north], axis=1)
