"""Pixels of images on the grid of a window: one image, or a series of them with their dates."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from gv_data.errors import CatalogError, SampleError
from gv_data.grid import Grid
from gv_data.images import Image
from gv_data.rasters.open_scenes import OpenScenes
from gv_data.sources import Source

NO_DATE = -1
"""Day of what only fills a series up to its number of dates."""

type Pixels = tuple[Float[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]
"""Values in physical units, 0 where there are none, and where there are."""

type Series = tuple[Float[np.ndarray, "t c h w"], Bool[np.ndarray, "t h w"], Int[np.ndarray, " t"]]
"""Values and where there are some, date by date, and the dates in days since 1970-01-01 UTC."""


class PixelReader:
    """Reads windows of images, which it keeps open."""

    def __init__(self, scenes: OpenScenes) -> None:
        """Begin with what is open."""
        self._scenes = scenes

    def window(self, image: Image, grid: Grid) -> Pixels:
        """A window of an image, and nothing beyond the part of its file that the image is.

        Args:
            image: The image.
            grid: In its CRS and orientation.

        Raises:
            RasterError: If it cannot be read.
        """
        top, left, bottom, right = window = image.in_file(grid)
        row, column = image.origin
        with self._scenes.lent(image.path, image.driver, image.source) as scene:
            values, valid = scene.read(window, grid.shape_hw)
            file_hw = scene.grid.shape_hw
        if image.grid.shape_hw == file_hw:
            return values, valid
        shown = np.zeros_like(valid)
        height, width = image.grid.shape_hw
        down = _inside(top - row, bottom - row, grid.height_px, row, height, file_hw[0])
        across = _inside(left - column, right - column, grid.width_px, column, width, file_hw[1])
        shown[np.ix_(down, across)] = True
        np.copyto(values, 0, where=~shown)
        return values, valid & shown

    def on(self, image: Image, grid: Grid) -> Pixels:
        """An image on a grid in any CRS: read as it is where both share one, else warped.

        Raises:
            SampleError: If it would have to be warped and is a part of a file.
            RasterError: If it cannot be read.
        """
        own, wanted = image.grid.transform, grid.transform
        if image.grid.crs == grid.crs and own.a * wanted.a > 0 and own.e * wanted.e > 0:
            return self.window(image, grid)
        with self._scenes.lent(image.path, image.driver, image.source) as scene:
            if scene.grid.shape_hw != image.grid.shape_hw:
                raise SampleError(
                    f"{image.id} is a part of {image.path} and on another kind of grid than the "
                    "images it is stacked with: warp the file to their CRS, or index it whole"
                )
            return scene.on(grid)

    def series(
        self,
        images: Sequence[Image],
        days: Int[np.ndarray, " n"],
        grid: Grid,
        *,
        bands: int,
        steps: int | None = None,
    ) -> Series:
        """Images on one grid, in their order.

        Args:
            images: Of as many bands each; none are a series of no date.
            days: Of each, since 1970-01-01.
            grid: Where to lay them.
            bands: How many bands they have.
            steps: How many dates to give: of more, some that are spread evenly over the series are
                read; fewer are followed by dates that show nothing, `NO_DATE`. None: all there are.
        """
        if steps is not None and len(images) > steps:
            chosen = np.rint(np.linspace(0, len(images) - 1, steps)).astype(int)
            images, days = [images[n] for n in chosen], days[chosen]
        count = len(images) if steps is None else steps
        values = np.zeros((count, bands, *grid.shape_hw), np.float32)
        valid = np.zeros((count, *grid.shape_hw), bool)
        dates = np.full(count, NO_DATE, np.int64)
        dates[: len(days)] = days
        for n, image in enumerate(images):
            values[n], valid[n] = self.on(image, grid)
        return values, valid, dates

    def asset(self, image: Image, name: str, grid: Grid) -> Pixels:
        """Another raster of an image's ground, on a grid in its CRS.

        Raises:
            CatalogError: If the image has none of that name.
            RasterError: If it cannot be read.
        """
        if name not in image.assets:
            raise CatalogError(f"{image.id} has no {name}\n  try: the condition {name} IS NOT NULL")
        with self._scenes.lent(image.assets[name], None, Source(image.source.root)) as scene:
            if grid.crs is None or scene.grid.crs is None:  # pixel by pixel, as indexing checked
                return scene.read(image.in_file(grid), grid.shape_hw)
            return scene.on(grid)


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
