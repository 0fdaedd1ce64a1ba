"""How far a training is: told to the metric log, to the run and to whoever watches."""

import json
import math
import time
from collections.abc import Mapping
from typing import Any, Literal, override

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from gv_data import atomic
from gv_data.terminal.console import Meter
from gv_train.averaging import chosen
from gv_train.clock import Clock
from gv_train.errors import TrainError
from gv_train.metric_log import MetricLog
from gv_train.profilers import Waiting
from gv_train.run_record import Best
from gv_train.runs import Run

NOT_FINITE = "not_finite.json"
"""In the run's ``logs``: the windows of the last step whose loss was no number."""


class Pulse(Callback):
    """Logs each step, beats for the run, moves the bar, and stops what cannot be learnt from.

    Steps are logged here, not by Lightning, which does so after checkpoints are saved: a kill
    between the two would leave a gap in the log of the resumed run.

    Attributes:
        meter: What shows the progress, once there is something that does.
        step: Optimizer steps finished.
        metrics: Values of the last validation, of an average of the weights where that is better.
        best_metrics: Values of the best one.
        skipped: Steps that were left out because their loss was no number.
    """

    def __init__(
        self,
        run: Run,
        log: MetricLog | None,
        clock: Clock,
        waiting: Waiting,
        monitor: str,
        *,
        not_finite: Literal["stop", "skip"] = "stop",
    ) -> None:
        """Tell of a training.

        Args:
            run: The run it belongs to.
            log: Where metrics go; None in processes that do not write.
            clock: Knows the learning rate and the end.
            waiting: Knows the time spent waiting for data.
            monitor: Validation value that says which weights are best; greater is better.
            not_finite: What a loss does that is NaN or infinite.
        """
        self._run, self._log, self._clock, self._waiting = run, log, clock, waiting
        self._monitor, self._not_finite = monitor, not_finite
        self.meter: Meter | None = None
        self.step = 0
        self.metrics: dict[str, float] = {}
        self.best_metrics: dict[str, float] = {}
        self.skipped = 0
        self._told = 0
        self._began = 0.0
        self._finite = True
        self._losses: list[float] = []

    @property
    def waiting_share(self) -> float:
        """Share of this attempt's time that was spent waiting for training batches, 0 to 1."""
        spent_s = time.perf_counter() - self._began
        return min(1.0, self._waiting.waited_s / spent_s) if self._began and spent_s else 0.0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._told, self._began = 0, time.perf_counter()
        self._tell(trainer)

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if not self._finite:  # without gradients an optimizer changes nothing
            optimizer.zero_grad(set_to_none=True)
            self._finite = True

    @override
    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor
    ) -> None:
        if self._not_finite == "skip":
            self._finite &= bool(torch.isfinite(loss))

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches  # Lightning divides it
        if not math.isfinite(loss):
            self._refuse(trainer, batch, loss)
        self._losses.append(loss)
        if trainer.global_step == self.step:  # gradients of more batches are to come
            return
        loss, self._losses = sum(self._losses) / len(self._losses), []
        if self._log is not None:
            self._log.add(
                {"loss": loss, **self._clock.rates},
                step=trainer.global_step,
                epoch=trainer.current_epoch,
                split="train",
                kind="step",
            )
        self._tell(trainer, loss)

    def _refuse(self, trainer: Trainer, batch: Mapping[str, Any], loss: float) -> None:
        """Keep the names of the windows, and stop unless such steps are to be skipped.

        Raises:
            TrainError: If they are not.
        """
        file = self._run.logs / NOT_FINITE
        told = {
            "step": trainer.global_step,
            "epoch": trainer.current_epoch,
            "loss": str(loss),
            "ids": [str(name) for name in batch.get("id", [])],
            "bounds": torch.as_tensor(batch["bounds"]).tolist() if "bounds" in batch else None,
        }
        atomic.write_text(file, json.dumps(told, indent=2) + "\n")
        if self._not_finite == "skip":
            self.skipped += 1
            return
        raise TrainError(
            f"the loss of step {trainer.global_step:,} is {loss}; its windows are named in {file}\n"
            "  try: look at the values of these images (gv-data info), a lower --trainer.lr, or "
            "--trainer.not-finite skip"
        )

    def _tell(self, trainer: Trainer, loss: float | None = None) -> None:
        done = trainer.global_step if self._clock.steps is not None else int(self._clock.elapsed_s)
        parts = [f"epoch {trainer.current_epoch}"]
        if loss is not None:
            parts.append(f"loss {loss:.3f}")
        if self._monitor in self.metrics:
            now, best = self.metrics[self._monitor], self.best_metrics[self._monitor]
            parts.append(f"{self._monitor} {now:.3f} (best {best:.3f})")
        parts.append(f"data {self.waiting_share:.0%}")
        if self.meter is not None:
            self.meter.advance(done - self._told, " ".join(parts))
        self._told = done
        self.step = trainer.global_step
        self._run.beat(
            step=trainer.global_step, epochs=trainer.current_epoch + 1, metrics=self.metrics
        )

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logged = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val_")
        }
        self.metrics = chosen(logged, self._monitor)
        value, best = self.metrics[self._monitor], self.best_metrics.get(self._monitor)
        if best is None or math.isnan(best) or value > best:
            self.best_metrics = self.metrics
            self._run.beat(best=Best(self._monitor, value, trainer.global_step, "max"))

    @override
    def state_dict(self) -> dict[str, dict[str, float]]:
        return {"metrics": self.metrics, "best_metrics": self.best_metrics}

    @override
    def load_state_dict(self, state_dict: dict[str, dict[str, float]]) -> None:
        self.metrics = state_dict["metrics"]
        self.best_metrics = state_dict["best_metrics"]
