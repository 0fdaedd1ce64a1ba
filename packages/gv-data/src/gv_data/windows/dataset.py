"""Windows of the images of a catalog, with their labels, as torchgeo's samples.

A sample is torchgeo's dictionary: ``image`` float32 (c, h, w) in physical units, ``valid`` bool
(h, w), ``bounds`` and ``transform``; with labels also ``mask`` and ``edge``, int64 (h, w), where
`IGNORE` marks what nobody labelled, and ``label`` where images have one. Further rasters of the
ground are on the same pixels under their own names, ``sar`` and ``sar_valid`` for example. Nothing
is opened before the first window is asked for.

Images stacked to series give ``image`` (t, c, h, w), ``valid`` (t, h, w) and ``dates`` int64 (t,),
days since 1970-01-01 UTC that do not fall; labels stay (h, w), known where any date shows the
ground. Series of other views lie on the same pixels as ``s2``, ``s2_valid`` and ``s2_dates``.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import torch
from affine import Affine
from jaxtyping import Float, Int
from torch.utils.data import Dataset

from gv_data.errors import CatalogError, SampleError
from gv_data.grid import Grid
from gv_data.images import Image
from gv_data.labels.labels import Labels
from gv_data.labels.truth import Truths
from gv_data.rasters.open_scenes import OpenScenes
from gv_data.sources import IGNORE, check_sample_name
from gv_data.vectors import polygons
from gv_data.windows.pixels import PixelReader, Series
from gv_data.windows.series import Dated, Stack, starts
from gv_data.windows.windows import ImageSlice

if TYPE_CHECKING:
    from gv_data.catalog import Catalog

type Sample = dict[str, Any]

Label = Literal["mask", "edge", "instances"]

LABELS: tuple[Label, ...] = get_args(Label)
"""Rasters of truth: unknown as `IGNORE`, and ``instances`` as `UNNUMBERED`."""

UNNUMBERED = -1
"""Number in ``instances`` of a pixel of which nobody said which object it is."""


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
        labels: bool | Sequence[Label] = True,
        edge_px: int = 2,
        assets: Sequence[str] = (),
        stack: str | None = None,
        steps: int | None = None,
        series: "Mapping[str, Catalog] | None" = None,
        transforms: Callable[[Sample, np.random.Generator], Sample] | None = None,
    ) -> None:
        """Look at a view; no file is touched.

        Args:
            catalog: The view.
            gsd_m: Ground sampling distance of the windows in metres; None keeps each image's own.
            labels: Whether samples carry ``mask`` and ``edge``; or which of `LABELS` they carry.
                ``instances``, int64 (h, w), numbers the features of the label file from 1, in any
                window alike: the first is 1, and later ones lie over earlier ones. 0 is none of
                them, `UNNUMBERED` what nobody labelled.
            edge_px: Width of the outlines in ``edge``, in pixels of the window.
            assets: Columns that name further rasters, which samples then carry too; an item has
                those of the image whose grid it has.
            stack: Column, or SQL expression over ``images``: images that share its value are one
                item, a series in the order of ``start``. It lies on the grid of its first image
                with labels, or its first; what is on another grid is resampled, or warped from
                another CRS. Rows of the dataset are then items.
            steps: Number of dates that every series has: of longer ones, dates spread evenly from
                the first to the last; shorter ones end with dates `gv_data.windows.pixels.NO_DATE`
                (-1) that are nowhere valid. None: all dates, so that only series of one length make
                a batch.
            series: Views whose images over a window's ground are a further series each, by name.
            transforms: Changes a sample; gets a generator seeded by the window.

        Raises:
            CatalogError: If the view holds no image, labels are wanted that some do not have, or
                images cannot be stacked, or samples hold something else under the name of an
                asset or a series.
        """
        self.catalog = catalog
        self.labels = _wanted(labels)
        self.edge_px = edge_px
        self.assets = tuple(assets)
        self.steps = steps
        self.transforms = transforms
        if not catalog.images:
            raise CatalogError(f"there is no image in {catalog.said}")
        if steps is not None and (steps < 1 or not (stack or series)):
            raise CatalogError(
                f"steps are the dates of a series, at least 1 and with stack or series; got {steps}"
            )
        self.stack = None if stack is None else Stack.of(catalog, stack)
        whole = catalog.images
        self.images = whole if self.stack is None else whole.taken(self.stack.leads)
        self._check_labels()
        for name in self.assets:
            check_sample_name(name, "an asset")
        for name in series or {}:
            check_sample_name(name, "a series")
            if name in self.assets:
                raise CatalogError(f"a series cannot be called {name!r}: choose another name")
        self.series = {name: Dated.of(view) for name, view in (series or {}).items()}
        self._series_bands = {name: len(view.bands) for name, view in (series or {}).items()}
        self.grids = self.images.grids.at_gsd(gsd_m)
        self._scenes = OpenScenes()
        self._pixels = PixelReader(self._scenes)
        self._truths = Truths(self._scenes)

    def _check_labels(self) -> None:
        """Refuse images that do not have the labels wanted."""
        bare, what, way = (
            self.images.unlabelled,
            "labels",
            "vectors IS NOT NULL (or mask, or label)",
        )
        if "instances" in self.labels:
            named = zip(self.images.named("vectors"), self.images.named("mask"), strict=True)
            bare = [row for row, (vectors, mask) in enumerate(named) if mask or not vectors]
            what, way = "polygons to number", "vectors IS NOT NULL AND mask IS NULL"
        if self.labels and len(bare):
            raise CatalogError(
                f"{len(bare)} of {len(self.images)} images in {self.catalog.said} have no {what}, "
                f"{self.images.ids[bare[0]]} for one\n  try: the condition {way}, or gv-data index "
                "... --labels FILE"
            )

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
            known = name in columns
            times = (
                starts(self.catalog, name)
                if known
                else pd.DatetimeIndex([pd.NaT] * len(self.catalog))
            )
            ends.append(times.as_unit("ns").fillna(unknown))
        if self.stack is not None:
            first, last = (times.to_numpy() for times in ends)
            members = self.stack.members
            ends = [[first[rows].min() for rows in members], [last[rows].max() for rows in members]]
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
                whole. Times of a ``GeoSlice`` choose images, and series as a whole.

        Returns:
            The sample.

        Raises:
            IndexError: If no image is there.
            SampleError: If a window shows series of other dates, or instances of several files.
        """
        parts = self._parts(index)
        query = parts[0]
        sample = self._sample(query)
        for part in parts[1:]:
            if sample["valid"].all():
                break
            one, other = self.images[query.row], self.images[part.row]
            if "instances" in self.labels and one.vectors != other.vectors:
                raise SampleError(
                    f"a window shows {one.id} and {other.id}, whose labels {one.vectors} and "
                    f"{other.vectors} both count from 1: take gv_data's samplers, which keep to one"
                )
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
        """A window of one image or item, as arrays."""
        image = self.images[query.row]
        grid = _window(query, image.grid)
        sample = self._image(query.row, grid) | {
            "bounds": np.array([v for s in query for v in (s.start, s.stop, s.step)]),
            "transform": np.array(grid.transform, float),
            "id": image.id,
        }
        for name in self.assets:
            sample[name], sample[f"{name}_valid"] = self._pixels.asset(image, name, grid)
        for name, dated in self.series.items():
            rows, bands = dated.over(grid), self._series_bands[name]
            found = self._dates(dated, rows, grid, bands)
            sample |= dict(zip((name, f"{name}_valid", f"{name}_dates"), found, strict=True))
        if not self.labels:
            return sample
        shown = sample["valid"]
        return sample | self._truth(image, grid, shown if shown.ndim == 2 else shown.any(axis=0))

    def _image(self, row: int, grid: Grid) -> Sample:
        """The image of a row on a grid in its CRS, or its series of images."""
        image = self.images[row]
        if self.stack is None:
            return dict(zip(("image", "valid"), self._pixels.window(image, grid), strict=True))
        members = self.stack.members[row]
        found = self._dates(self.stack.dated, members, grid, len(image.bands))
        return dict(zip(("image", "valid", "dates"), found, strict=True))

    def _dates(self, dated: Dated, rows: Int[np.ndarray, " n"], grid: Grid, bands: int) -> Series:
        images = [dated.images[row] for row in rows.tolist()]
        return self._pixels.series(images, dated.days[rows], grid, bands=bands, steps=self.steps)

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

    def _truth(self, image: Image, grid: Grid, valid: np.ndarray) -> Sample:
        truth: Sample = {}
        if image.label is not None:
            truth["label"] = np.int64(image.source.classes.index(image.label))
        found = self._truths.on(image, grid)
        if found is not None:
            known = valid & found.labelled
            if "mask" in self.labels:
                truth["mask"] = np.where(known, found.classes, IGNORE).astype(np.int64)
            if "edge" in self.labels:
                edge = polygons.outline(found.instances, width_px=self.edge_px)
                truth["edge"] = np.where(known, edge, IGNORE).astype(np.int64)
            if "instances" in self.labels:
                numbers = found.features[found.instances]
                truth["instances"] = np.where(known, numbers, UNNUMBERED).astype(np.int64)
        return truth

    def close(self) -> None:
        """Close all files; the next window opens them again."""
        self._scenes.close()

    def __getstate__(self) -> dict[str, Any]:
        """Open files stay behind when a worker process gets a copy."""
        scenes = OpenScenes()
        own = {"_scenes": scenes, "_pixels": PixelReader(scenes), "_truths": Truths(scenes)}
        return {**self.__dict__, **own}


def _wanted(labels: bool | Sequence[Label]) -> tuple[Label, ...]:
    """Which labels samples carry."""
    if isinstance(labels, bool):
        return ("mask", "edge") if labels else ()
    if isinstance(labels, str) or not set(labels) <= set(LABELS):
        raise CatalogError(f"labels are True, False or some of {', '.join(LABELS)}, got {labels!r}")
    return tuple(labels)


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
    if not np.array_equal(sample.get("dates", 0), other.get("dates", 0)):
        raise SampleError(
            f"a window shows {sample['id']} and {other['id']}, series of other dates: take "
            "gv_data's samplers, which keep to one"
        )
    shown, more = (
        s["valid"].reshape(-1, *s["valid"].shape[-2:]).any(axis=0) for s in (sample, other)
    )
    for key in LABELS:
        if key in sample:
            np.copyto(sample[key], other[key], where=more & ~shown)
    for key, valid in [("image", "valid"), *((name, f"{name}_valid") for name in assets)]:
        new = other[valid] & ~sample[valid]
        np.copyto(sample[key], other[key], where=new[..., None, :, :])
        sample[valid] |= new


def _tensor(value: Any) -> Any:  # noqa: ANN401  a sample holds arrays and text
    return torch.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value
