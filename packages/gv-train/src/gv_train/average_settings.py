"""Averages of weights, as a configuration says them. No torch here: help must be instant."""

from dataclasses import dataclass
from typing import Literal

from gv_train.lengths import Length


@dataclass(frozen=True, kw_only=True)
class Average:
    """Whether the weights of a training are averaged; the better of both is kept."""

    mode: Literal["none", "ema", "swa"] = "none"
    """ema: a moving mean of all steps; swa: the mean of the weights after each epoch."""
    start: float | str | None = None
    """When it begins: a share of the training, '500 steps' or '3 epochs'; none: at once for ema,
    0.75 for swa."""
    every: str | None = None
    """Distance of the weights averaged; none: '1 steps' for ema, '1 epochs' for swa."""
    decay: float = 0.999
    """How much of an ema is kept at each step."""

    def __post_init__(self) -> None:
        """Refuse what is no average."""
        for name in ("start", "every"):
            value = getattr(self, name)
            try:
                length = None if value is None else Length.read(value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            if name == "every" and length is not None and not length.count:
                raise ValueError(f"every {value}: must be more than 0")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay {self.decay:g}: 0 up to, not including, 1")
