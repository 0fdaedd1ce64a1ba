"""Training tasks, runs, metric logs, plots and inference for Earth observation.

Names are imported when they are first used: torch costs seconds, and the commands must answer at
once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gv_train.launch import Experiment, Launch

_HOMES = {
    "Experiment": "gv_train.launch",
    "Launch": "gv_train.launch",
}

__all__ = ["Experiment", "Launch"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
