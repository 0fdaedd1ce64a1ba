"""Networks, losses, weights and model packages: plain PyTorch, neither geography nor Lightning.

>>> from gv_models import unet
>>> network = unet(bands=4, heads={"interior": 1, "edge": 1})

torch is imported when a name is first used, not by ``import gv_models``; ``package`` and ``export``
are modules.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gv_models import export, package
    from gv_models.card import Band, Card
    from gv_models.errors import ModelError, PackageError
    from gv_models.losses import bce_dice
    from gv_models.networks import Segmenter, unet
    from gv_models.package import Package

__all__ = [
    "Band",
    "Card",
    "ModelError",
    "Package",
    "PackageError",
    "Segmenter",
    "bce_dice",
    "export",
    "package",
    "unet",
]

_HOMES = {
    "Band": "card",
    "Card": "card",
    "ModelError": "errors",
    "Package": "package",
    "PackageError": "errors",
    "Segmenter": "networks",
    "bce_dice": "losses",
    "unet": "networks",
}


def __getattr__(name: str) -> object:
    if name in ("export", "package"):
        return import_module(f"gv_models.{name}")
    if name in _HOMES:
        return getattr(import_module(f"gv_models.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gv_models' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
