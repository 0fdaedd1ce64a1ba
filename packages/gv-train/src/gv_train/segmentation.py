"""Segmentation as a LightningModule: a network with heads, a loss a head, metrics of one count.

Scores come from pixel counts that are summed over the whole epoch and all devices, never from means
of batches. They are those at the threshold with the best IoU, which is told with them and which the
package keeps: under another light or in another town, one half is seldom the best.
"""

from collections.abc import Mapping, Sequence
from typing import Any, override

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric

from gv_data.windows.dataset import IGNORE
from gv_models.losses import bce_dice
from gv_train.pixel_counts import PixelCounts

TARGETS = {"interior": "mask", "edge": "edge"}
"""Which layer of a sample each head learns."""

OVERLOOKED_MAX = 0.3
"""Share of a batch's ground beyond which the network is wrong rather than the labels: what sees
objects everywhere would otherwise never be told."""


class Segmentation(LightningModule):
    """Learns the layers of a sample with one head each; scores the first head.

    Attributes:
        network: Gives logits by head from normalised images.
        weights: Weight of each head's loss.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        weights: Mapping[str, float],
        mean: Sequence[float],
        std: Sequence[float],
        lr: float = 2e-3,
        encoder_lr: float = 1.0,
        weight_decay: float = 0.01,
        overlooked: float = 1.0,
    ) -> None:
        """Set up a task.

        Args:
            network: Module from (b, c, h, w) to a dictionary of logits (b, 1, h, w); its
                ``encoder`` may learn at a rate of its own.
            weights: Heads to learn, each with the weight of its loss; the first one is scored.
            mean: Mean of each band, in the units of the images.
            std: Standard deviation of each band.
            lr: Peak learning rate.
            encoder_lr: Learning rate of the encoder as a share of ``lr``.
            weight_decay: Weight decay of AdamW; norms and biases have none.
            overlooked: Probability of the first head from which ground without a label is not
                learnt from: the network is sure that people overlooked an object there (hard
                bootstrapping, Reed et al. 2015, arXiv:1412.6596, that ignores instead of
                relabelling). 1 believes all labels, as validation always does, and so does a batch
                with more than `OVERLOOKED_MAX` of its ground in doubt.
        """
        super().__init__()
        self.network = network
        self.weights = dict(weights)
        self._lr, self._encoder_lr, self._weight_decay = lr, encoder_lr, weight_decay
        self._overlooked = overlooked
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32)[:, None, None])
        self.counts = PixelCounts(IGNORE)
        self.val_loss = MeanMetric()

    @override
    def forward(self, image: Float[Tensor, "b c h w"]) -> dict[str, Float[Tensor, "b 1 h w"]]:
        """Logits by head of images in physical units."""
        normal = (image - self.mean) / self.std
        return self.network(normal.contiguous(memory_format=torch.channels_last))

    def loss(self, logits: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Weighted sum of the heads' losses over labelled pixels."""
        total = torch.zeros((), device=self.device)
        for head, weight in self.weights.items():
            target = batch[TARGETS[head]]
            total = total + weight * bce_dice(logits[head], target.float(), target != IGNORE)
        return total

    @override
    def training_step(self, batch: dict[str, Any], index: int) -> Float[Tensor, ""]:
        logits = self(batch["image"])
        loss = self.loss(logits, self._without_overlooked(logits, batch))
        # the loss of each step is logged by gv_train.training, before checkpoints are saved
        windows = len(batch["image"])
        self.log(
            "train_loss_epoch",
            loss,
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=windows,
        )
        return loss

    def _without_overlooked(
        self, logits: Mapping[str, Tensor], batch: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The batch with the ground ignored where the network is sure of an unlabelled object."""
        if self._overlooked >= 1:
            return batch
        first = next(iter(self.weights))
        sure = logits[first][:, 0].detach().float().sigmoid() > self._overlooked
        ground = batch[TARGETS[first]] == 0
        sure &= ground
        share = sure.sum() / ground.sum().clamp(min=1)
        self.log(
            "train_overlooked",
            share,
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=len(ground),
        )
        if share > OVERLOOKED_MAX:
            return batch
        layers = {TARGETS[head] for head in self.weights}
        return {**batch, **{name: batch[name].masked_fill(sure, IGNORE) for name in layers}}

    @override
    def validation_step(self, batch: dict[str, Any], index: int) -> Float[Tensor, "b h w"]:
        logits = self(batch["image"])
        first = next(iter(self.weights))
        target, found = batch[TARGETS[first]], logits[first][:, 0].float().sigmoid()
        self.counts.update(found, target)
        for n in range(len(target)):  # of each window, so that it matters not how they are batched
            one = slice(n, n + 1)
            alone = {head: values[one] for head, values in logits.items()}
            truth = {TARGETS[head]: batch[TARGETS[head]][one] for head in self.weights}
            known = float((target[one] != IGNORE).any())
            self.val_loss.update(self.loss(alone, truth), weight=known)
        return found

    @override
    def on_validation_epoch_end(self) -> None:
        self.log("val_loss", self.val_loss.compute())
        threshold = self.counts.best_threshold()
        scores = self.counts.scores(threshold)
        self.log_dict({f"val_{name}": value for name, value in scores.items()})
        self.log("val_threshold", threshold)
        self.counts.reset()
        self.val_loss.reset()

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            key = (name.startswith("encoder."), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
        return torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "lr": self._lr * (self._encoder_lr if encoder else 1.0),
                    "weight_decay": self._weight_decay if decays else 0.0,
                }
                for (encoder, decays), parameters in groups.items()
            ],
            fused=True,
        )
