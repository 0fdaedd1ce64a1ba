"""Training: Lightning's trainer inside a run folder that loses nothing.

Ctrl-C, SIGTERM or SIGUSR1 finishes the step, saves and says how to go on; a kill loses what came
after the last checkpoint. Both go on with ``resume``, inside an epoch too, to the very weights that
a training without interruption has on a CPU.
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import Logger

from gv_data.terminal.console import Console
from gv_data.windows.datamodule import DataModule
from gv_train.average_settings import Average
from gv_train.averaging import WeightAverage, better_weights
from gv_train.checkpoints import BEST, LAST, AtomicCheckpointIO, BestAndLast
from gv_train.clock import Clock
from gv_train.cpu_bfloat16 import precision_plugins
from gv_train.distributed import world
from gv_train.errors import RunError, TrainError
from gv_train.hardware import accelerator, devices, precision, strategy, use_cpu
from gv_train.lightning_log import CSVMetricsLogger
from gv_train.metric_log import MetricLog
from gv_train.profilers import Kind, Waiting, profiler
from gv_train.pulse import Pulse
from gv_train.random_state import RandomState
from gv_train.runs import Run
from gv_train.schedules import Schedule
from gv_train.segmentation import Segmentation
from gv_train.settings import Trainer as Settings
from gv_train.stopping import Stop, StoppedError
from gv_train.warning_log import warnings_to


@dataclass(frozen=True)
class Fitted:
    """What a training ended with.

    Attributes:
        metrics: Values of the best validation, by name.
        step: Optimizer steps done, over all attempts.
        best_step: Step of the best validation, whose weights the task now has.
        seconds: Time of this attempt.
        waiting: Share of it spent waiting for training data, 0 to 1.
        warnings: What warnings there were, in a line; empty for none. ``logs`` has them all.
        skipped: Steps left out because their loss was no number.
    """

    metrics: dict[str, float]
    step: int
    best_step: int
    seconds: float
    waiting: float
    warnings: str
    skipped: int = 0


def fit(
    task: Segmentation,
    data: DataModule,
    run: Run,
    settings: Settings | None = None,
    *,
    minutes: float | None = None,
    seed: int = 0,
    schedule: Schedule | None = None,
    average: Average | None = None,
    monitor: str = "val_iou",
    resume: bool = False,
    checkpoint: Path | None = None,
    profile: Kind = "none",
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    console: Console | None = None,
) -> Fitted:
    """Train a task; afterwards it has the weights of its best validation.

    Args:
        task: What learns.
        data: What it learns from.
        run: Where it is written; it must have been started.
        settings: How fast, how many steps or epochs, and on what.
        minutes: How long, validation included; the learning rate follows the clock.
        seed: Of weights, windows and changes.
        schedule: How the learning rates change; None: a short warm-up, then a half cosine.
        average: Whether weights are averaged; the better of both is kept. None: they are not.
        monitor: Validation value that says which weights are best; greater is better.
        resume: Whether to go on from a checkpoint of the run.
        checkpoint: Which one; None: the last.
        profile: What to measure beside the training; see `gv_train.profilers`.
        callbacks: More of Lightning's callbacks, such as pictures.
        loggers: More of Lightning's loggers: TensorBoard, W&B, MLflow.
        console: How loud to be.

    Returns:
        The best metrics.

    Raises:
        StoppedError: After a signal; the last checkpoint is saved.
        TrainError: If the loss is no number, or nothing says how long to train.
        RunError: If there is no checkpoint to resume from.
    """
    console, settings, here = console or Console(), settings or Settings(), world()
    start = (checkpoint or run.checkpoints / LAST) if resume else None
    from_step = 0
    if start is not None:
        from_step = int(AtomicCheckpointIO().load_checkpoint(start)["global_step"])
    seed_everything(seed, workers=True, verbose=False)
    use_cpu(settings.threads)
    steps = _steps(settings, len(data.train_dataloader()))
    if steps is None and minutes is None:
        raise TrainError("nothing says how long to train: give --minutes or --trainer.max-epochs")
    clock = Clock(steps=steps, minutes=minutes, schedule=schedule, monitor=monitor)
    stop, waiting = Stop(), Waiting(profiler(profile, run.logs))
    best = BestAndLast(
        run.checkpoints,
        monitor,
        every_minutes=settings.checkpoint_minutes,
        stopping=lambda: stop.number is not None,
    )
    started = time.monotonic()
    log = None
    if here.first:
        log = MetricLog(run.metrics, run.attempt, from_step, backend=settings.log)
    pulse = Pulse(run, log, clock, waiting, monitor, not_finite=settings.not_finite)
    averages = [] if average is None else _averages(average, monitor)
    watched: list[Callback] = [RandomState(), clock, *averages, stop, pulse, *callbacks, best]
    if settings.patience is not None:
        watched.append(EarlyStopping(monitor, patience=settings.patience, mode="max"))
    total, unit = (steps, "steps") if steps is not None else (round(60 * (minutes or 0)), "s")
    with warnings_to(run.logs) as counted, stop.listening():
        # Lightning cannot know it, but DataModule goes on inside an epoch where it was interrupted
        warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before")
        # scores come from counts that all processes have summed already
        warnings.filterwarnings("ignore", r"It is recommended to use `self.log\('val_")
        trainer = lightning_trainer(
            settings,
            max_epochs=settings.max_epochs or -1,
            max_steps=clock.steps or -1,
            accumulate_grad_batches=settings.accumulate,
            logger=[
                *([] if log is None else [CSVMetricsLogger(log, lambda: pulse.step)]),
                *loggers,
            ],
            callbacks=watched,
            profiler=waiting,
            default_root_dir=run.folder,
            log_every_n_steps=1,
            num_sanity_val_steps=0,
        )
        with console.working("training", total=total, unit=unit) as pulse.meter:
            trainer.fit(task, datamodule=data, ckpt_path=start, weights_only=True)
    if log is not None:
        log.close()
    if stop.number is not None:
        raise StoppedError(stop.number, f"stopped at step {trainer.global_step:,}; all is saved")
    if best.best_value is not None and (run.checkpoints / BEST).exists():
        load_weights(task, run.checkpoints / BEST)
    return Fitted(
        pulse.best_metrics,
        trainer.global_step,
        best.best_step,
        time.monotonic() - started,
        pulse.waiting_share,
        counted.counted.line if counted.total else "",
        pulse.skipped,
    )


def lightning_trainer(settings: Settings, **more: Any) -> Trainer:  # noqa: ANN401  Lightning's
    """Lightning's trainer on the devices that are meant, saving in one step, silent.

    Args:
        settings: Devices, precision, strategy.
        more: Lightning's other arguments.
    """
    here = world()
    plugins = precision_plugins(settings)
    return Trainer(
        accelerator=accelerator(settings.device),
        devices=here.on_this_machine if here.size > 1 else devices(settings),
        num_nodes=here.machines if here.size > 1 else settings.num_nodes,
        strategy=strategy(settings, here),
        precision=None if plugins else precision(settings),
        plugins=[AtomicCheckpointIO(), *plugins],
        use_distributed_sampler=False,  # the samplers divide windows among ranks themselves
        enable_progress_bar=False,
        enable_model_summary=False,
        **more,
    )


def _averages(average: Average, monitor: str) -> list[Callback]:
    if average.mode == "none":
        return []
    given = {"start": average.start, "every": average.every, "decay": average.decay}
    return [WeightAverage(average.mode, monitor=monitor, **given)]


def _loggers(log: MetricLog | None, pulse: Pulse) -> list[Logger]:
    return [] if log is None else [CSVMetricsLogger(log, lambda: pulse.step)]


def load_weights(task: Segmentation, file: Path) -> None:
    """Give a task the weights of a checkpoint.

    Raises:
        RunError: If it holds no such weights.
    """
    state = AtomicCheckpointIO().load_checkpoint(file)
    try:
        task.load_state_dict(better_weights(state))
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{file} does not hold the weights of this network: {reason}") from error


def _steps(settings: Settings, epoch_batches: int) -> int | None:
    """Optimizer steps of the whole training, if they are bounded."""
    bounds = [settings.max_steps]
    if settings.max_epochs is not None:
        bounds.append(settings.max_epochs * -(-epoch_batches // settings.accumulate))
    known = [bound for bound in bounds if bound is not None]
    return min(known) if known else None
