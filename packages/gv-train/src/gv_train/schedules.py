"""Learning rates over a training: a warm-up, then one of six shapes, as one factor a step.

The factor of a step depends on nothing but the step, so a resumed training has the rates of one
that was never interrupted. PyTorch's ``SequentialLR`` chains schedulers by calling them, which
repeats steps and cannot hold ``ReduceLROnPlateau`` (pytorch issues 68978, 116776 and 130018).

Sources: half cosine, Loshchilov and Hutter 2017, arXiv:1608.03983; polynomial, Chen et al. 2017,
arXiv:1606.00915; one cycle, Smith and Topin 2018, arXiv:1708.07120; linear warm-up, Goyal et al.
2017, arXiv:1706.02677.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from gv_train.lengths import Length, Moment

Shape = Literal["constant", "cosine", "polynomial", "step", "one-cycle", "plateau"]

_ONLY: Mapping[str, tuple[Shape, ...]] = {
    "until": ("cosine", "polynomial", "one-cycle"),
    "power": ("polynomial",),
    "every": ("step",),
    "gamma": ("step", "plateau"),
    "patience": ("plateau",),
    "threshold": ("plateau",),
    "cooldown": ("plateau",),
}
"""Settings that only some shapes look at."""

_ROUNDING = 1e-9
"""0.3 / 0.1 is a little less than 3."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rates change; all groups of parameters keep their ratios."""

    name: Shape = "cosine"
    """What comes after the warm-up: constant, cosine, polynomial, step, one-cycle or plateau."""
    warmup: float | str = 0.05
    """How long the rate rises: a share of the training, '500 steps' or '3 epochs'."""
    warmup_from: float = 0.01
    """Factor of the very first step."""
    minimum: float = 0.0
    """Factor that is never gone below, and that falling shapes end at."""
    until: float = 1.0
    """Share of the training at which the fall ends; the minimum holds from there on, as averaging
    of weights wants it."""
    power: float = 1.0
    """Exponent of polynomial."""
    every: float | str = 0.3
    """How long step holds a rate, counted from the end of the warm-up: share, steps or epochs."""
    gamma: float = 0.1
    """What step and plateau multiply the rate with."""
    patience: int = 5
    """Validations without a better value that plateau bears; one more makes the rate drop."""
    threshold: float = 0.0
    """By how much a value must be better to count for plateau, in the value's own unit."""
    cooldown: int = 0
    """Validations after a drop that plateau does not count."""

    def __post_init__(self) -> None:
        """Refuse what is no schedule; warn of settings without effect."""
        for name in ("warmup", "every"):
            try:
                length = Length.read(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if not length.count:
            raise ValueError(f"every {self.every}: must be more than 0")
        for name in ("warmup_from", "gamma", "until"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{_flag(name)} {getattr(self, name):g}: more than 0, up to 1")
        if not 0 <= self.minimum < 1:
            raise ValueError(f"minimum {self.minimum:g}: 0 up to, not including, 1")
        if not 0 < self.power < math.inf:
            raise ValueError(f"power {self.power:g}: must be more than 0")
        for name in ("patience", "threshold", "cooldown"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name):g}: must be at least 0")
        for field in fields(self):
            shapes = _ONLY.get(field.name, (self.name,))
            if self.name not in shapes and getattr(self, field.name) != field.default:
                warnings.warn(
                    f"{_flag(field.name)} {getattr(self, field.name)} has no effect on a schedule "
                    f"that is {self.name}, only on {' and '.join(shapes)}",
                    stacklevel=3,
                )

    def factor(self, step: float, total: float = 1.0, epoch_steps: float | None = None) -> float:
        """Factor on the peak learning rates in closed form.

        Args:
            step: Optimizer steps finished: 0 gives the factor of the first step. With the default
                total, the share of the training that is done.
            total: Steps of the whole training; the factor of step ``total`` is never used.
            epoch_steps: Steps of an epoch, if a length is in epochs.

        Returns:
            More than 0 at the start, 1 at the end of the warm-up, never more. Plateau is 1 after
            the warm-up; see `Plateau`.

        Raises:
            TrainError: If a length is in epochs and nobody says how long they are.

        Examples:
            >>> [round(Schedule(warmup=0.1).factor(p), 2) for p in (0.0, 0.1, 0.55, 1.0)]
            [0.01, 1.0, 0.5, 0.0]
            >>> steps = Schedule(name="step", warmup="2 steps", every="4 steps", gamma=0.5)
            >>> [steps.factor(step, 12) for step in (2, 5, 6, 10)]
            [1.0, 1.0, 0.5, 0.25]
        """
        now = Moment(step, step / total, epoch_steps)
        return self.at(now, self.risen(total, epoch_steps))

    def risen(self, total: float, epoch_steps: float | None = None) -> Moment:
        """Where the warm-up of a training of so many steps ends."""
        step = Length.read(self.warmup).in_steps(total, epoch_steps)
        return Moment(step, step / total, epoch_steps)

    def warm(self, now: Moment) -> bool:
        """Whether the warm-up is over."""
        return Length.read(self.warmup).passed(now) >= 1

    def at(self, now: Moment, risen: Moment) -> float:
        """Factor on the peak learning rates where steps and time both count.

        Args:
            now: Where the training stands.
            risen: Where it stood when the warm-up ended; not looked at before that.
        """
        if not self.warm(now):
            return self._rise(Length.read(self.warmup).passed(now))
        done = (now.progress - risen.progress) / max(self.until - risen.progress, _ROUNDING)
        done = min(max(done, 0.0), 1.0)
        match self.name:
            case "constant" | "plateau":
                return 1.0
            case "cosine" | "one-cycle":
                shape = 0.5 + 0.5 * math.cos(math.pi * done)
            case "polynomial":
                shape = (1 - done) ** self.power
            case "step":
                every = Length.read(self.every)
                drops = math.floor(every.passed(now) - every.passed(risen) + _ROUNDING)
                return max(self.gamma**drops, self.minimum)
        return self.minimum + (1 - self.minimum) * shape

    def _rise(self, done: float) -> float:
        """Factor after a share of the warm-up; one-cycle rises along a half cosine."""
        if self.name == "one-cycle":
            done = 0.5 - 0.5 * math.cos(math.pi * done)
        return self.warmup_from + (1 - self.warmup_from) * done


@dataclass(frozen=True)
class Plateau:
    """What a schedule of the shape plateau remembers of the value it watches.

    Attributes:
        factor: Factor on the peak learning rates.
        best: Best value so far; None before the first.
        worse: Validations in a row that were not better.
        resting: Validations that are still not counted.
    """

    factor: float = 1.0
    best: float | None = None
    worse: int = 0
    resting: int = 0

    def after(self, value: float, schedule: Schedule, mode: Literal["max", "min"]) -> "Plateau":
        """What is remembered after a validation.

        Args:
            value: What validation gave; NaN is never better.
            schedule: Says when the rate drops, and how far.
            mode: Whether greater or smaller values are better.

        Examples:
            >>> schedule, plateau = Schedule(name="plateau", patience=1), Plateau()
            >>> for iou in (0.5, 0.5, 0.5):
            ...     plateau = plateau.after(iou, schedule, "max")
            >>> plateau.factor
            0.1
        """
        gain = math.inf if self.best is None else value - self.best
        if mode == "min" and self.best is not None:
            gain = -gain
        better = gain > schedule.threshold and not math.isnan(value)
        best = value if better else self.best
        worse = 0 if better or self.resting else self.worse + 1
        if worse > schedule.patience:
            factor = max(self.factor * schedule.gamma, schedule.minimum)
            return Plateau(factor, best, 0, schedule.cooldown)
        return Plateau(self.factor, best, worse, max(self.resting - 1, 0))


def _flag(name: str) -> str:
    return name.replace("_", "-")
