"""Views of a catalog as Lightning's loaders: random windows to learn from, a grid to check on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import override

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.windows import transforms
from gv_data.windows.dataset import CatalogDataset, Label, Sample
from gv_data.windows.photometry import Light
from gv_data.windows.random_windows import RandomWindows
from gv_data.windows.samplers import GridWindows
from gv_data.windows.windows import ImageSlice

_OVERHANG = 1 / 8
"""Share of a training window that may lie beyond its image: borders are seen, as when mapping."""


class DataModule(LightningDataModule):
    """Training and validation windows of two views.

    Attributes:
        train: Dataset of the training view, with random changes.
        val: Dataset of the validation view, as it is.
        batch_size: Windows a batch; loaders made from now on have it.
    """

    def __init__(
        self,
        train: Catalog,
        val: Catalog,
        *,
        gsd_m: float | None = None,
        window_px: int = 256,
        batch_size: int = 8,
        epoch_windows: int = 320,
        zoom: tuple[float, float] = (0.7, 1.4),
        object_share: float | None = None,
        light: Light | None = None,
        labels: bool | Sequence[Label] = True,
        edge_px: int = 2,
        assets: Sequence[str] = (),
        stack: str | None = None,
        steps: int | None = None,
        series: Mapping[str, Catalog] | None = None,
        mix: Callable[[Sample, torch.Generator], Sample] | None = None,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        """Set up both views; no file is touched.

        Args:
            train: View to learn from.
            val: View to validate on.
            gsd_m: Ground sampling distance of all windows in metres; None keeps each image's own.
            window_px: Side of a window.
            batch_size: Windows a batch.
            epoch_windows: Training windows an epoch.
            zoom: Smallest and largest factor on the training windows' ground sampling distance.
            object_share: Share of the training windows that are drawn around a label polygon; None:
                half of them, and none where labels are rasters or classes of whole images.
            light: Random changes of light and colour in training; None: the usual ones, for images
                as bright as those of the training view.
            labels: Which labels windows carry; see `CatalogDataset`, also for the next five.
            edge_px: Width of the outlines to learn.
            assets: Columns that name further rasters of the same ground, for both views.
            stack: Column or SQL expression of which images of one value are a series.
            steps: Number of dates that every series is brought to; needed where they differ.
            series: Further views whose images over a window are a series each, for both views.
            mix: Changes training batches on the device they are learnt on, as
                `gv_data.windows.mixing.CutMix` does.
            workers: Processes that read windows; 0 reads in the training process.
            seed: Of the choice and change of training windows.
        """
        super().__init__()
        if series and steps is None:
            raise CatalogError(
                f"windows have other numbers of dates of {', '.join(series)}, which make no batch: "
                "give steps=12, for example"
            )
        if not 1 <= batch_size <= epoch_windows:
            raise CatalogError(
                f"an epoch of {epoch_windows} windows holds no batch of {batch_size}: give a "
                "batch size from 1 to the number of windows"
            )
        self._window_px = window_px
        self.batch_size = batch_size
        self._workers = workers
        self.train, self.val = (
            view.dataset(
                gsd_m=gsd_m,
                labels=labels,
                edge_px=edge_px,
                assets=assets,
                stack=stack,
                steps=steps,
                series=series,
                transforms=changes,
            )
            for view, changes in (
                (train, transforms.chain(transforms.turn, light or Light(white=_white(train)))),
                (val, None),
            )
        )
        for dataset in (self.train, self.val):
            _check_lengths(dataset)
        self._mix = mix
        self._random = torch.Generator().manual_seed(seed)
        if object_share is None:
            object_share = 0.5 if any(True for _ in train.images.by_labels()) else 0.0
        self._drawn = partial(
            RandomWindows,
            self.train,
            window_px=window_px,
            length=epoch_windows,
            zoom=zoom,
            object_share=object_share,
            overhang=_OVERHANG,
            seed=seed,
        )
        self._drawn()  # what cannot be drawn from is told at once

    @override
    def train_dataloader(self) -> DataLoader[Sample]:
        rank, ranks = self._rank
        windows = self._drawn(rank=rank, ranks=ranks)
        windows = _Continued(windows, self.batch_size, self._batches_done)
        return self._loader(self.train, windows, drop_last=True)

    @override
    def val_dataloader(self) -> DataLoader[Sample]:
        rank, ranks = self._rank
        windows = GridWindows(self.val, window_px=self._window_px, rank=rank, ranks=ranks)
        return self._loader(self.val, windows, drop_last=False)

    @property
    def _rank(self) -> tuple[int, int]:
        """Which process this is, of how many: they share the windows, none is seen twice."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _batches_done(self) -> int | None:
        """Batches learnt from so far, over all attempts; None where no trainer counts them."""
        if self.trainer is None or not self.trainer.training:
            return None
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.ready

    @override
    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"random": self._random.get_state()}

    @override
    def load_state_dict(self, state_dict: dict[str, torch.Tensor]) -> None:
        self._random.set_state(state_dict["random"].cpu())

    @override
    def on_after_batch_transfer(self, batch: Sample, dataloader_idx: int) -> Sample:
        learning = self.trainer is not None and self.trainer.training
        return self._mix(batch, self._random) if self._mix and learning else batch

    def _loader(
        self, dataset: CatalogDataset, sampler: "GridWindows | _Continued", *, drop_last: bool
    ) -> DataLoader[Sample]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            generator=torch.Generator(),  # else it draws from that of the network
        )


class _Continued(Sampler[ImageSlice]):
    """A sampler that goes on where its training was interrupted, inside an epoch too.

    It counts by batches: the epoch that Lightning tells a sampler is one too many after some
    interruptions, and comes after the first windows were asked for.
    """

    def __init__(
        self, sampler: RandomWindows, batch_size: int, done: Callable[[], int | None]
    ) -> None:
        """Pass windows on.

        Args:
            sampler: Draws them.
            batch_size: Windows a batch; what is left of an epoch is dropped.
            done: Batches learnt from so far; None: the sampler's own epoch, from its beginning.
        """
        self._sampler, self._batch_size, self._done = sampler, batch_size, done

    def set_epoch(self, epoch: int) -> None:
        """Draw other windows, where nobody counts batches."""
        self._sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._sampler)

    @override
    def __iter__(self) -> Iterator[ImageSlice]:
        batches = self._done()
        if batches is None:
            return iter(self._sampler)
        epoch, seen = divmod(batches, len(self) // self._batch_size)
        self._sampler.set_epoch(epoch)
        windows = islice(iter(self._sampler), seen * self._batch_size, None)
        # the first is drawn at once, which settles the epoch, whatever Lightning sets later on
        return chain(list(islice(windows, 1)), windows)


def _check_lengths(dataset: CatalogDataset) -> None:
    """Refuse series that do not fit into one batch."""
    if dataset.stack is None or dataset.steps is not None:
        return
    counts = dataset.stack.counts
    if counts.min() < counts.max():
        raise CatalogError(
            f"the items of {dataset.catalog.said} have {counts.min()} to {counts.max()} dates, "
            f"which make no batch: give steps={counts.max()}, or fewer"
        )


def _white(view: Catalog) -> float:
    """About the value of the brightest things: 255 for bytes, near 1 for reflectance."""
    if view.images.dtypes == {"uint8"}:
        return 255.0
    statistics = view.statistics
    return float((statistics.mean + 3 * statistics.std).max())
