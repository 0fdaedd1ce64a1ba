"""Windows drawn at random: every pixel of ground as often, or as weights and labels say."""

from collections.abc import Iterator
from typing import Literal, override

import numpy as np
import shapely
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from torchgeo.datasets import GeoDataset

from gv_data import antimeridian
from gv_data.errors import CatalogError
from gv_data.grid import lonlat
from gv_data.store.grids import Grids
from gv_data.windows.dataset import CatalogDataset
from gv_data.windows.samplers import WindowSampler
from gv_data.windows.windows import Windows

_PIECE = 4096
"""Windows drawn at once. The windows of a seed depend on it."""

_INSET = 1e-6
"""Share of an outline's size that it is made smaller by, against rounding."""


class RandomWindows(WindowSampler):
    """Windows anywhere on the images, each image as often as its share of all pixels.

    Ground that several images show, as nested zooms and dates do, is seen as often as other ground.
    Every epoch draws anew; the same seed and epoch give the same windows in any process, the first
    ones of a longer epoch are those of a shorter one, and each window carries a seed of its own for
    what is random afterwards.

    Windows lie inside their image, at any whole pixel; on one that is smaller they hold all of it.
    Pixels at a border are therefore seen less often than others: ``overhang`` evens that out.
    """

    def __init__(
        self,
        dataset: CatalogDataset | GeoDataset,
        *,
        window_px: int,
        length: int,
        zoom: tuple[float, float] = (1.0, 1.0),
        object_share: float = 0.0,
        weight: str | ArrayLike | None = None,
        overhang: float = 0.0,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Prepare to draw.

        Args:
            dataset: What to draw from; at one ground sampling distance pixels are ground.
            window_px: Side of a window in pixels of the result.
            length: Number of windows an epoch, of all processes together.
            zoom: Smallest and largest factor on the ground sampling distance, drawn evenly in its
                logarithm: above 1 a window covers more ground with larger pixels.
            object_share: Share of the windows that are drawn around a label, which then lies
                anywhere in their inner two thirds; every label as often.
            weight: How often each image is drawn, in place of its share of the ground: numbers, or
                an SQL expression over the catalog's tables, where NULL counts as 0. For example
                ``1 / count(*) OVER (PARTITION BY place)`` draws every place as often, and
                ``(SELECT area_m2 FROM labels l WHERE l.id = images.id AND class = 'roof')`` follows
                the area of roofs. An item of stacked images is drawn as often as SQL says of its
                images together; numbers are one an item.
            overhang: How far windows may reach beyond an image that is larger, as a share of their
                side; never further than the image is larger.
            seed: Start of all random choices.
            rank: Number of this process, where several share an epoch: each gets other windows, all
                as many.
            ranks: Number of the processes.

        Raises:
            CatalogError: If a setting makes no sense, or nothing could be drawn.
        """
        low, high = zoom
        if not 0 < low <= high or window_px < 1 or length < 1:
            raise CatalogError(
                "random windows need window_px >= 1, length >= 1 and 0 < zoom[0] <= zoom[1], got "
                f"{window_px}, {length} and {zoom}"
            )
        super().__init__(dataset, seed=seed, rank=rank, ranks=ranks)
        self._window_px = window_px
        self._length = length
        self._zoom = zoom
        self._overhang_px = int(window_px * overhang)
        weights = None if weight is None else _weights(dataset, weight, len(self.grids))
        self._layers = None
        if weights is None:
            self._layers = _Layers(self.grids)
            self._images = _Choice(self.grids.shapes_hw.prod(axis=1) / self._layers.alike)
        else:
            self._images = _Choice(weights)
        self._object_share = object_share
        if object_share > 0:
            self._owners, self._centres, often = _objects(dataset, weights)
            self._objects = _Choice(often)

    @property
    @override
    def strategy(self) -> Literal["random", "sequential"]:
        return "random"

    @property
    @override
    def _total(self) -> int:
        return self._evened(self._length)

    @override
    def _pieces(self) -> Iterator[Windows]:
        random = np.random.default_rng((self.seed, self.epoch))
        missing = self._total
        while missing:
            drawn = self._draw(random.random((_PIECE, 7)))[:missing]
            missing -= len(drawn)
            yield drawn

    def _draw(self, chances: Float[np.ndarray, "n 7"]) -> Windows:
        """At most as many windows as rows of numbers in [0, 1): each row decides on one."""
        kind, which, size, down, right, kept, seed = chances.T
        around = kind < self._object_share
        rows = self._images.pick(which)
        centres = np.full((len(rows), 2), np.nan)
        if around.any():
            objects = self._objects.pick(which[around])
            rows[around], centres[around] = self._owners[objects], self._centres[objects]
        low, high = np.log(self._zoom)
        factors = np.exp(low + size * (high - low))
        grids = self.grids[rows].scaled(np.stack([factors, factors], axis=1))
        chance = np.stack([down, right], axis=1)
        first = self._first(grids, centres, chance)
        windows = Windows.parts(grids, rows, first, self._window_px)
        windows = windows.seeded((seed * 2**31).astype(np.int64))
        if self._layers is None:
            return windows
        return windows[around | self._layers.keep(self.grids, windows, kept)]

    def _first(
        self,
        grids: Grids,
        centres: Float[np.ndarray, "n 2"],
        chance: Float[np.ndarray, "n 2"],
    ) -> Int[np.ndarray, "n 2"]:
        """First rows and columns: anywhere, or so that a centre lies in the inner two thirds.

        Args:
            grids: The grid of each window.
            centres: X and y of what the window is drawn around; NaN for nothing.
            chance: In [0, 1).
        """
        side, spare = self._window_px, grids.shapes_hw - self._window_px
        beyond = np.clip(spare, 0, self._overhang_px)
        low, high = np.minimum(spare, 0) - beyond, np.maximum(spare, 0) + beyond
        anywhere = low + np.floor(chance * (high - low + 1))
        about = grids.pixels(centres)[:, ::-1] - side / 2 + (chance - 0.5) * side * 2 / 3
        about = np.clip(np.rint(about), low, high)
        return np.where(np.isnan(centres), anywhere, about).astype(np.int64)


class _Choice:
    """Positions picked in proportion to weights."""

    def __init__(self, weights: Float[np.ndarray, " n"]) -> None:
        self._ends = np.cumsum(weights)
        self._last = np.flatnonzero(weights)[-1]

    def pick(self, chances: Float[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
        """A position for each number in [0, 1)."""
        found = np.searchsorted(self._ends, chances * self._ends[-1], side="right")
        return np.minimum(found, self._last)  # a product may be rounded up to the end


class _Layers:
    """How many images show a place, so that it is not seen the more often for it.

    Attributes:
        alike: Number of images with exactly the outline of each, itself included.
    """

    def __init__(self, grids: Grids) -> None:
        placed = np.array([crs is not None for crs in grids.systems])[grids.crs]
        keys = np.column_stack([grids.crs, grids.bounds])[placed]
        _, first, group, counts = np.unique(
            keys, axis=0, return_index=True, return_inverse=True, return_counts=True
        )
        self.alike = np.ones(len(grids), np.int64)
        self.alike[placed] = counts[group]
        self._counts = counts
        self._several = len(list(grids[placed].by_crs())) > 1
        kinds = grids[np.flatnonzero(placed)[first]]
        if self._several:
            outlines = kinds.outlines_lonlat()
            outlines[..., 0] = antimeridian.unwrapped(outlines[..., 0])
        else:
            west, south, east, north = kinds.bounds.T
            ring = [(west, south), (east, south), (east, north), (west, north)]
            outlines = np.moveaxis(np.array(ring), -1, 0)
        middle = outlines.mean(axis=1, keepdims=True)
        # neighbours that share a side share no ground
        inside = outlines + _INSET * (middle - outlines)
        draw = antimeridian.polygons if self._several else shapely.polygons
        self._tree = shapely.STRtree(draw(inside))

    def keep(
        self, grids: Grids, windows: Windows, chances: Float[np.ndarray, " n"]
    ) -> Bool[np.ndarray, " n"]:
        """Which windows stay: of those about ground with k images, one in k.

        Args:
            grids: Those of all images.
            windows: Drawn as if no ground were shown twice but by images of one outline.
            chances: In [0, 1).
        """
        alike = self.alike[windows.rows]
        own = grids.bounds[windows.rows]
        edge = _INSET * (own[:, 2:] - own[:, :2])
        centres = (windows.bounds[:, :2] + windows.bounds[:, 2:]) / 2
        centres = np.clip(centres, own[:, :2] + edge, own[:, 2:] - edge)
        placed = np.ones(len(centres), bool)
        for crs, rows in grids[windows.rows].by_crs():
            if crs is None:
                placed[rows] = False
            elif self._several:
                centres[rows] = np.stack(lonlat(crs, tuple(centres[rows].T)), axis=1)
        points = shapely.points(centres[placed])
        point, outline = self._tree.query(points, predicate="intersects")
        shown = np.ones(len(centres))
        shown[placed] = np.bincount(point, self._counts[outline], minlength=len(points))
        return chances * np.maximum(shown, alike) < alike


def _weights(
    dataset: CatalogDataset | GeoDataset, weight: str | ArrayLike, count: int
) -> Float[np.ndarray, " n"]:
    """How often each image is drawn."""
    if isinstance(weight, str):
        if not isinstance(dataset, CatalogDataset):
            raise CatalogError(f"weight {weight!r} is SQL, which needs a catalog: give numbers")
        query = f"SELECT (\n{weight}\n)::DOUBLE AS weight FROM images ORDER BY id"
        weight = dataset.catalog.sql(query)["weight"].fill_null(0).to_numpy()
        if dataset.stack is not None:
            weight = dataset.stack.summed(weight)
    found = np.asarray(weight, float)
    if found.shape != (count,) or not (np.isfinite(found) & (found >= 0)).all() or not found.any():
        raise CatalogError(
            f"weights are one number an image, finite, not below 0, not all 0; got {found} for "
            f"{count:,} images"
        )
    return found


def _objects(
    dataset: CatalogDataset | GeoDataset, weights: Float[np.ndarray, " n"] | None
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, "m 2"], Float[np.ndarray, " m"]]:
    """Image and centre of each label on each image, and how often it is drawn."""
    if not isinstance(dataset, CatalogDataset):
        raise CatalogError("windows around labels need a catalog with label files")
    owners, labels, centres = dataset.objects()
    if weights is None:  # every label as often, however many images show it
        often = 1 / np.bincount(labels)[labels]
    else:
        often = weights[owners] / np.bincount(owners)[owners]
    if not often.any():
        raise CatalogError(f"there is no label in {dataset.catalog.said} to draw around")
    return owners, centres, often
