"""Windows of the images of a catalog, with their labels, as torchgeo's samples.

A sample is torchgeo's dictionary: ``image`` float32 (c, h, w) in physical units, ``valid`` bool
(h, w), ``bounds`` and ``transform``; with labels also ``mask`` and ``edge``, int64 (h, w), where
`IGNORE` marks what nobody labelled. Nothing is opened before the first window is asked for.
"""

import os
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import torch
from affine import Affine
from torch.utils.data import Dataset

from gv_data import polygons
from gv_data.catalog import Image
from gv_data.errors import CatalogError
from gv_data.grid import Grid
from gv_data.labels import Labels
from gv_data.raster import Scene

if TYPE_CHECKING:
    from gv_data.catalog import Catalog

type Sample = dict[str, Any]

IGNORE = 255
"""Value of ``mask`` and ``edge`` where labels are not complete or there is no image."""

_OPEN_SCENES = 32


class ImageSlice(tuple[slice, slice]):
    """torchgeo's ``GeoSlice`` (x and y as start:stop:step in CRS units) that knows its image.

    Attributes:
        row: Position of the image in the view; the coordinates are in its CRS.
        seed: For the random choices made on this window.
    """

    row: int
    seed: int

    @classmethod
    def of(cls, row: int, grid: Grid, seed: int) -> Self:
        """The slice of a grid's ground and pixels."""
        west, south, east, north = grid.bounds
        made = cls(
            (
                slice(west, east, (east - west) / grid.width_px),
                slice(south, north, (north - south) / grid.height_px),
            )
        )
        made.row, made.seed = row, seed
        return made

    @property
    def shape_hw(self) -> tuple[int, int]:
        """Rows and columns of the window."""
        x, y = self
        return round((y.stop - y.start) / y.step), round((x.stop - x.start) / x.step)

    def __reduce__(self) -> tuple[Callable[..., "ImageSlice"], tuple[Any, ...]]:
        return _rebuilt, (tuple(self), self.row, self.seed)


