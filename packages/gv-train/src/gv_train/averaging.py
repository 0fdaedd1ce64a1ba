"""An exponential moving average of the weights, which validates better than the last step's.

Lightning's own callback validates the initial weights before the first update and can overwrite a
trained model with them; this one is short and keeps both sets of weights apart. While training goes
on, the module holds the raw weights, and checkpoints keep the average beside them.
"""

from typing import Any, override

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn


class WeightAverage(Callback):
    """Validates the average of a module's network in place of its raw weights.

    The decay warms up as (1 + steps) / (10 + steps), so that the average forgets where it started.
    Counters are copied; running statistics of norms are averaged like weights.

    Attributes:
        decay: Largest decay; 1 / (1 - decay) steps are averaged.
        steps: Number of updates so far.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Average ``network`` with at most ``decay``; 0 follows the raw weights."""
        self.decay = decay
        self.steps = 0
        self._network = network
        self._average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's present weights into the average."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self._average else 0.0
        for name, value in self._network.state_dict().items():
            if name in self._average and value.is_floating_point():
                self._average[name].lerp_(value, 1 - decay)
            else:
                self._average[name] = value.detach().clone()
        self.steps += 1

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.update()

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._average:
            state = self._network.state_dict()
            self._raw = {name: value.detach().clone() for name, value in state.items()}
            self._network.load_state_dict(self._average)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._raw:
            self._network.load_state_dict(self._raw)
            self._raw = {}

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "average": self._average}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = state_dict["steps"]
        device = next(self._network.parameters()).device
        self._average = {k: v.to(device) for k, v in state_dict["average"].items()}
