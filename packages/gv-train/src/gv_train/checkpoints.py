"""Checkpoints that are whole or not there: ``best.ckpt`` and ``last.ckpt`` of a run.

Lightning's own saving stages in ``$TMPDIR`` and moves, which leaves unreadable files when that is
another disk, and its ``ModelCheckpoint`` keeps absolute paths, so that a run that was moved forgets
its best score. Here a file is written beside its final name and renamed, and the best value is a
number.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, override

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.trainer.states import TrainerFn

from gv_data import atomic
from gv_data.errors import DataError
from gv_train.averaging import chosen
from gv_train.errors import RunError

BEST = "best.ckpt"
LAST = "last.ckpt"


class AtomicCheckpointIO(CheckpointIO):
    """Saves in one step and loads plain data only; for ``Trainer(plugins=[...])``."""

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, object], path: str | Path, storage_options: object = None
    ) -> None:
        """Write a checkpoint; a reader sees the old file or the new one, also after a kill.

        Args:
            checkpoint: Containers, numbers, strings and tensors.
            path: Local file to make or replace.
            storage_options: Not used.

        Raises:
            RunError: If it cannot be written, as on a full disk; the old file is kept.
        """
        path = Path(path)
        try:
            with atomic.replacing(path) as part:
                torch.save(checkpoint, part)
        except (OSError, RuntimeError, DataError) as error:  # torch hides ENOSPC in a RuntimeError
            reason = str(error).splitlines()[0]
            raise RunError(
                f"cannot save {path} ({reason}): free the disk; the checkpoint before is kept"
            ) from error

    @override
    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable | torch.device | str | dict | None = "cpu",
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint without running anything that it may contain.

        Args:
            path: File to read.
            map_location: Device that the tensors go to.
            weights_only: Always true, whatever is given.

        Raises:
            RunError: If it is missing, or is not a checkpoint of plain data.
        """
        try:
            return torch.load(path, map_location=map_location, weights_only=True)
        except FileNotFoundError:
            raise RunError(f"{path} is missing: the run was not trained so far") from None
        except Exception as error:  # unpickling damaged bytes raises anything
            raise RunError(f"{path} is not a checkpoint that can be loaded safely") from error

    @override
    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint if it is there."""
        Path(path).unlink(missing_ok=True)


class BestAndLast(Checkpoint):
    """Keeps two checkpoints: the best by a validation metric, and the last to resume from.

    The best is judged after each validation. The last is saved after each epoch, at the end, and
    inside epochs every so many minutes: a kill loses no more than that. A training that is stopped
    inside an epoch saves it there: after the end of the epoch, Lightning would go on with the next.

    Args:
        folder: Where ``best.ckpt`` and ``last.ckpt`` go.
        monitor: Name of a value logged in validation; None keeps the last only.
        mode: Whether greater or smaller values are better.
        every_minutes: Longest time between two saves of the last; None waits for the epoch's end.
        stopping: Whether the training was told to stop.

    Attributes:
        best_value: Best value so far, also over resumed attempts; None before the first.
        best_step: Optimizer steps finished then.
    """

    def __init__(
        self,
        folder: Path,
        monitor: str | None,
        *,
        mode: Literal["max", "min"] = "max",
        every_minutes: float | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self.folder = folder
        self._stopping = stopping
        self.monitor = monitor
        self.mode = mode
        self.every_minutes = every_minutes
        self.best_value: float | None = None
        self.best_step = 0
        self._saved_step = -1
        self._saved_at = 0.0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_step = trainer.global_step
        self._saved_at = time.monotonic()

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        if trainer.is_last_batch:  # validation is to come, which a resumed attempt would miss
            return
        if (batch_idx + 1) % trainer.accumulate_grad_batches:  # no checkpoint holds gradients
            return
        waited_s = time.monotonic() - self._saved_at
        timed = self.every_minutes is not None and waited_s >= 60 * self.every_minutes
        if trainer.strategy.broadcast(timed or self._stopping()):
            self._save_last(trainer)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor is None or trainer.sanity_checking:
            return
        if trainer.state.fn != TrainerFn.FITTING:
            return
        logged = trainer.callback_metrics
        if self.monitor not in logged:
            raise RunError(f"validation logged no {self.monitor} but {', '.join(sorted(logged))}")
        value = chosen({k: float(v) for k, v in logged.items()}, self.monitor)[self.monitor]
        if trainer.strategy.broadcast(self._is_better(value)):
            self.best_value, self.best_step = value, trainer.global_step
            trainer.save_checkpoint(self.folder / BEST)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save_last(trainer)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save_last(trainer)

    @override
    def state_dict(self) -> dict[str, float | int | None]:
        return {"best_value": self.best_value, "best_step": self.best_step}

    @override
    def load_state_dict(self, state_dict: dict) -> None:
        self.best_value = state_dict["best_value"]
        self.best_step = state_dict["best_step"]

    def _is_better(self, value: float) -> bool:
        """NaN is never better."""
        if self.best_value is None:
            return not math.isnan(value)
        return value > self.best_value if self.mode == "max" else value < self.best_value

    def _save_last(self, trainer: Trainer) -> None:
        if trainer.global_step == self._saved_step:
            return
        trainer.save_checkpoint(self.folder / LAST)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
