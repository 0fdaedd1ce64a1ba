"""Which windows of a catalog are seen: torchgeo's samplers' interface, one image at a time.

torchgeo 0.10's patch samplers work on the union of all footprints: they skip images as small as the
window, weigh borders too little and know one CRS only. These subclass its ``SpatialSampler`` and
give its ``GeoSlice``s, but each window belongs to one image and is written in that image's CRS.
They take torchgeo's own datasets too, where a row of the index is an image.

An epoch is a table of windows, made piece by piece; several processes take turns in it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal, override

import numpy as np
import shapely
from torchgeo.datasets import GeoDataset
from torchgeo.samplers import SpatialSampler

from gv_data.errors import CatalogError
from gv_data.store.grids import Grids
from gv_data.windows.dataset import CatalogDataset
from gv_data.windows.windows import ImageSlice, Windows

_PIECE = 65_536
"""Windows made at once: some megabytes."""


class WindowSampler(SpatialSampler, ABC):
    """What all samplers of windows have in common.

    Attributes:
        grids: Of the images that windows are taken from.
        seed: Start of all random choices.
        epoch: Which epoch's windows come next.
    """

    def __init__(
        self,
        dataset: CatalogDataset | GeoDataset,
        *,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Prepare to choose.

        Args:
            dataset: What to choose from.
            seed: Start of all random choices.
            rank: Number of this process, where several share an epoch. Leave it at 0 where
                Lightning divides the windows itself, as it does unless told otherwise.
            ranks: Number of the processes.

        Raises:
            CatalogError: If there is no such process.
        """
        if not 0 <= rank < ranks:
            raise CatalogError(f"process {rank} of {ranks} does not exist: they count from 0")
        self.grids = _grids(dataset)
        self.seed = seed
        self.epoch = 0
        self._dataset = dataset
        self._rank = rank
        self._ranks = ranks

    @abstractmethod
    def _pieces(self) -> Iterator[Windows]:
        """The windows of this epoch for all processes."""

    @property
    @abstractmethod
    def _total(self) -> int:
        """How many windows that is."""

    @cached_property
    def geometry(self) -> shapely.Geometry:  # pyrefly: ignore[bad-override]  theirs takes minutes
        """The ground of all images together, which torchgeo's plots show."""
        return self._dataset.index.geometry.union_all()

    def set_epoch(self, epoch: int) -> None:
        """Choose which epoch's windows come next; Lightning calls it."""
        self.epoch = epoch

    def windows(self) -> Windows:
        """The windows of this epoch and process as a table."""
        return Windows.joined(self._share())

    def _share(self) -> Iterator[Windows]:
        number = 0
        for piece in self._pieces():
            yield piece[(self._rank - number) % self._ranks :: self._ranks]
            number += len(piece)

    @override
    def __len__(self) -> int:
        return len(range(self._rank, self._total, self._ranks))

    @override
    def __iter__(self) -> Iterator[ImageSlice]:
        for piece in self._share():
            yield from piece

    def _evened(self, count: int) -> int:
        """The next number of windows that all processes can share equally."""
        return -(-count // self._ranks) * self._ranks


class GridWindows(WindowSampler):
    """Windows in rows and columns that cover every image; the last ones reach beyond its end.

    They begin at each image's first pixel: tiles as large as the window are the windows. Several
    processes get each window once, so that one may get one window more than another.
    """

    def __init__(
        self,
        dataset: CatalogDataset | GeoDataset,
        *,
        window_px: int,
        stride_px: int | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Lay out windows.

        Args:
            dataset: What to cover.
            window_px: Side of a window.
            stride_px: Pixels from one window to the next; fewer than its side make windows overlap.
                None lays them side by side, so that every pixel is shown once.
            rank: Number of this process, where several share the windows.
            ranks: Number of the processes.

        Raises:
            CatalogError: If windows would leave pixels out.
        """
        stride = window_px if stride_px is None else stride_px
        if not 1 <= stride <= window_px:
            raise CatalogError(
                f"windows of {window_px} px every {stride} px do not cover an image: strides go "
                "from 1 to the side of the window"
            )
        super().__init__(dataset, rank=rank, ranks=ranks)
        self._window_px, self._stride_px = window_px, stride
        beyond = np.maximum(0, self.grids.shapes_hw - window_px)
        self._counts_hw = -(-beyond // stride) + 1
        self._ends = self._counts_hw.prod(axis=1).cumsum()

    @property
    @override
    def strategy(self) -> Literal["random", "sequential"]:
        return "sequential"

    @property
    @override
    def _total(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @override
    def _pieces(self) -> Iterator[Windows]:
        for start in range(0, self._total, _PIECE):
            numbers = np.arange(start, min(start + _PIECE, self._total))
            rows = np.searchsorted(self._ends, numbers, side="right")
            within = numbers - self._ends[rows] + self._counts_hw[rows].prod(axis=1)
            first = np.stack(np.divmod(within, self._counts_hw[rows, 1]), axis=1) * self._stride_px
            yield Windows.parts(self.grids[rows], rows, first, self._window_px)


class ListedWindows(WindowSampler):
    """The windows of a table, such as those around places; in its order, or shuffled anew an epoch.

    Shuffled windows are for training: every process gets as many, if need be some a second time. In
    order each window comes once, so that one process may get one more than another.
    """

    def __init__(
        self,
        dataset: CatalogDataset | GeoDataset,
        windows: Windows,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Take windows as they are.

        Args:
            dataset: What they lie on.
            windows: At least one.
            shuffle: Whether each epoch has another order, and each window another seed.
            seed: Of the order.
            rank: Number of this process, where several share the windows.
            ranks: Number of the processes.

        Raises:
            CatalogError: If there is no window, or one lies on an image that there is not.
        """
        super().__init__(dataset, seed=seed, rank=rank, ranks=ranks)
        if not len(windows):
            raise CatalogError("a list of no windows shows nothing")
        if windows.rows.max() >= len(self.grids):
            raise CatalogError(
                f"a window lies on image {windows.rows.max():,} of {len(self.grids):,}: the table "
                "was made for another view"
            )
        self._listed = windows
        self._shuffle = shuffle

    @property
    @override
    def strategy(self) -> Literal["random", "sequential"]:
        return "random" if self._shuffle else "sequential"

    @property
    @override
    def _total(self) -> int:
        return self._evened(len(self._listed)) if self._shuffle else len(self._listed)

    @override
    def _pieces(self) -> Iterator[Windows]:
        if not self._shuffle:
            yield self._listed
            return
        random = np.random.default_rng((self.seed, self.epoch))
        order = np.resize(random.permutation(len(self._listed)), self._total)
        for start in range(0, self._total, _PIECE):
            piece = self._listed[order[start : start + _PIECE]]
            yield piece.seeded(random.integers(2**31, size=len(piece)))


def _grids(dataset: Any) -> Grids:  # noqa: ANN401  pyrefly: torchgeo's class is no type of ours
    """The grid of each image; of each row of the index for a dataset of torchgeo's."""
    if isinstance(dataset, CatalogDataset):
        return dataset.grids
    across, down = dataset.res
    west, south, east, north = dataset.index.geometry.bounds.to_numpy().T
    zero = np.zeros(len(west))
    columns = (zero + across, zero, west, zero, zero - down, north)
    shapes = np.stack([(north - south) / down, (east - west) / across], axis=1)
    return Grids(
        (dataset.index.crs,),
        np.zeros(len(west), np.int32),
        np.stack(columns, axis=1),
        np.maximum(1, np.rint(shapes)).astype(np.int64),
    )
