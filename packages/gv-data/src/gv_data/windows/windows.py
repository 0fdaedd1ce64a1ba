"""Windows of images: one as torchgeo's slice, many as a table that can be filtered and drawn."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, overload, override

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from jaxtyping import Float, Int

from gv_data.antimeridian import polygons
from gv_data.errors import CatalogError
from gv_data.grid import Grid, lonlat
from gv_data.store.grids import Grids

_BOUNDS = ("west", "south", "east", "north")
_SHAPE = ("height_px", "width_px")


class ImageSlice(tuple[slice, slice]):
    """torchgeo's ``GeoSlice`` (x and y as start:stop:step in CRS units) that knows its image.

    Attributes:
        row: Position of the image in the view; the coordinates are in its CRS.
        seed: For the random choices made on this window.
    """

    row: int
    seed: int

    @classmethod
    def made(cls, slices: Iterable[slice], row: int, seed: int) -> Self:
        """The slice of some coordinates."""
        new = cls(slices)
        new.row, new.seed = row, seed
        return new

    @classmethod
    def of(cls, row: int, grid: Grid, seed: int) -> Self:
        """The slice of a grid's ground and pixels."""
        west, south, east, north = grid.bounds
        x = slice(west, east, (east - west) / grid.width_px)
        y = slice(south, north, (north - south) / grid.height_px)
        return cls.made((x, y), row, seed)

    @property
    def shape_hw(self) -> tuple[int, int]:
        """Rows and columns of the window."""
        x, y = self
        return round((y.stop - y.start) / y.step), round((x.stop - x.start) / x.step)

    def __reduce__(self) -> tuple[Callable[..., "ImageSlice"], tuple[Any, ...]]:
        return ImageSlice.made, (tuple(self), self.row, self.seed)


@dataclass(frozen=True, eq=False)
class Windows(Sequence[ImageSlice]):
    """Many windows as columns, each made an `ImageSlice` when it is asked for.

    Attributes:
        rows: Position of each window's image in the view.
        bounds: West, south, east, north in the CRS of that image.
        shapes_hw: Rows and columns.
        seeds: For the random choices made on each window.
    """

    rows: Int[np.ndarray, " n"]
    bounds: Float[np.ndarray, "n 4"]
    shapes_hw: Int[np.ndarray, "n 2"]
    seeds: Int[np.ndarray, " n"]

    @classmethod
    def parts(
        cls,
        grids: Grids,
        rows: Int[np.ndarray, " n"],
        first: Int[np.ndarray, "n 2"],
        shapes_hw: Int[np.ndarray, "n 2"] | int,
    ) -> "Windows":
        """Windows of whole pixels.

        Args:
            grids: The grid of each window.
            rows: Position of its image in the view.
            first: Its first row and column in the grid; they may lie outside.
            shapes_hw: Its rows and columns, or the side of all.
        """
        shapes_hw = np.broadcast_to(shapes_hw, (len(rows), 2))
        seeds = np.zeros(len(rows), np.int64)
        return cls(rows, grids.parts(first, shapes_hw), shapes_hw, seeds)

    @classmethod
    def joined(cls, tables: Iterable["Windows"]) -> "Windows":
        """Several tables as one."""
        kept = list(tables)
        if not kept:
            return cls(*(np.empty(size, np.int64) for size in (0, (0, 4), (0, 2), 0)))
        names = ("rows", "bounds", "shapes_hw", "seeds")
        return cls(*(np.concatenate([getattr(table, name) for table in kept]) for name in names))

    @override
    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> ImageSlice: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray) -> "Windows": ...
    @override
    def __getitem__(self, index: int | slice | np.ndarray) -> "ImageSlice | Windows":
        """One window; or those of a slice, a mask or positions."""
        if isinstance(index, slice | np.ndarray):
            return Windows(
                self.rows[index], self.bounds[index], self.shapes_hw[index], self.seeds[index]
            )
        position = range(len(self))[index]
        return next(iter(self[position : position + 1]))

    @override
    def __iter__(self) -> Iterator[ImageSlice]:
        west, south, east, north = self.bounds.T.tolist()
        steps = (self.bounds[:, 2:] - self.bounds[:, :2]) / self.shapes_hw[:, ::-1]
        step_x, step_y = steps.T.tolist()
        x = map(slice, west, east, step_x)
        y = map(slice, south, north, step_y)
        return map(ImageSlice.made, zip(x, y, strict=True), self.rows.tolist(), self.seeds.tolist())

    def seeded(self, seeds: Int[np.ndarray, " n"]) -> "Windows":
        """The same windows with other seeds."""
        return replace(self, seeds=seeds)

    def distinct(self) -> "Windows":
        """The first window of each ground, where images of one CRS show it several times.

        For ``ListedWindows(...) @ torchgeo's temporal sampler``, which takes each at all its times.
        """
        _, first = np.unique(self.bounds, axis=0, return_index=True)
        return self[np.sort(first)]

    def frame(self, grids: Grids, ids: Sequence[str]) -> gpd.GeoDataFrame:
        """The windows as polygons, to filter, to draw or to keep.

        Args:
            grids: Those of the view.
            ids: Names of its images.

        Returns:
            A row a window in its order, with ``id``, bounds in the image's CRS, ``height_px``,
            ``width_px`` and ``seed``. Polygons are in the CRS of the images if they share one, else
            in longitude and latitude; None without georeference.
        """
        boxes = shapely.box(*self.bounds.T)
        systems = list(grids[self.rows].by_crs())
        for crs, rows in systems if len(systems) > 1 else ():
            if crs is None:
                boxes[rows] = None
            else:
                corners = shapely.get_coordinates(boxes[rows]).reshape(-1, 5, 2)[:, :4]
                degrees = lonlat(crs, tuple(np.moveaxis(corners, -1, 0)))
                boxes[rows] = polygons(np.stack(degrees, axis=-1))
        columns = {"id": np.array(ids, object)[self.rows]}
        columns |= dict(zip(_BOUNDS, self.bounds.T, strict=True))
        columns |= dict(zip(_SHAPE, self.shapes_hw.T, strict=True))
        crs = systems[0][0] if len(systems) == 1 else "OGC:CRS84"
        return gpd.GeoDataFrame({**columns, "seed": self.seeds}, geometry=boxes, crs=crs)

    @classmethod
    def of_frame(cls, frame: pd.DataFrame, ids: Sequence[str]) -> "Windows":
        """The windows of a table as `frame` gives it, of images that may stand elsewhere by now.

        Raises:
            CatalogError: If the view lacks an image of the table.
        """
        rows = pd.Index(ids).get_indexer(pd.Index(frame["id"]))
        if (rows < 0).any():
            lost = frame["id"].to_numpy()[rows < 0]
            raise CatalogError(
                f"{len(lost):,} of {len(frame):,} windows lie on images that the view does not "
                f"have, {lost[0]} for one: filter the table, or take another view"
            )
        return cls(
            rows,
            frame[list(_BOUNDS)].to_numpy(float),
            frame[list(_SHAPE)].to_numpy(int),
            frame["seed"].to_numpy(int),
        )
