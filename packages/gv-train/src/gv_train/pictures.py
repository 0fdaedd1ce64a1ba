"""Pictures that appear in ``figures/`` while a run trains.

They never stop a run: a picture that fails is one warning.
"""

import warnings
from collections.abc import Callable
from typing import Any, override

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from gv_data.windows.datamodule import DataModule
from gv_data.windows.dataset import IGNORE
from gv_train import figures, metric_log
from gv_train.runs import Run

_VAL_WINDOWS = 48
_BATCH_WINDOWS = 16
_SHOWN_SHARE = 0.25  # of a window must be known ground for it to say anything


class Pictures(Callback):
    """Draws the first training windows, validation predictions and the curves."""

    def __init__(self, run: Run, data: DataModule, *, gsd_m: float) -> None:
        """Draw into the run's ``figures``; ``gsd_m`` gives the scale bars."""
        self._run, self._data, self._gsd_m = run, data, gsd_m
        self._windows: list[dict[str, Any]] = []
        self._batch_drawn = False
        self._seen: list[dict[str, Any]] = []

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._batch_drawn:
            return
        self._windows.append({key: _plain(value) for key, value in batch.items()})
        if len(self._windows) * len(batch["id"]) >= _BATCH_WINDOWS:
            self._draw_batch_once()

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw_batch_once()  # a short run may not have seen as many windows

    def _draw_batch_once(self) -> None:
        if self._windows and not self._batch_drawn:
            self._batch_drawn = True
            _harmless(self._draw_batch)
            self._windows = []

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        wanted = max(1, _VAL_WINDOWS // len(batch["id"]))
        if batch_idx % max(1, int(trainer.num_val_batches[0]) // wanted) == 0:
            seen = {key: _plain(value) for key, value in batch.items()}
            self._seen.append({**seen, "found": outputs.float().cpu().numpy()})

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seen, self._seen = self._seen, []
        if seen:
            _harmless(lambda: self._draw_predictions(_joined(seen)))
        _harmless(self._draw_curves)

    def _draw_batch(self) -> None:
        shown = _joined(self._windows)
        figures.batch(
            self._run.figures / "batch_train.jpg",
            shown["image"],
            {"interior": shown["mask"] == 1, "edge": shown["edge"] == 1},
            gsd_m=self._gsd_m,
            valid=shown["valid"] & (shown["mask"] != IGNORE),
            captions=shown["id"],
            bands=self._data.train.catalog.bands,
        )

    def _draw_predictions(self, shown: dict[str, Any]) -> None:
        known = shown["valid"] & (shown["mask"] != IGNORE)
        kept = np.flatnonzero(known.mean(axis=(1, 2)) >= _SHOWN_SHARE)
        if not len(kept):
            return
        figures.predictions(
            self._run.figures / "predictions.jpg",
            shown["image"][kept],
            shown["mask"][kept] == 1,
            shown["found"][kept],
            gsd_m=self._gsd_m,
            valid=known[kept],
            captions=[shown["id"][n] for n in kept],
        )

    def _draw_curves(self) -> None:
        figures.curves(self._run.figures / "curves.png", metric_log.read(self._run.metrics))


def _plain(value: Any) -> Any:  # noqa: ANN401  a batch holds tensors and names
    return value.cpu().numpy() if isinstance(value, torch.Tensor) else value


def _joined(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """Batches as one: arrays behind each other, names in one list."""
    first = batches[0]
    return {
        key: np.concatenate([batch[key] for batch in batches])
        if isinstance(first[key], np.ndarray)
        else [name for batch in batches for name in batch[key]]
        for key in first
    }


def _harmless(draw: Callable[[], None]) -> None:
    try:
        draw()
    except Exception as error:
        warnings.warn(f"a picture could not be drawn: {error}", stacklevel=2)
