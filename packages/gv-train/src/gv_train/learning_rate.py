"""A range test of learning rates: the loss while the rate rises from too small to too large.

Method: Smith 2017, "Cyclical learning rates for training neural networks", arXiv:1506.01186, as
Lightning's tuner does it; the rate proposed is where the loss falls fastest.
"""

import copy
import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from lightning.pytorch import LightningModule
from lightning.pytorch.tuner import Tuner

from gv_data.pictures.sheet import BLUE, INK, VERMILION, Sheet, points
from gv_data.windows.datamodule import DataModule
from gv_train.errors import TrainError
from gv_train.settings import Trainer as Settings
from gv_train.training import lightning_trainer

STEPS = 100
LOWEST, HIGHEST = 1e-6, 1.0


@dataclass(frozen=True)
class RangeTest:
    """What a range test found.

    Attributes:
        rates: The learning rate of each step.
        losses: The loss of each step, smoothed, NaN-free.
        proposed: Peak learning rate to train with.
    """

    rates: Float[np.ndarray, " n"]
    losses: Float[np.ndarray, " n"]
    proposed: float


def range_test(
    task: LightningModule, data: DataModule, settings: Settings, *, steps: int = STEPS
) -> RangeTest:
    """Try learning rates on a copy of a task, which has learnt nothing afterwards.

    All groups of parameters get the same rate: the proposal is for a task without factors.

    Args:
        task: What is to learn.
        data: What from.
        settings: On what.
        steps: Rates to try, from `LOWEST` to `HIGHEST`.

    Raises:
        TrainError: If the loss never falls, so that nothing can be proposed.
    """
    with tempfile.TemporaryDirectory(prefix="find-lr-") as folder:
        trainer = lightning_trainer(
            dataclasses.replace(settings, devices=1, num_nodes=1, strategy="auto"),
            max_epochs=-1,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            default_root_dir=folder,
        )
        found = Tuner(trainer).lr_find(
            copy.deepcopy(task),
            datamodule=data,
            min_lr=LOWEST,
            max_lr=HIGHEST,
            num_training=steps,
            update_attr=False,
        )
    proposed = None if found is None else found.suggestion()
    if found is None or proposed is None:
        raise TrainError(
            "the loss says nothing about the learning rate: give more windows "
            "(--trainer.batch-size) or choose --trainer.lr yourself"
        )
    rates, losses = (np.array(found.results[name], float) for name in ("lr", "loss"))
    known = np.isfinite(losses)
    return RangeTest(rates[known], losses[known], float(proposed))


def draw(path: Path, found: RangeTest) -> None:
    """Plot the loss over the learning rates, with the proposal marked.

    Args:
        path: PNG file to write.
        found: What was tried.
    """
    sheet = Sheet(1200, 700)
    sheet.text(24, 16, "Loss by learning rate", 30, weight="bold")
    axes = sheet.panel(120, 84, 1056, 500)
    axes.plot(found.rates, found.losses, color=BLUE, linewidth=2)
    axes.axvline(found.proposed, color=VERMILION, linewidth=1.5)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate", fontsize=points(20), color=INK)
    axes.set_ylabel("loss", fontsize=points(20), color=INK)
    axes.grid(color="#E4E4E4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    # a loss that explodes at the end would flatten all that matters
    axes.set_ylim(top=float(np.quantile(found.losses, 0.9) * 1.5))
    note = f"proposed {found.proposed:.2g}"
    sheet.text(1176, 22, note, 22, colour=VERMILION, ha="right")
    sheet.save(path)
