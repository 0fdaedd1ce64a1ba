"""Views of a catalog as Lightning's loaders: random windows to learn from, a grid to check on."""

from collections.abc import Callable, Sequence
from typing import override

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.windows.dataset import CatalogDataset, Sample
from gv_data.windows.photometry import Light
from gv_data.windows.random_windows import RandomWindows
from gv_data.windows.samplers import GridWindows
from gv_data.windows.transforms import chain, turn

_OVERHANG = 1 / 8
"""Share of a training window that may lie beyond its image: borders are seen, as when mapping."""


class DataModule(LightningDataModule):
    """Training and validation windows of two views.

    Attributes:
        train: Dataset of the training view, with random changes.
        val: Dataset of the validation view, as it is.
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
        edge_px: int = 2,
        assets: Sequence[str] = (),
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
            edge_px: Width of the outlines to learn.
            assets: Columns that name further rasters of the same ground, for both views.
            mix: Changes training batches on the device they are learnt on, as
                `gv_data.windows.mixing.CutMix` does.
            workers: Processes that read windows; 0 reads in the training process.
            seed: Of the choice and change of training windows.
        """
        super().__init__()
        if not 1 <= batch_size <= epoch_windows:
            raise CatalogError(
                f"an epoch of {epoch_windows} windows holds no batch of {batch_size}: give a "
                "batch size from 1 to the number of windows"
            )
        self._window_px = window_px
        self._batch_size = batch_size
        self._workers = workers
        self.train = CatalogDataset(
            train,
            gsd_m=gsd_m,
            edge_px=edge_px,
            assets=assets,
            transforms=chain(turn, light or Light(white=_white(train))),
        )
        self.val = CatalogDataset(val, gsd_m=gsd_m, edge_px=edge_px, assets=assets)
        self._mix = mix
        self._random = torch.Generator().manual_seed(seed)
        if object_share is None:
            object_share = 0.5 if any(True for _ in train.images.by_labels()) else 0.0
        self._sampler = RandomWindows(
            self.train,
            window_px=window_px,
            length=epoch_windows,
            zoom=zoom,
            object_share=object_share,
            overhang=_OVERHANG,
            seed=seed,
        )

    @override
    def train_dataloader(self) -> DataLoader[Sample]:
        return self._loader(self.train, self._sampler, drop_last=True)

    @override
    def val_dataloader(self) -> DataLoader[Sample]:
        windows = GridWindows(self.val, window_px=self._window_px)
        return self._loader(self.val, windows, drop_last=False)

    @override
    def on_after_batch_transfer(self, batch: Sample, dataloader_idx: int) -> Sample:
        learning = self.trainer is not None and self.trainer.training
        return self._mix(batch, self._random) if self._mix and learning else batch

    def _loader(
        self, dataset: CatalogDataset, sampler: RandomWindows | GridWindows, *, drop_last: bool
    ) -> DataLoader[Sample]:
        return DataLoader(
            dataset,
            batch_size=self._batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
        )


def _white(view: Catalog) -> float:
    """About the value of the brightest things: 255 for bytes, near 1 for reflectance."""
    if view.images.dtypes == {"uint8"}:
        return 255.0
    statistics = view.statistics
    return float((statistics.mean + 3 * statistics.std).max())
