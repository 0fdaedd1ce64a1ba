"""Learning rate by how far the training is, be it counted in steps or in minutes."""

import math
import time
from typing import Any, override

from lightning.pytorch import Callback, LightningModule, Trainer


def warm_cosine(progress: float, warmup: float) -> float:
    """Rise linearly, then fall along a half cosine.

    Args:
        progress: Share of the training that is done, 0 to 1.
        warmup: Share of the training during which it rises.

    Returns:
        Factor on the peak learning rate, from 0.01 up to 1 and down to 0.

    Examples:
        >>> [round(warm_cosine(p, 0.1), 2) for p in (0.0, 0.1, 0.55, 1.0)]
        [0.01, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return 0.01 + 0.99 * progress / warmup
    done = (min(progress, 1.0) - warmup) / max(1 - warmup, 1e-9)
    return 0.5 + 0.5 * math.cos(math.pi * done)


class Clock(Callback):
    """Ends training after so many steps or minutes and leads the learning rate there.

    The time of earlier attempts counts: it is kept in the checkpoint.

    Attributes:
        steps: Optimizer steps after which training ends, or None.
        minutes: Minutes after which it ends, or None.
        lr: Learning rate of the present step, of the first group of parameters.
    """

    def __init__(self, *, steps: int | None, minutes: float | None, warmup: float) -> None:
        """Count steps, minutes or both; the first to be reached ends the training."""
        self.steps = steps
        self.minutes = minutes
        self.lr = 0.0
        self._warmup = warmup
        self._before_s = 0.0
        self._started: float | None = None
        self._peaks: list[float] = []
        self._step = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds trained so far, over all attempts."""
        now = 0.0 if self._started is None else time.monotonic() - self._started
        return self._before_s + now

    @property
    def progress(self) -> float:
        """Share of the training that is done, 0 to 1."""
        shares = [0.0]
        if self.steps is not None:
            shares.append(self._step / max(self.steps, 1))
        if self.minutes is not None:
            shares.append(self.elapsed_s / (60 * self.minutes))
        return min(1.0, max(shares))

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic()
        self._step = trainer.global_step
        groups = trainer.optimizers[0].param_groups
        for group in groups:
            group.setdefault("initial_lr", group["lr"])
        self._peaks = [group["initial_lr"] for group in groups]

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._step = trainer.global_step
        factor = warm_cosine(self.progress, self._warmup)
        for group, peak in zip(trainer.optimizers[0].param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        self.lr = self._peaks[0] * factor

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._step = trainer.global_step
        if self.progress >= 1:
            trainer.should_stop = True

    @override
    def state_dict(self) -> dict[str, float]:
        return {"elapsed_s": self.elapsed_s}

    @override
    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self._before_s = state_dict["elapsed_s"]
