"""Averages of a network's weights over a training: SWA and EMA, see `gv_train.average_rules`.

The average is a network beside the one that learns, which is never written to before the training
is over: training with an average has the weights of training without, to the bit.
"""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, override

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from gv_train.average_rules import Buffers, Mode, Rule, frozen
from gv_train.batch_norm import normalisers, recompute, share_first
from gv_train.clock import Clock, epoch_steps
from gv_train.errors import TrainError
from gv_train.lengths import Length, Moment
from gv_train.second_validation import validate

_ROUNDING = 1e-9
"""0.7 of 10 steps must not be step 8."""


class WeightAverage(Callback):
    """Averages a task's network, validates the average too, and ends with the better of both.

    Each validation is done twice: for the weights as they are, and for the average, whose values
    are logged with ``avg_`` before their names (``val_avg_iou``). When the training ends, the task
    has the weights with the better value of ``monitor`` in the last validation; with equal values,
    without a monitor or without a validation, those of the average. The others are kept:
    `other_weights`.

    A checkpoint holds the weights that learn as ``state_dict``, and the average in the state of
    this callback; `better_weights` picks from it.

    Attributes:
        average: The averaged network; None before the first average.
        updates: How many times weights were averaged.
        other_weights: After a training that ended with the average, the plain weights.
    """

    def __init__(
        self,
        mode: Mode = "ema",
        *,
        start: float | str | None = None,
        every: str | None = None,
        decay: float = 0.999,
        warm_decay: bool = True,
        buffers: Buffers | None = None,
        batches: int = 32,
        monitor: str | None = "val_iou",
        monitor_mode: Literal["max", "min"] = "max",
        network: str = "network",
    ) -> None:
        """Set up an average.

        Args:
            mode: ``swa``: mean of snapshots that all count the same; ``ema``: moving mean.
            start: When averaging starts: a share of the training, '500 steps' or '3 epochs'. None:
                0.75 for swa, 0 for ema.
            every: Distance of the weights averaged, the first of which lie this far from the start.
                None: '1 epochs' for swa, '1 steps' for ema.
            decay: How much of an ema is kept in an update.
            warm_decay: Whether the t-th update keeps (1 + t) / (10 + t) where that is less.
            buffers: What becomes of batch normalisation's statistics, and of other buffers that are
                no integers: anew from training batches, for batch normalisation only; averaged as
                weights are; or those of the present network. None: recompute for swa, average for
                ema.
            batches: How many training batches statistics are recomputed from.
            monitor: Validation value that decides between both.
            monitor_mode: Whether greater or smaller values are better.
            network: Attribute of the task that is averaged.

        Raises:
            TrainError: If a setting makes no sense.
        """
        swa = mode == "swa"
        try:
            self._start = Length.read((0.75 if swa else 0.0) if start is None else start)
            self._every = Length.read(every or ("1 epochs" if swa else "1 steps"))
        except ValueError as error:
            raise TrainError(str(error)) from None
        if not self._every.count or not 0 <= decay < 1 or batches < 1:
            raise TrainError(
                "an average needs every > 0, 0 <= decay < 1 and batches >= 1, got "
                f"{every}, {decay:g} and {batches}"
            )
        buffers = buffers or ("recompute" if swa else "average")
        self._rule = Rule(mode, decay, warm_decay, average_buffers=buffers == "average")
        self._recomputes, self._batches = buffers == "recompute", batches
        self._monitor, self._monitor_mode = monitor, monitor_mode
        self._attribute = network
        self._clock: Clock | None = None
        self.average: nn.Module | None = None
        self.updates = 0
        self.other_weights: dict[str, Tensor] | None = None
        self._restored: dict[str, Tensor] | None = None
        self._started: int | None = None
        self._every_steps = 1
        self._total = math.inf
        self._epoch_steps: int | None = None
        self._step = 0
        self._fresh = False
        self._validated: dict[str, float] = {}
        self._values: tuple[float, float] | None = None

    @property
    def average_is_better(self) -> bool:
        """Whether the average did at least as well as the plain weights in the last validation."""
        if self.average is None or self._values is None:
            return self.average is not None
        plain, average = self._values
        if math.isnan(plain) or math.isnan(average):
            return math.isnan(plain)
        return average >= plain if self._monitor_mode == "max" else average <= plain

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(trainer.strategy, FSDPStrategy | DeepSpeedStrategy | ModelParallelStrategy):
            raise TrainError("weights are averaged where each device has all of them: use ddp")
        callbacks = trainer.callbacks  # pyrefly: ignore[missing-attribute]  set by a connector
        # a clock knows how far a training is that is measured in minutes
        self._clock = next((one for one in callbacks if isinstance(one, Clock)), None)
        self._epoch_steps = epoch_steps(trainer)
        self._total = float(trainer.estimated_stepping_batches)
        if self._clock is None:
            self._start.in_steps(self._total, self._epoch_steps)  # refuses what nobody knows
        self._every_steps = max(1, round(self._every.in_steps(self._total, self._epoch_steps)))
        network = self._network(pl_module)
        if self.other_weights is not None:  # a training goes on with the weights that learn
            network.load_state_dict(self.other_weights)
            self.other_weights = None
        if self._restored is not None:
            self.average = frozen(network)
            self.average.load_state_dict(self._restored)
            self._restored = None

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._step = trainer.global_step
        if self._started is None and self._start.passed(self._now()) >= 1 - _ROUNDING:
            self._started = self._step

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped = trainer.global_step > self._step  # not where gradients are only added up
        if self._started is None or not stepped:
            return
        if (trainer.global_step - self._started) % self._every_steps == 0:
            self._update(self._network(pl_module))

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average first, while the module's metrics hold nothing."""
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if self.average is None or not fitting:
            return
        self._refresh(trainer, pl_module)
        with self._in_place(pl_module):
            values = validate(trainer, pl_module)
        self._validated = {averaged(name): value for name, value in values.items()}

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._validated:
            several = trainer.world_size > 1
            for name, value in self._validated.items():
                pl_module.log(
                    name, value, batch_size=1, sync_dist=several, add_dataloader_idx=False
                )

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._validated or self._monitor is None:
            return
        logged = trainer.callback_metrics
        names = (self._monitor, averaged(self._monitor))
        if not all(name in logged for name in names):
            known = ", ".join(sorted(logged)) or "nothing"
            raise TrainError(f"{self._monitor} decides on an average, but validation gave {known}")
        values = (float(logged[names[0]]), float(logged[names[1]]))
        self._values = trainer.strategy.broadcast(values)  # all devices must end with the same
        self._validated = {}

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.average is None:
            warnings.warn(
                f"no weights were averaged in {trainer.global_step:,} steps: it starts after "
                f"{self._start} and takes weights every {self._every}; give an earlier start",
                stacklevel=2,
            )
        self._refresh(trainer, pl_module)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average in its place, after the last checkpoint of the training is written."""
        if self.average is None or not self.average_is_better:
            return
        network = self._network(pl_module)
        self.other_weights = {name: one.clone() for name, one in network.state_dict().items()}
        network.load_state_dict(self.average.state_dict())

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self._attribute,
            "average": None if self.average is None else dict(self.average.state_dict()),
            "other_weights": self.other_weights,
            "average_is_better": self.average_is_better,
            "updates": self.updates,
            "started": self._started,
            "fresh": self._fresh,
            "values": None if self._values is None else list(self._values),
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict["average"]
        self.other_weights = state_dict["other_weights"]
        self.updates, self._started = state_dict["updates"], state_dict["started"]
        self._fresh = state_dict["fresh"]
        self._values = None if state_dict["values"] is None else tuple(state_dict["values"])

    def _network(self, pl_module: LightningModule) -> nn.Module:
        network = getattr(pl_module, self._attribute, None)
        if not isinstance(network, nn.Module):
            raise TrainError(
                f"{type(pl_module).__name__} has no network called {self._attribute} to average: "
                "give its name, as network='model'"
            )
        return network

    def _now(self) -> Moment:
        if self._clock is not None:
            return self._clock.now
        return Moment(self._step, self._step / self._total, self._epoch_steps)

    def _update(self, network: nn.Module) -> None:
        """Average once more; the first time, the average is the network as it is."""
        if self.average is None:
            self.average = frozen(network)
        else:
            self._rule.update(self.average, network, self.updates)
        self.updates += 1
        self._fresh = False

    def _refresh(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the buffers of the average up to its weights, unless they are."""
        if self._fresh or self.average is None:
            return
        if self._recomputes and normalisers(self.average):
            with self._in_place(pl_module) as average:
                recompute(trainer, pl_module, average, self._batches)
        else:
            share_first(trainer, self.average)
        self._fresh = True

    @contextmanager
    def _in_place(self, pl_module: LightningModule) -> Iterator[nn.Module]:
        """Have the task use the average; its own network is put aside, not written to."""
        network = self._network(pl_module)
        average = self.average or network
        setattr(pl_module, self._attribute, average)
        try:
            yield average
        finally:
            setattr(pl_module, self._attribute, network)


