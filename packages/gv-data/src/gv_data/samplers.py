"""Which windows of a catalog are seen: torchgeo's samplers' interface, one image at a time.

torchgeo 0.10's patch samplers work on the union of all footprints: they skip images as small as the
window, weigh borders too little and know one CRS only. These subclass its ``SpatialSampler`` and
give its ``GeoSlice``s, but each window belongs to one image and is written in that image's CRS.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import shapely
from jaxtyping import Float
from torchgeo.samplers import SpatialSampler

from gv_data.dataset import CatalogDataset, ImageSlice
from gv_data.errors import CatalogError
from gv_data.grid import Grid


class RandomWindows(SpatialSampler):
    """Windows anywhere on the images, each image as often as its share of all pixels.

    Ground that several images show, as nested zooms do, is divided among them. Every epoch
    draws anew; the same seed and epoch give the same windows, and each window carries a seed of its
    own for what is random afterwards.
    """

    def __init__(
        self,
        dataset: CatalogDataset,
        *,
        window_px: int,
        length: int,
        zoom: tuple[float, float] = (1.0, 1.0),
        object_share: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Prepare to draw.

        Args:
            dataset: What to draw from; at one ground sampling distance pixels are ground.
            window_px: Side of a window in pixels of the result.
            length: Number of windows an epoch.
            zoom: Smallest and largest factor on the ground sampling distance, drawn evenly in its
                logarithm: above 1 a window covers more ground with larger pixels.
            object_share: Share of the windows that are drawn around a label, which then lies
                anywhere in their inner two thirds.
            seed: Start of all random choices.

        Raises:
            CatalogError: If a setting makes no sense.
        """
        low, high = zoom
        if not 0 < low <= high or window_px < 1 or length < 1:
            raise CatalogError(
                "random windows need window_px >= 1, length >= 1 and 0 < zoom[0] <= zoom[1], got "
                f"{window_px}, {length} and {zoom}"
            )
        self._grids = dataset.grids
        self._window_px = window_px
        self._length = length
        self._zoom = zoom
        self._seed = seed
        self._epoch = 0
        layers = _layers(self._grids)
        ground = np.array([grid.height_px * grid.width_px for grid in self._grids]) / layers
        self._share = ground / ground.sum()
        self._object_share = object_share
        if object_share > 0:
            self._centres = [_centres(dataset, row) for row in range(len(dataset))]
            objects = np.array([len(centres) for centres in self._centres]) / layers
            if not objects.any():
                raise CatalogError(f"there is no label in {dataset.catalog.said} to draw around")
            self._object_rows = objects / objects.sum()

    @property
    def strategy(self) -> Literal["random", "sequential"]:
        """Random."""
        return "random"

    def set_epoch(self, epoch: int) -> None:
        """Choose which epoch's windows come next; Lightning calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[ImageSlice]:
        random = np.random.default_rng((self._seed, self._epoch))
        low, high = np.log(self._zoom)
        for _ in range(self._length):
            around = random.random() < self._object_share
            row = random.choice(len(self._grids), p=self._object_rows if around else self._share)
            factor = float(np.exp(random.uniform(low, high)))
            grid = self._grids[row].scaled(factor, factor)
            y = x = None
            if around:
                x, y = ~grid.transform @ random.choice(self._centres[row])
            first = _first(grid.height_px, self._window_px, y, random)
            column = _first(grid.width_px, self._window_px, x, random)
            part = grid.part(first, column, self._window_px, self._window_px)
            yield ImageSlice.of(int(row), part, int(random.integers(2**31)))


class GridWindows(SpatialSampler):
    """Windows side by side that cover every image once; the last ones reach beyond its end."""

    def __init__(self, dataset: CatalogDataset, *, window_px: int) -> None:
        """Lay out the windows of ``window_px`` pixels a side."""
        self._windows = [
            ImageSlice.of(row, grid.part(first, column, window_px, window_px), 0)
            for row, grid in enumerate(dataset.grids)
            for first in range(0, grid.height_px, window_px)
            for column in range(0, grid.width_px, window_px)
        ]

    @property
    def strategy(self) -> Literal["random", "sequential"]:
        """Sequential."""
        return "sequential"

    def __len__(self) -> int:
        return len(self._windows)

    def __iter__(self) -> Iterator[ImageSlice]:
        return iter(self._windows)


def _layers(grids: Sequence[Grid]) -> Float[np.ndarray, " n"]:
    """How many of the images show the ground of each, averaged over it; at least one."""
    footprints = np.array(
        [shapely.Polygon() if grid.crs is None else grid.footprint() for grid in grids]
    )
    first, second = shapely.STRtree(footprints).query(footprints, predicate="intersects")
    shared = shapely.area(shapely.intersection(footprints[first], footprints[second]))
    total = np.bincount(first, shared, minlength=len(grids))
    return np.maximum(1.0, total / np.where(total > 0, shapely.area(footprints), 1.0))


def _centres(dataset: CatalogDataset, row: int) -> Float[np.ndarray, "n 2"]:
    """X and y of the middle of each label on an image, in its CRS."""
    image = dataset.images[row]
    labels = dataset.labels_of(image).polygons(image.grid)
    return shapely.get_coordinates(shapely.centroid(labels))


def _first(size: int, window: int, centre: float | None, random: np.random.Generator) -> int:
    """A first pixel: anywhere, or so that ``centre`` lies in the window's inner two thirds.

    Windows reach beyond the image by up to an eighth, so borders are seen too.
    """
    margin = window // 8
    low, high = min(-margin, size - window), max(0, size - window + margin)
    if centre is None:
        return int(random.integers(low, high, endpoint=True))
    wanted = centre - window / 2 + random.uniform(-window / 3, window / 3)
    return int(np.clip(round(wanted), low, high))
