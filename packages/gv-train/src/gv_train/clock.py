"""The clock of a training: it ends it after so many steps or minutes, and leads the learning rates.

The rates of a step are set before it and noted after it, so that the log has those really used.
"""

import math
import time
import warnings
from dataclasses import replace
from typing import Any, Literal, override

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from gv_train.errors import TrainError
from gv_train.lengths import Moment
from gv_train.schedules import Plateau, Schedule


class Clock(Callback):
    """Ends training after so many steps or minutes and leads the learning rates there.

    The time of earlier attempts counts; it is kept in the checkpoint, with all that the rates of a
    resumed training depend on. The rates of the optimizers are the peaks; a scheduler of the
    module's own must not be there.

    Attributes:
        steps: Optimizer steps after which training ends, or None.
        minutes: Minutes after which it ends, or None.
        schedule: How the rates change.
        lr: Learning rate of the present step, of the first group of parameters.
        rates: Those of all groups by name: ``lr``, then ``lr/<name>`` for groups with a ``name``
            and ``lr/<number>`` for others whose peak is one of its own.
    """

    def __init__(
        self,
        *,
        steps: int | None,
        minutes: float | None,
        warmup: float | str | None = None,
        schedule: Schedule | None = None,
        monitor: str | None = None,
        mode: Literal["max", "min"] = "max",
    ) -> None:
        """Count steps, minutes or both; the first to be reached ends the training.

        Args:
            steps: Optimizer steps. None with no minutes: as many as Lightning's trainer will do.
            minutes: Minutes, validation included.
            warmup: Warm-up of a cosine, in place of a schedule.
            schedule: How the rates change; None: a cosine.
            monitor: Validation value that the shape plateau watches.
            mode: Whether greater or smaller values of it are better.

        Raises:
            TrainError: If there are a schedule and a warm-up, or nothing to watch for plateau.
        """
        if schedule is not None and warmup is not None:
            raise TrainError(f"a schedule has its own warm-up, {schedule.warmup}: give one of both")
        if schedule is None:
            schedule = Schedule() if warmup is None else Schedule(warmup=warmup)
        if schedule.name == "plateau" and monitor is None:
            raise TrainError("plateau watches a validation value: say which, as monitor='val_iou'")
        self.steps, self.minutes, self.schedule = steps, minutes, schedule
        self.lr = 0.0
        self.rates: dict[str, float] = {}
        self._monitor, self._mode = monitor, mode
        self._plateau = Plateau()
        self._risen: Moment | None = None
        self._before_s = 0.0
        self._agreed_s = 0.0
        self._started: float | None = None
        self._epoch_steps: int | None = None
        self._groups: list[dict[str, Any]] = []
        self._names: dict[str, int] = {}
        self._step = 0
        self._sums: dict[str, float] = {}
        self._summed = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds trained so far, over all attempts."""
        now = 0.0 if self._started is None else time.monotonic() - self._started
        return self._before_s + now

    @property
    def progress(self) -> float:
        """Share of the training that is done, 0 to 1, by the time when the last batch was due."""
        shares = [0.0]
        if self.steps is not None:
            shares.append(self._step / max(self.steps, 1))
        if self.minutes is not None:
            shares.append(self._agreed_s / (60 * self.minutes))
        return min(1.0, max(shares))

    @property
    def now(self) -> Moment:
        """Where the training stands; the same on all devices."""
        return Moment(self._step, self.progress, self._epoch_steps)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.lr_scheduler_configs:
            raise TrainError(
                f"{type(pl_module).__name__}.configure_optimizers gives a scheduler, but the clock "
                "leads the learning rates: return the optimizer alone, and give the clock a "
                "Schedule"
            )
        self._epoch_steps = epoch_steps(trainer)
        if self.steps is None and self.minutes is None:
            total = trainer.estimated_stepping_batches
            if math.isinf(total):
                raise TrainError("nothing says how long to train: give steps or minutes")
            self.steps = int(total)
        self._started = time.monotonic()
        self._groups = [group for one in trainer.optimizers for group in one.param_groups]
        for group in self._groups:
            group.setdefault("initial_lr", group["lr"])
        self._names = _names(self._groups)
        self._tick(trainer)
        if self._risen is not None:
            self._risen = replace(self._risen, epoch_steps=self._epoch_steps)
        if self.minutes is None and self.steps is not None:
            self._risen = self.schedule.risen(self.steps, self._epoch_steps)
            if self._risen.step >= self.steps > 1:
                warnings.warn(
                    f"the warm-up ({self.schedule.warmup}) is as long as the training of "
                    f"{self.steps:,} steps: the learning rate only rises",
                    stacklevel=2,
                )

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._tick(trainer)
        if self._risen is None and self.schedule.warm(self.now):
            self._risen = self.now
        factor = self.schedule.at(self.now, self._risen or self.now) * self._plateau.factor
        for group in self._groups:
            group["lr"] = group["initial_lr"] * factor
        self.rates = {name: self._groups[index]["lr"] for name, index in self._names.items()}
        self.lr = self.rates["lr"]

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self._step:  # not where gradients are only added up
            self._sums = {name: self._sums.get(name, 0.0) + lr for name, lr in self.rates.items()}
            self._summed += 1
        self._tick(trainer)
        if self.progress >= 1:
            trainer.should_stop = True

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if self.schedule.name != "plateau" or not fitting or not self.schedule.warm(self.now):
            return
        logged = trainer.callback_metrics
        if self._monitor not in logged:
            known = ", ".join(sorted(logged)) or "nothing"
            raise TrainError(f"plateau watches {self._monitor}, but validation logged {known}")
        value = trainer.strategy.broadcast(float(logged[self._monitor]))
        self._plateau = self._plateau.after(value, self.schedule, self._mode)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the last rate of the epoch and the mean over its steps.

        They go to the loggers themselves, since ``LightningModule.log`` rounds to float32.
        """
        values = self.epoch_rates()
        self._sums, self._summed = {}, 0
        if values:
            values["epoch"] = trainer.current_epoch
            for logger in trainer.loggers:
                logger.log_metrics(values, step=trainer.global_step - 1)

    def epoch_rates(self) -> dict[str, float]:
        """Last and mean learning rate of the epoch so far, by the names that they are logged with.

        Returns:
            ``train_lr_epoch`` and ``train_lr_mean_epoch``, then those of the other groups, such as
            ``train_lr/encoder_epoch``; nothing before the first step.
        """
        values = {}
        for name, total in self._sums.items():
            group = name.removeprefix("lr")
            values[f"train_lr{group}_epoch"] = self.rates[name]
            values[f"train_lr_mean{group}_epoch"] = total / self._summed
        return values

    @override
    def state_dict(self) -> dict[str, Any]:
        risen = None if self._risen is None else [self._risen.step, self._risen.progress]
        return {
            "elapsed_s": self.elapsed_s,
            "risen": risen,
            "plateau": vars(self._plateau).copy(),
            "rates": dict(self.rates),
            "sums": dict(self._sums),
            "summed": self._summed,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before_s = state_dict["elapsed_s"]
        self._risen = None if state_dict["risen"] is None else Moment(*state_dict["risen"])
        self._plateau = Plateau(**state_dict["plateau"])
        self.rates = dict(state_dict["rates"])
        self._sums = dict(state_dict["sums"])
        self._summed = state_dict["summed"]

    def _tick(self, trainer: Trainer) -> None:
        """Read the time: that of the first process, or devices would end at different steps."""
        self._step = trainer.global_step
        if self.minutes is not None:
            self._agreed_s = trainer.strategy.broadcast(self.elapsed_s)


def epoch_steps(trainer: Trainer) -> int | None:
    """Optimizer steps of an epoch of a running training; None if its data have no length."""
    batches = trainer.num_training_batches
    if math.isinf(batches):
        return None
    return math.ceil(batches / trainer.accumulate_grad_batches)


def _names(groups: list[dict[str, Any]]) -> dict[str, int]:
    """Which groups' rates are told, and how they are called."""
    names = {"lr": 0}
    peaks = {groups[0]["initial_lr"]}
    for index, group in enumerate(groups[1:], start=1):
        if "name" in group:
            names.setdefault(f"lr/{group['name']}", index)
        elif group["initial_lr"] not in peaks:
            names[f"lr/{index}"] = index
        peaks.add(group["initial_lr"])
    return names
