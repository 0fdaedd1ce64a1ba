"""Ctrl-C, SIGTERM and SIGUSR1 end a training in order: the step is finished and all is saved."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, override

from lightning.pytorch import Callback, LightningModule, Trainer

from gv_train.errors import TrainError


class StoppedError(TrainError):
    """Training was stopped from outside; the state is saved."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Stop(Callback):
    """Turns the first signal into an orderly end; the second leaves at once.

    SIGUSR1 is what batch systems send some minutes before they take the machine away.

    Attributes:
        number: The signal that came, or None.
    """

    _signals = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def __init__(self) -> None:
        self.number: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take over the signals for the time of the training."""
        before = {number: signal.getsignal(number) for number in self._signals}
        self._take_over()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take_over()  # Lightning has put its own handler in between

    def _take_over(self) -> None:
        for number in self._signals:
            signal.signal(number, self._noted)

    def _noted(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            os._exit(128 + number)
        self.number = number

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return  # gradients of more batches are to come, and no checkpoint holds them
        # the signal may have reached one process of several: all stop after the same step
        if trainer.strategy.reduce_boolean_decision(self.number is not None, all=False):
            self.number = self.number or signal.SIGTERM
            trainer.should_stop = True
            if not trainer.is_last_batch:  # else its validation belongs to the epoch
                trainer.limit_val_batches = 0
