"""A validation beside the trainer's own: other weights, the same module, the same batches.

The trainer's validation loop cannot run inside itself, and its callbacks and loggers must not hear
of a second validation. So the module's hooks are called here in their usual order, and what they
log is kept aside, reduced as Lightning reduces it.
"""

import copy
import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader
from lightning.pytorch.utilities.data import extract_batch_size
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import Metric

from gv_train.errors import TrainError


def validate(trainer: Trainer, module: LightningModule) -> dict[str, float]:
    """Validate a module during a training, without leaving a trace.

    Args:
        trainer: Trainer that is about to validate: its module has no metrics half counted.
        module: What to validate, in evaluation mode.

    Returns:
        The values that the module logged for the epoch, by name; those logged with ``sync_dist``
        are of all devices, and so are torchmetrics objects.

    Raises:
        TrainError: If a value is reduced in a way that is not known here.
    """
    record = _Record(trainer, several=len(trainer.num_val_batches) > 1)
    module.log = record.log  # pyrefly: ignore[bad-assignment]  Lightning's belongs to its own loop
    try:
        with isolate_rng():
            module.on_validation_start()
            module.on_validation_epoch_start()
            for batch, index, loader in batches(trainer, "val"):
                record.batch, record.loader = batch, loader
                where = (batch, index, loader) if record.several else (batch, index)
                module.on_validation_batch_start(*where)
                takes = len(inspect.signature(module.validation_step).parameters)
                with trainer.precision_plugin.val_step_context():
                    output: Any = module.validation_step(*where[:takes])
                module.on_validation_batch_end(output, *where)
            record.batch = None
            module.on_validation_epoch_end()
            module.on_validation_end()
    finally:
        del module.log
    return record.values()


def batches(trainer: Trainer, part: str, count: int | None = None) -> Iterator[tuple]:
    """Batches of a running training, on its device, read a second time.

    The loaders' workers and random generators are left as they are. Batches pass the hooks that
    move and change them.

    Args:
        trainer: The trainer.
        part: ``val``, as many as the trainer validates on, or ``train``.
        count: How many at most.

    Yields:
        Batch, its number, and the number of its loader.
    """
    loaders = trainer.val_dataloaders if part == "val" else trainer.train_dataloader
    mode = "sequential" if part == "val" else "max_size_cycle"
    combined = CombinedLoader(loaders, mode)
    with _left_alone(combined.flattened) as apart:
        combined.flattened = apart
        if part == "val":
            combined.limits = trainer.num_val_batches  # only this mode looks at them
        for batch, index, loader in itertools.islice(iter(combined), count):
            converted = trainer.precision_plugin.convert_input(batch)
            yield trainer.strategy.batch_to_device(converted, dataloader_idx=loader), index, loader


@contextmanager
def _left_alone(loaders: list[Any]) -> Iterator[list[Any]]:
    """Loaders that can be read while others read the same.

    Iterating over a loader with persistent workers starts its one iterator anew, under the feet of
    whoever is using it, and draws from the loader's generators.
    """
    copies = [copy.copy(one) if isinstance(one, DataLoader) else one for one in loaders]
    for one in copies:
        if isinstance(one, DataLoader):
            one._iterator = None
    sources = [source for one in loaders for source in (one, getattr(one, "sampler", None))]
    generators = [getattr(source, "generator", None) for source in sources]
    states = [(one, one.get_state()) for one in generators if isinstance(one, torch.Generator)]
    try:
        yield copies
    finally:
        for generator, state in states:
            generator.set_state(state)


class _Record:
    """What a module logs, by name, reduced over the epoch.

    Attributes:
        batch: Batch that the module is looking at; None outside of steps.
        loader: Number of its loader.
        several: Whether there are several loaders, which Lightning tells in the names.
    """

    def __init__(self, trainer: Trainer, *, several: bool) -> None:
        self.batch: Any = None
        self.loader = 0
        self.several = several
        self._reduce: Callable[..., Any] = trainer.strategy.reduce
        self._means: dict[str, tuple[Any, float, bool]] = {}
        self._others: dict[str, tuple[str, Any, bool]] = {}
        self._metrics: dict[str, Metric] = {}

    def log(
        self,
        name: str,
        value: Tensor | Metric | float,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[..., Tensor] = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: object = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Take the place of ``LightningModule.log``."""
        if on_epoch is False:
            return
        stepping = self.batch is not None
        if stepping and self.several and add_dataloader_idx:
            name = f"{name}/dataloader_idx_{self.loader}"
        if isinstance(value, Metric):
            self._metrics[name] = value
            return
        value = value.detach() if isinstance(value, Tensor) else torch.tensor(float(value))
        kind = getattr(reduce_fx, "__name__", reduce_fx)
        match kind:
            case "mean" | "avg":
                weight = 1 if not stepping else batch_size or extract_batch_size(self.batch)
                total, weights, _ = self._means.get(name, (0.0, 0, False))
                self._means[name] = (total + value * weight, weights + weight, sync_dist)
            case "min" | "amin" | "max" | "amax" | "sum":
                do = {"min": torch.minimum, "max": torch.maximum}.get(kind[-3:], torch.add)
                _, before, _ = self._others.get(name, (kind, None, False))
                now = value.clone() if before is None else do(before, value)
                self._others[name] = (kind[-3:], now, sync_dist)
            case _:
                raise TrainError(
                    f"{name} is logged with reduce_fx {kind}: a second validation knows mean, min, "
                    "max and sum; log a torchmetrics object instead"
                )

    def values(self) -> dict[str, float]:
        """The value of each name; torchmetrics objects are computed and start anew."""
        found = {}
        for name, (total, weight, everywhere) in self._means.items():
            if everywhere:
                total = self._reduce(total, reduce_op="sum")
                weight = float(
                    self._reduce(torch.as_tensor(float(weight)).to(total), reduce_op="sum")
                )
            found[name] = float(total / weight)
        for name, (kind, value, everywhere) in self._others.items():
            found[name] = float(self._reduce(value, reduce_op=kind) if everywhere else value)
        for name, metric in self._metrics.items():
            found[name] = float(metric.compute())
            metric.reset()
        return found
