"""Training: Lightning's trainer inside a run folder that loses nothing.

Ctrl-C or SIGTERM finishes the step, saves and says how to go on; a kill loses what came after the
last checkpoint; both go on with ``resume``.
"""

import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, override

from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping

from gv_data.terminal.console import Console, Meter
from gv_data.windows.datamodule import DataModule
from gv_train.checkpoints import BEST, LAST, AtomicCheckpointIO, BestAndLast
from gv_train.cpu_bfloat16 import precision_plugins
from gv_train.errors import TrainError
from gv_train.hardware import accelerator, devices, precision, use_cpu
from gv_train.lightning_log import CSVMetricsLogger
from gv_train.metric_log import MetricLog
from gv_train.runs import Run
from gv_train.schedules import Clock
from gv_train.segmentation import Segmentation
from gv_train.settings import Trainer as Settings
from gv_train.warning_log import warnings_to


class StoppedError(TrainError):
    """Training was stopped from outside; the state is saved."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


@dataclass(frozen=True)
class Fitted:
    """What a training ended with.

    Attributes:
        metrics: Values of the best validation, by name.
        step: Optimizer steps done, over all attempts.
        best_step: Step of the best validation, whose weights the task now has.
        seconds: Time of this attempt.
        warnings: Number of warnings in ``logs/warnings.log``.
    """

    metrics: dict[str, float]
    step: int
    best_step: int
    seconds: float
    warnings: int


def fit(
    task: Segmentation,
    data: DataModule,
    run: Run,
    settings: Settings | None = None,
    *,
    minutes: float | None = None,
    seed: int = 0,
    monitor: str = "val_iou",
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    console: Console | None = None,
) -> Fitted:
    """Train a task; afterwards it has the weights of its best validation.

    Args:
        task: What learns.
        data: What it learns from.
        run: Where it is written; it must have been started.
        settings: How fast, and how many steps or epochs.
        minutes: How long, validation included; the learning rate follows the clock.
        seed: Of weights, windows and changes.
        monitor: Validation value that says which weights are best; greater is better.
        resume: Whether to go on from the run's last checkpoint.
        callbacks: More of Lightning's callbacks, such as pictures.
        console: How loud to be.

    Returns:
        The best metrics.

    Raises:
        StoppedError: After Ctrl-C or SIGTERM; the last checkpoint is saved.
        RunError: If there is no checkpoint to resume from, or the disk is full.
    """
    console, settings = console or Console(), settings or Settings()
    checkpoint = run.checkpoints / LAST if resume else None
    from_step = 0
    if checkpoint is not None:
        from_step = int(AtomicCheckpointIO().load_checkpoint(checkpoint)["global_step"])
    seed_everything(seed, workers=True, verbose=False)
    use_cpu(settings.threads)
    loader = data.train_dataloader()
    steps = _steps(settings, len(loader))
    if steps is None and minutes is None:
        raise TrainError("nothing says how long to train: give --minutes or --trainer.max-epochs")
    clock = Clock(steps=steps, minutes=minutes, warmup=settings.warmup)
    best = BestAndLast(run.checkpoints, monitor, every_minutes=settings.checkpoint_minutes)
    stop = _Stop()
    started = time.monotonic()
    log = MetricLog(run.metrics, run.attempt, from_step)
    pulse = _Pulse(run, log, clock, monitor)
    watched: list[Callback] = [clock, stop, pulse, *callbacks, best]
    if settings.patience is not None:
        watched.append(EarlyStopping(monitor, patience=settings.patience, mode="max"))
    total, unit = (steps, "steps") if steps is not None else (round(60 * (minutes or 0)), "s")
    plugins = precision_plugins(settings)
    with warnings_to(run.logs) as counted, stop.listening():
        trainer = Trainer(
            accelerator=accelerator(settings.device),
            devices=devices(settings.device),
            precision=None if plugins else precision(settings),
            max_epochs=settings.max_epochs or -1,
            max_steps=clock.steps or -1,
            logger=CSVMetricsLogger(log, lambda: pulse.step),
            callbacks=watched,
            plugins=[AtomicCheckpointIO(), *plugins],
            default_root_dir=run.folder,
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        with console.working("training", total=total, unit=unit) as pulse.meter:
            trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    log.close()
    if stop.number is not None:
        raise StoppedError(stop.number, f"stopped at step {trainer.global_step:,}; all is saved")
    if best.best_value is not None and (run.checkpoints / BEST).exists():
        state = AtomicCheckpointIO().load_checkpoint(run.checkpoints / BEST)
        task.load_state_dict(state["state_dict"])
    return Fitted(
        pulse.best_metrics,
        trainer.global_step,
        best.best_step,
        time.monotonic() - started,
        counted.total,
    )


def _steps(settings: Settings, epoch_steps: int) -> int | None:
    """Optimizer steps of the whole training, if they are bounded."""
    bounds = [settings.max_steps]
    if settings.max_epochs is not None:
        bounds.append(settings.max_epochs * epoch_steps)
    known = [bound for bound in bounds if bound is not None]
    return min(known) if known else None


class _Stop(Callback):
    """Turns the first Ctrl-C or SIGTERM into an orderly end; the second leaves at once."""

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
        if self.number is not None:
            trainer.should_stop = True
            trainer.limit_val_batches = 0


class _Pulse(Callback):
    """Tells the log, the run and whoever watches how far the training is.

    Steps are logged here, not by Lightning, which does so after checkpoints are saved: a kill
    between the two would leave a gap in the log of the resumed run.
    """

    def __init__(self, run: Run, log: MetricLog, clock: Clock, monitor: str) -> None:
        self._run, self._log, self._clock, self._monitor = run, log, clock, monitor
        self.meter: Meter | None = None
        self.step = 0
        self.metrics: dict[str, float] = {}
        self.best_metrics: dict[str, float] = {}
        self._told = 0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._told = 0
        self._tell(trainer)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = float(outputs["loss"])
        if not math.isfinite(loss):
            raise TrainError(
                f"the loss of step {trainer.global_step:,} is {loss}: look at the values of the "
                f"training images (gv-data info), or train with a lower --trainer.lr"
            )
        if trainer.is_global_zero:
            self._log.add(
                {"loss": loss, "lr": self._clock.lr},
                step=trainer.global_step,
                epoch=trainer.current_epoch,
                split="train",
                kind="step",
            )
        self._tell(trainer, loss)

    def _tell(self, trainer: Trainer, loss: float | None = None) -> None:
        done = trainer.global_step if self._clock.steps is not None else int(self._clock.elapsed_s)
        parts = [f"epoch {trainer.current_epoch}"]
        if loss is not None:
            parts.append(f"loss {loss:.3f}")
        if self._monitor in self.metrics:
            now, best = self.metrics[self._monitor], self.best_metrics[self._monitor]
            parts.append(f"{self._monitor} {now:.3f} (best {best:.3f})")
        if self.meter is not None:
            self.meter.advance(done - self._told, " ".join(parts))
        self._told = done
        self.step = trainer.global_step
        self._run.beat(step=trainer.global_step, metrics=self.metrics)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val_")
        }
        best = self.best_metrics.get(self._monitor, -math.inf)
        if self.metrics[self._monitor] > best or not self.best_metrics:
            self.best_metrics = self.metrics

    @override
    def state_dict(self) -> dict[str, dict[str, float]]:
        return {"metrics": self.metrics, "best_metrics": self.best_metrics}

    @override
    def load_state_dict(self, state_dict: dict[str, dict[str, float]]) -> None:
        self.metrics = state_dict["metrics"]
        self.best_metrics = state_dict["best_metrics"]
