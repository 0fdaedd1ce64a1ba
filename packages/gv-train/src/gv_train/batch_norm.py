"""Statistics of batch normalisation for weights that no training step ever ran with.

An average of weights has other activations than the networks it is the average of. Method: Izmailov
et al. 2018, "Averaging weights leads to wider optima and better generalization", arXiv:1803.05407,
as ``torch.optim.swa_utils.update_bn``, but through the task's own forward, over some batches, and
without disturbing the training.
"""

from collections.abc import Mapping, Sequence

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gv_train.second_validation import batches


def normalisers(network: nn.Module) -> list[_BatchNorm]:
    """The layers that keep running statistics of batches."""
    return [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]


def recompute(trainer: Trainer, module: LightningModule, network: nn.Module, count: int) -> None:
    """Set the running statistics to those of training batches.

    All batches count the same. They are the first of the present epoch, not mixed with each other,
    and dropout draws what it would at this step. On several devices the statistics are of the
    batches of all.

    Args:
        trainer: Trainer of a running training.
        module: Task; its forward takes images as its batches have them.
        network: Part of the task whose statistics are meant; everything else is left as it is.
        count: How many batches.
    """
    layers = normalisers(network)
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    was_training, stage = network.training, trainer.state.stage
    trainer.validating = True  # changes that are for learning only look at this
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # a mean in which each batch counts the same
        network.train()
        with torch.no_grad(), isolate_rng():
            torch.manual_seed(trainer.global_step)  # a resumed training gets the same
            for batch, _, _ in batches(trainer, "train", count):
                with trainer.precision_plugin.forward_context():
                    module(images(batch))
    finally:
        trainer.state.stage = stage
        network.train(was_training)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    if trainer.world_size > 1:
        _pool(trainer, layers)


def images(batch: object) -> object:
    """What a task's forward takes of a batch: ``image``, or the first of several things.

    Examples:
        >>> images({"mask": 1, "image": 2}), images((2, 1)), images(2)
        (2, 2, 2)
    """
    if isinstance(batch, Mapping):
        return batch["image"]
    return batch[0] if isinstance(batch, Sequence) else batch


def share_first(trainer: Trainer, network: nn.Module) -> None:
    """Give all devices the buffers of the first, as DDP does before each forward."""
    if trainer.world_size > 1:
        for buffer in network.buffers():
            buffer.copy_(trainer.strategy.broadcast(buffer).to(buffer.device))


def _pool(trainer: Trainer, layers: list[_BatchNorm]) -> None:
    """Mean and variance over all devices of what each has from equally many batches."""
    for layer in layers:
        mean, var = layer.running_mean, layer.running_var
        if mean is None or var is None:
            continue
        pooled = trainer.strategy.reduce(mean.clone(), reduce_op="mean")
        # update_bn takes the mean of the batches' variances, not the variance of all pixels
        var.copy_(trainer.strategy.reduce(var.clone(), reduce_op="mean"))
        mean.copy_(pooled)
