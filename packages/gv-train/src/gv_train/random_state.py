"""The random numbers of a training, kept in its checkpoint: a resumed run draws the same ones.

Dropout, stochastic depth and whatever else draws while a network learns take numbers from the
generators of this process. Windows and their changes do not: they have seeds of their own.
"""

import random
from typing import Any, override

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class RandomState(Callback):
    """Keeps the states of Python's, numpy's and torch's generators, of this device too.

    Under several devices the checkpoint holds those of the first: the others begin a resumed
    attempt from it, each moved by its rank.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # not when the checkpoint is loaded: what is set up after that draws numbers as well
        if self._restored is not None:
            restore(self._restored)
            self._restored = None
            if trainer.global_rank:
                torch.manual_seed(torch.initial_seed() + trainer.global_rank)

    @override
    def state_dict(self) -> dict[str, Any]:
        return state()

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict


def state() -> dict[str, Any]:
    """All states as tensors and plain values, which load without running any code."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    version, numbers, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(numbers), gauss_next],
    }


def restore(states: dict[str, Any]) -> None:
    """Set the generators to what `state` gave; more or fewer GPUs than then keep their own."""
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in states["cuda"]])
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state(  # noqa: NPY002  other libraries draw from it
        (kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss)
    )
    version, numbers, gauss_next = states["python"]
    random.setstate((version, tuple(numbers), gauss_next))