class CatalogDataset(Dataset[Sample]):
    """Any window of any image of a view, at one ground sampling distance.

    Images keep their own CRS: nothing is warped. It works with PyTorch's loaders under fork and
    spawn, and with torchgeo's samplers where all images share one CRS.
    """

    def __init__(
        self,
        catalog: "Catalog",
        *,
        gsd_m: float | None = None,
        labels: bool = True,
        edge_px: int = 2,
        transforms: Callable[[Sample, np.random.Generator], Sample] | None = None,
    ) -> None:
        """Look at a view; no file is touched.

        Args:
            catalog: The view.
            gsd_m: Ground sampling distance of the windows in metres; None keeps each image's own.
            labels: Whether samples carry ``mask`` and ``edge``.
            edge_px: Width of the outlines in ``edge``, in pixels of the window.
            transforms: Changes a sample; gets a generator seeded by the window.

        Raises:
            CatalogError: If the view holds no image, or labels are wanted that some do not have.
        """
        self.catalog = catalog
        self.images = catalog.images
        if not self.images:
            raise CatalogError(f"there is no image in {catalog.said}")
        bare = [image.id for image in self.images if image.vectors is None]
        if labels and bare:
            raise CatalogError(
                f"{len(bare)} of {len(self.images)} images in {catalog.said} have no labels, "
                f"{bare[0]} for one\n  try: the condition vectors IS NOT NULL, or gv-data index "
                "... --labels FILE"
            )
        self.gsd_m = gsd_m
        self.labels = labels
        self.edge_px = edge_px
        self.transforms = transforms
        self.grids = [image.grid.at_gsd(gsd_m) for image in self.images]
        self._scenes: OrderedDict[Path, Scene] = OrderedDict()
        self._process = os.getpid()
        self._labels: dict[tuple[Path | str | bool | None, ...], Labels] = {}

    @cached_property
    def index(self) -> gpd.GeoDataFrame:
        """Footprints as torchgeo's samplers expect them.

        Raises:
            CatalogError: If the images do not share one CRS.
        """
        crs = {None if i.grid.crs is None else i.grid.crs.to_wkt() for i in self.images}
        if len(crs) != 1:
            raise CatalogError(
                f"images in {len(crs)} CRSs have no common index; use gv_data.samplers"
            )
        always = pd.IntervalIndex.from_tuples(
            [(pd.Timestamp.min, pd.Timestamp.max)] * len(self.images),
            closed="both",
            name="datetime",
        )
        return gpd.GeoDataFrame(
            {"filepath": [str(image.path) for image in self.images]},
            geometry=[shapely.box(*grid.bounds) for grid in self.grids],
            crs=self.images[0].grid.crs,
            index=always,
        )

    @property
    def res(self) -> tuple[float, float]:
        """Pixel size (x, y) in CRS units of the first image."""
        transform = self.grids[0].transform
        return abs(transform.a), abs(transform.e)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: "ImageSlice | tuple[slice, ...] | int") -> Sample:
        """Read one window.

        Args:
            index: An `ImageSlice`; or a torchgeo ``GeoSlice`` with steps, read from the first image
                that holds its centre; or the position of an image, read whole.

        Returns:
            The sample.
        """
        query = self._placed(index)
        image, grid = self.images[query.row], self._window(query)
        values, valid = self._read(image, grid)
        sample: Sample = {
            "image": values,
            "valid": valid,
            "bounds": np.array([v for s in query for v in (s.start, s.stop, s.step)]),
            "transform": np.array(grid.transform, float),
            "id": image.id,
        }
        if self.labels:
            sample |= self._truth(image, grid, valid)
        if self.transforms is not None:
            sample = self.transforms(sample, np.random.default_rng(query.seed))
        return {key: _tensor(value) for key, value in sample.items()}

    def _placed(self, query: "ImageSlice | tuple[slice, ...] | int") -> ImageSlice:
        if isinstance(query, ImageSlice):
            return query
        if isinstance(query, int):
            return ImageSlice.of(query, self.grids[query], 0)
        x, y = query[0], query[1]
        centre = shapely.Point((x.start + x.stop) / 2, (y.start + y.stop) / 2)
        rows = np.flatnonzero(self.index.contains(centre).to_numpy())
        if not len(rows):
            raise IndexError(f"no image at {centre.x}, {centre.y}")
        step_x, step_y = self.res
        made = ImageSlice(
            (slice(x.start, x.stop, x.step or step_x), slice(y.start, y.stop, y.step or step_y))
        )
        made.row, made.seed = int(rows[0]), 0
        return made

    def _window(self, query: ImageSlice) -> Grid:
        """The pixels of a query, in the orientation of its image."""
        x, y = query
        height, width = query.shape_hw
        own = self.images[query.row].grid.transform
        across, down = (x.step if own.a > 0 else -x.step), (y.step if own.e > 0 else -y.step)
        corner = (x.start if own.a > 0 else x.stop, y.start if own.e > 0 else y.stop)
        transform = Affine(across, 0, corner[0], 0, down, corner[1])
        return Grid(self.images[query.row].grid.crs, transform, height, width)

    def _read(self, image: Image, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        top, left, bottom, right = image.grid.rows_columns(grid.bounds)
        row, column = image.origin
        window = (top + row, left + column, bottom + row, right + column)
        scene = self._scene(image)
        values, valid = scene.read(window, grid.shape_hw)
        inside = np.ix_(
            _inside(top, bottom, grid.height_px, row, image.grid.height_px, scene.grid.height_px),
            _inside(left, right, grid.width_px, column, image.grid.width_px, scene.grid.width_px),
        )
        shown = np.zeros_like(valid)
        shown[inside] = valid[inside]
        return np.where(shown, values, np.float32(0)), shown

    def labels_of(self, image: Image) -> Labels:
        """The labels of an image, read once."""
        key = (image.vectors, image.labelled_area, image.labels_crs, image.labels_swapped)
        if key not in self._labels:
            self._labels[key] = Labels.of(image)
        return self._labels[key]

    def _truth(self, image: Image, grid: Grid, valid: np.ndarray) -> Sample:
        truth = self.labels_of(image).on(grid)
        known = valid & truth.labelled
        edge = polygons.outline(truth.instances, width_px=self.edge_px)
        return {
            "mask": np.where(known, truth.instances > 0, IGNORE).astype(np.int64),
            "edge": np.where(known, edge, IGNORE).astype(np.int64),
        }

    def _scene(self, image: Image) -> Scene:
        """The open file of an image; the least recently used one is closed when there are many."""
        if self._process != os.getpid():  # forked: the parent's files share their positions with us
            self._scenes, self._process = OrderedDict(), os.getpid()
        if image.path in self._scenes:
            self._scenes.move_to_end(image.path)
        else:
            self._scenes[image.path] = Scene(image.path, driver=image.driver)
            if len(self._scenes) > _OPEN_SCENES:
                self._scenes.popitem(last=False)[1].close()
        return self._scenes[image.path]

    def close(self) -> None:
        """Close all files; the next window opens them again."""
        for scene in self._scenes.values():
            scene.close()
        self._scenes.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Open files stay behind when a worker process gets a copy."""
        return {**self.__dict__, "_scenes": OrderedDict(), "_labels": {}}


def _rebuilt(slices: tuple[slice, slice], row: int, seed: int) -> ImageSlice:
    made = ImageSlice(slices)
    made.row, made.seed = row, seed
    return made


def _inside(
    first: float, last: float, count: int, origin: int, size: int, file_size: int
) -> np.ndarray:
    """Which of ``count`` pixels along one axis show a part only, and nothing beside it.

    Args:
        first: Where they begin, in pixels of the file from the part's first.
        last: Where they end.
        count: How many they are.
        origin: First pixel of the part in its file.
        size: Pixels of the part.
        file_size: Pixels of the file.
    """
    step = (last - first) / count
    centres = first + (np.arange(count) + 0.5) * step
    # a fine pixel is interpolated from its neighbours' centres, a coarse one averages its extent
    reach = max(0.5, step / 2)
    begin = reach if origin > 0 else 0.0
    end = size - (reach if origin + size < file_size else 0.0)
    return (centres >= begin - 1e-5) & (centres <= end + 1e-5)


def _tensor(value: Any) -> Any:  # noqa: ANN401  a sample holds arrays and text
    return torch.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value
