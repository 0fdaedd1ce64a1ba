"""Training tasks, runs, metric logs, plots and inference for Earth observation.

Names are imported when they are first used: torch costs seconds, and the commands must answer at
once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gv_train.inference import Windows, probabilities
    from gv_train.launch import Experiment, Launch
    from gv_train.segmentation import Segmentation
    from gv_train.settings import Trainer
    from gv_train.training import Fitted, fit

_HOMES = {
    "Experiment": "gv_train.launch",
    "Fitted": "gv_train.training",
    "Launch": "gv_train.launch",
    "Segmentation": "gv_train.segmentation",
    "Trainer": "gv_train.settings",
    "Windows": "gv_train.inference",
    "fit": "gv_train.training",
    "probabilities": "gv_train.inference",
}

__all__ = [
    "Experiment",
    "Fitted",
    "Launch",
    "Segmentation",
    "Trainer",
    "Windows",
    "fit",
    "probabilities",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
