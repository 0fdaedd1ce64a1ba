"""How the weights of a network are averaged: SWA and EMA as values, without any training.

SWA is the plain mean of snapshots: Izmailov et al. 2018, arXiv:1803.05407. EMA is a moving mean,
after Polyak and Juditsky 1992, with the warm-up of the decay that TensorFlow's
``ExponentialMovingAverage`` and timm have.
"""

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

Mode = Literal["swa", "ema"]
Buffers = Literal["recompute", "average", "copy"]


@dataclass(frozen=True)
class Rule:
    """What an update does.

    Attributes:
        mode: ``swa``: the mean of all networks so far; ``ema``: a moving mean.
        decay: How much of an ema is kept in an update.
        warm_decay: Whether the t-th update keeps (1 + t) / (10 + t) where that is less.
        average_buffers: Whether buffers that are no integers are averaged too, not copied.
    """

    mode: Mode
    decay: float = 0.999
    warm_decay: bool = True
    average_buffers: bool = False

    def kept(self, updates: int) -> float:
        """Share of the average that an update keeps.

        Args:
            updates: How many networks the average is of.

        Examples:
            >>> Rule("swa").kept(3), round(Rule("ema").kept(1), 3), Rule("ema").kept(10_000)
            (0.75, 0.182, 0.999)
        """
        if self.mode == "swa":
            return updates / (updates + 1)
        warm = (1 + updates) / (10 + updates)
        return min(self.decay, warm) if self.warm_decay else self.decay

    @torch.no_grad()
    def update(self, average: nn.Module, network: nn.Module, updates: int) -> None:
        """Average a network in.

        Args:
            average: Changed in place.
            network: As `frozen` copied it, with other weights.
            updates: How many networks the average is of.
        """
        averages: list[Tensor] = list(average.parameters())
        present: list[Tensor] = list(network.parameters())
        for old, new in zip(average.buffers(), network.buffers(), strict=True):
            if self.average_buffers and old.is_floating_point():
                averages.append(old)
                present.append(new)
            else:
                old.copy_(new)
        if self.mode == "swa":
            get_swa_multi_avg_fn()(averages, present, updates)
        else:
            get_ema_multi_avg_fn(self.kept(updates))(averages, present, updates)


def frozen(network: nn.Module) -> nn.Module:
    """A copy that does not learn, in evaluation mode."""
    still = copy.deepcopy(network).eval().requires_grad_(False)
    for parameter in still.parameters():
        parameter.grad = None
    return still