def better_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The task's weights of a checkpoint: the average where its validation went better.

    Args:
        checkpoint: As Lightning saved it, with or without an average.

    Returns:
        What ``LightningModule.load_state_dict`` takes.
    """
    weights = dict(checkpoint["state_dict"])
    state = checkpoint.get("callbacks", {}).get(WeightAverage.__qualname__)
    if state is not None and state["average_is_better"]:
        weights |= {f"{state['network']}.{name}": one for name, one in state["average"].items()}
    return weights


def chosen(metrics: Mapping[str, float], monitor: str) -> dict[str, float]:
    """The validation values of the better of both networks, under their usual names.

    Args:
        metrics: By name; those of the average, if there is one, with ``avg_``.
        monitor: Value that decides; greater is better, and the average wins a tie.

    Examples:
        >>> chosen({"val_iou": 0.5, "val_avg_iou": 0.6}, "val_iou")["val_iou"]
        0.6
    """
    plain, average = metrics[monitor], metrics.get(averaged(monitor), math.nan)
    if not (average >= plain or (math.isnan(plain) and not math.isnan(average))):
        return dict(metrics)
    return {name: metrics.get(averaged(name), value) for name, value in metrics.items()}


def averaged(name: str) -> str:
    """``val_iou`` becomes ``val_avg_iou``."""
    for part in ("val_", "val/"):
        if name.startswith(part):
            return f"{part}avg_{name.removeprefix(part)}"
    return f"avg_{name}"
