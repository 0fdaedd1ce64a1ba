"""The largest batch that fits into memory: the wanted one, or half of it, and so on."""

import copy
import dataclasses

import torch
from lightning.pytorch import LightningModule

from gv_data.windows.datamodule import DataModule
from gv_train.errors import TrainError
from gv_train.settings import Trainer as Settings
from gv_train.training import lightning_trainer

_SAID = ("out of memory", "not enough memory", "can't allocate memory")


def largest_batch(
    task: LightningModule, data: DataModule, settings: Settings, *, wanted: int
) -> int:
    """Try batches with one step each, halved until one fits.

    The steps are made by a copy of the task: it has learnt nothing afterwards.

    Args:
        task: What learns.
        data: What it learns from; its ``batch_size`` is that of the result afterwards.
        settings: On what.
        wanted: Windows a step to begin with.

    Returns:
        Windows a step that fit.

    Raises:
        TrainError: If not even one window fits.
    """
    size = wanted
    while True:
        data.batch_size = size
        try:
            _step(task, data, settings)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return size
        if size == 1:
            raise TrainError(
                "not even one window fits into memory: give smaller windows (--window-px) or "
                "another device (--trainer.device cpu)"
            )
        size = (size + 1) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception of torch or Python says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in _SAID)


def _step(task: LightningModule, data: DataModule, settings: Settings) -> None:
    trainer = lightning_trainer(
        dataclasses.replace(settings, devices=1, num_nodes=1, strategy="auto"),
        max_steps=2,  # the state of the optimizer is there from the second on
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
    )
    trainer.fit(copy.deepcopy(task), datamodule=data)
