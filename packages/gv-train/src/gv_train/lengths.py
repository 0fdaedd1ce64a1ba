"""Lengths of a training: a share of it, a number of optimizer steps, or a number of epochs.

How long a warm-up lasts, when averaging starts: one notation for all of them, which means the same
whether the end of the training is set in steps or in minutes.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

from gv_train.errors import TrainError

_WRITTEN = re.compile(r"\s*([0-9.eE+-]+)\s*(%|steps?|epochs?|)\s*")


@dataclass(frozen=True)
class Moment:
    """Where a training stands.

    Attributes:
        step: Optimizer steps finished, over all attempts.
        progress: Share of the training that is done, by steps or by time, 0 to 1.
        epoch_steps: Optimizer steps of an epoch; None if the training data have no length.
    """

    step: float
    progress: float
    epoch_steps: float | None = None


@dataclass(frozen=True)
class Length:
    """A stretch of a training.

    Attributes:
        count: How much of the unit, 0 or more.
        unit: Share of the whole training (0 to 1), optimizer steps, or epochs.
    """

    count: float
    unit: Literal["share", "steps", "epochs"]

    def __str__(self) -> str:
        return f"{self.count:.0%}" if self.unit == "share" else f"{self.count:g} {self.unit}"

    @classmethod
    def read(cls, written: float | str) -> "Length":
        """Understand a length.

        Args:
            written: Share as a number (0.05) or with a percent sign; ``500 steps``; ``3 epochs``.

        Raises:
            ValueError: If it is none of these.

        Examples:
            >>> Length.read(0.05) == Length.read("5%")
            True
            >>> Length.read("500 steps")
            Length(count=500.0, unit='steps')
        """
        found = _WRITTEN.fullmatch(str(written))
        try:
            count = float(found[1]) if found else math.nan
        except ValueError:
            count = math.nan
        sign = found[2] if found else ""
        unit = "steps" if sign.startswith("step") else "epochs" if sign else "share"
        if sign == "%":
            count, unit = count / 100, "share"
        if not 0 <= count < math.inf or (unit == "share" and count > 1):
            raise ValueError(
                f"{written!r} is no length of a training: give a share such as 0.05 or 5%, or "
                "'500 steps', or '3 epochs'"
            )
        return cls(count, unit)

    def in_steps(self, total: float, epoch_steps: float | None = None) -> float:
        """The length in optimizer steps.

        Args:
            total: Steps of the whole training.
            epoch_steps: Steps of an epoch.

        Raises:
            TrainError: If it is in epochs and nobody knows how long they are, or a share of a
                training whose steps nobody knows.
        """
        if self.unit == "share" and self.count and math.isinf(total):
            raise TrainError(
                f"{self.count:.0%} of a training that is not measured in steps is no number of "
                "steps: give '500 steps' or '3 epochs'"
            )
        if self.unit == "epochs" and epoch_steps is None:
            raise TrainError(
                "the training data do not say how many steps an epoch has: give "
                f"'500 steps' in place of '{self.count:g} epochs'"
            )
        unit = {"share": total if self.count else 0.0, "epochs": epoch_steps or 0.0, "steps": 1.0}
        return self.count * unit[self.unit]

    def passed(self, now: Moment) -> float:
        """How many times this length lies between the start of the training and now.

        Args:
            now: Where the training stands.

        Returns:
            1 when just one length has passed; infinity if the length is 0.

        Raises:
            TrainError: If it is in epochs and nobody knows how long they are.
        """
        if not self.count:
            return math.inf
        if self.unit == "share":
            return now.progress / self.count
        return now.step / self.in_steps(math.inf, now.epoch_steps)
