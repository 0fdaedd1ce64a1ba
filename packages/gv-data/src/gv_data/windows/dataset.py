"""Windows of the images of a catalog, with their labels, as torchgeo's samples.

A sample is torchgeo's dictionary: ``image`` float32 (c, h, w) in physical units, ``valid`` bool
(h, w), ``bounds`` and ``transform``; with labels also ``mask`` and ``edge``, int64 (h, w), where
`IGNORE` marks what nobody labelled, and ``label`` where images have one. Further rasters of the
ground are on the same pixels under their own names, ``sar`` and ``sar_valid`` for example. Nothing
is opened before the first window is asked for.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import torch
from affine import Affine
from jaxtyping import Bool, Float, Int
from torch.utils.data import Dataset

from gv_data.errors import CatalogError
from gv_data.grid import Grid
from gv_data.images import Image
from gv_data.labels.labels import Labels
from gv_data.labels.truth import Truths
from gv_data.rasters.open_scenes import OpenScenes
from gv_data.sources import IGNORE, Source
from gv_data.vectors import polygons
from gv_data.windows.windows import ImageSlice

if TYPE_CHECKING:
    from gv_data.catalog import Catalog

type Sample = dict[str, Any]


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
        assets: Sequence[str] = (),
        transforms: Callable[[Sample, np.random.Generator], Sample] | None = None,
    ) -> None:
        """Look at a view; no file is touched.

        Args:
            catalog: The view.
            gsd_m: Ground sampling distance of the windows in metres; None keeps each image's own.
            labels: Whether samples carry ``mask`` and ``edge``.
            edge_px: Width of the outlines in ``edge``, in pixels of the window.
            assets: Columns that name further rasters, which samples then carry too.
            transforms: Changes a sample; gets a generator seeded by the window.

        Raises:
            CatalogError: If the view holds no image, or labels are wanted that some do not have.
        """
        self.catalog = catalog
        self.images = catalog.images
        if not self.images:
            raise CatalogError(f"there is no image in {catalog.said}")
        bare = self.images.unlabelled
        if labels and len(bare):
            raise CatalogError(
                f"{len(bare)} of {len(self.images)} images in {catalog.said} have no labels, "
                f"{self.images.ids[bare[0]]} for one\n  try: the condition vectors IS NOT NULL (or "
                "mask, or label), or gv-data index ... --labels FILE"
            )
        self.gsd_m = gsd_m
        self.labels = labels
        self.edge_px = edge_px
        self.assets = tuple(assets)
        self.transforms = transforms
        self.grids = self.images.grids.at_gsd(gsd_m)
        self._scenes = OpenScenes()
        self._truths = Truths(self._scenes)

    @cached_property
    def index(self) -> gpd.GeoDataFrame:
        """Footprints and times as torchgeo's samplers expect them.

        Times are the columns ``start`` and ``end`` of the catalog where it has them; what has none
        is there at any time.

        Raises:
            CatalogError: If the images do not share one CRS.
        """
        systems = [crs for crs, _ in self.grids.by_crs()]
        if len(systems) != 1:
            raise CatalogError(
                f"images in {len(systems)} CRSs have no common index; use gv_data.windows.samplers"
            )
        return gpd.GeoDataFrame(
            {"filepath": self.images.files},
            geometry=shapely.box(*self.grids.bounds.T),
            crs=systems[0],
            index=self._times,
        )

    @cached_property
    def _times(self) -> pd.IntervalIndex:
        columns = self.catalog.sql("SELECT * FROM images LIMIT 0").column_names
        ends = []
        for name, unknown in (("start", pd.Timestamp.min), ("end", pd.Timestamp.max)):
            said = f'"{name}"' if name in columns else "NULL"
            table = self.catalog.sql(f"SELECT {said} AS time FROM images ORDER BY id")
            times = pd.to_datetime(table["time"].to_pandas(), utc=True).dt.tz_localize(None)
            ends.append(times.dt.as_unit("ns").fillna(unknown))
        try:
            return pd.IntervalIndex.from_arrays(*ends, closed="both", name="datetime")
        except ValueError as error:
            raise CatalogError(f"an image in {self.catalog.said} ends before it starts") from error

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
            index: An `ImageSlice`; or torchgeo's ``GeoSlice``, which is read from all images there
                and then, the first where several show the same; or the position of an image, read
                whole.

        Returns:
            The sample.

        Raises:
            IndexError: If no image is there.
        """
        parts = self._parts(index)
        query = parts[0]
        sample = self._sample(query)
        for part in parts[1:]:
            if sample["valid"].all():
                break
            _fill(sample, self._sample(part), self.assets)
        if self.transforms is not None:
            sample = self.transforms(sample, np.random.default_rng(query.seed))
        return {key: _tensor(value) for key, value in sample.items()}

    def _parts(self, query: "ImageSlice | tuple[slice, ...] | int") -> Sequence[ImageSlice]:
        """The window in each image that shows some of it."""
        if isinstance(query, ImageSlice):
            return [query]
        if not isinstance(query, tuple):
            row = range(len(self))[query]
            return [ImageSlice.of(row, self.grids[row], 0)]
        x, y, *times = query
        rows = self.index.sindex.query(shapely.box(x.start, y.start, x.stop, y.stop))
        if times:
            begun = self._times.left[rows] <= pd.Timestamp(times[0].stop)
            rows = rows[begun & (self._times.right[rows] >= pd.Timestamp(times[0].start))]
        if not len(rows):
            raise IndexError(f"no image at {x.start} to {x.stop}, {y.start} to {y.stop}")
        step_x, step_y = self.res
        slices = (
            slice(x.start, x.stop, x.step or step_x),
            slice(y.start, y.stop, y.step or step_y),
        )
        return [ImageSlice.made(slices, row, 0) for row in np.sort(rows).tolist()]

    def _sample(self, query: ImageSlice) -> Sample:
        """A window of one image, as arrays."""
        image = self.images[query.row]
        grid = _window(query, image.grid)
        values, valid = self._read(image, grid)
        sample: Sample = {
            "image": values,
            "valid": valid,
            "bounds": np.array([v for s in query for v in (s.start, s.stop, s.step)]),
            "transform": np.array(grid.transform, float),
            "id": image.id,
        }
        for name in self.assets:
            sample[name], sample[f"{name}_valid"] = self._asset(image, name, grid)
        return sample | self._truth(image, grid, valid) if self.labels else sample

    def _read(
        self, image: Image, grid: Grid
    ) -> tuple[Float[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
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

    def objects(
        self,
    ) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
        """Every label polygon on every image it touches.

        Returns:
            Position of the image; number of the label, the same wherever it is seen; x and y of the
            label's middle in the CRS of the image.
        """
        found, first, count = [], {}, 0
        for rows in self.images.by_labels():
            labels = self.labels_of(self.images[int(rows[0])])
            if labels not in first:
                first[labels], count = count, count + len(labels)
            image, label, centres = labels.on_images(self.images.grids[rows])
            found.append((rows[image], label + first[labels], centres))
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 2))
        owners, numbers, centres = map(np.concatenate, zip(*found, strict=True))
        return owners, numbers, centres

    def labels_of(self, image: Image) -> Labels:
        """The polygons of an image, read once."""
        return self._truths.labels(image)

    def _asset(
        self, image: Image, name: str, grid: Grid
    ) -> tuple[Float[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
        """Another raster of the image's ground, on the same pixels."""
        if name not in image.assets:
            raise CatalogError(f"{image.id} has no {name}\n  try: the condition {name} IS NOT NULL")
        with self._scenes.lent(image.assets[name], None, Source(image.source.root)) as scene:
            if grid.crs is None or scene.grid.crs is None:  # pixel by pixel, as indexing checked
                return scene.read(image.in_file(grid), grid.shape_hw)
            return scene.on(grid)

    def _truth(self, image: Image, grid: Grid, valid: np.ndarray) -> Sample:
        truth: Sample = {}
        if image.label is not None:
            truth["label"] = np.int64(image.source.classes.index(image.label))
        found = self._truths.on(image, grid)
        if found is not None:
            known = valid & found.labelled
            edge = polygons.outline(found.instances, width_px=self.edge_px)
            truth["mask"] = np.where(known, found.classes, IGNORE).astype(np.int64)
            truth["edge"] = np.where(known, edge, IGNORE).astype(np.int64)
        return truth

    def close(self) -> None:
        """Close all files; the next window opens them again."""
        self._scenes.close()

    def __getstate__(self) -> dict[str, Any]:
        """Open files stay behind when a worker process gets a copy."""
        scenes = OpenScenes()
        return {**self.__dict__, "_scenes": scenes, "_truths": Truths(scenes)}


def _window(query: ImageSlice, own: Grid) -> Grid:
    """The pixels of a query, in the orientation of its image."""
    x, y = query
    height, width = query.shape_hw
    across, down = (
        (x.step if own.transform.a > 0 else -x.step),
        (y.step if own.transform.e > 0 else -y.step),
    )
    left, top = (x.start if across > 0 else x.stop), (y.start if down > 0 else y.stop)
    return Grid(own.crs, Affine(across, 0, left, 0, down, top), height, width)


def _fill(sample: Sample, other: Sample, assets: Sequence[str]) -> None:
    """Take from another image of the same window what the first does not show."""
    groups = [
        ("valid", ("image", "mask", "edge")),
        *((f"{name}_valid", (name,)) for name in assets),
    ]
    for valid, keys in groups:
        new = other[valid] & ~sample[valid]
        for key in (*keys, valid):
            if key in sample:
                np.copyto(sample[key], other[key], where=new)


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
