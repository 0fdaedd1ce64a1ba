"""What is to be done with an experiment this time. No torch here: help must be instant."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Mode = Literal["train", "fit", "validate", "test", "predict"]


@dataclass(frozen=True, kw_only=True)
class Session:
    """Options of every experiment that are no part of its configuration.

    What a run learns does not depend on them, so they are not asked for again when it goes on.
    """

    mode: Mode = "train"
    """train: fit, then test the best weights; fit: only learn; validate, test, predict: work with
    a run that was trained."""
    run: str | None = None
    """Name of the new run (none: date and two words); which run to validate, test or predict with
    (none: latest)."""
    resume: str | None = field(default=None, metadata={"bare": "latest"})
    """Go on with a run: latest, a name, the beginning of one, or a path."""
    checkpoint: str | None = None
    """Weights: best or last of the run, or a file. Where to go on (none: last), what to test
    (none: best), or what a new run begins with (a file)."""
    reset: bool = False
    """Delete the run of this name first, unless a process trains it."""
    out: Path | None = None
    """Folder for what predict maps; none: predictions in the run."""
    dry_run: bool = False
    """Say what would be read and written, how large and how long; write nothing."""
    find_lr: bool = False
    """Try learning rates for 100 steps, draw the loss, propose one, and stop."""
    profiler: Literal["none", "simple", "advanced", "pytorch", "memory"] = "none"
    """Measure where time or memory goes; the report is in the run's logs."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        learns = self.mode in ("train", "fit")
        if self.resume is not None and self.run is not None:
            raise ValueError("--run and --resume: a run is new or goes on, not both")
        if self.resume is not None and not learns:
            raise ValueError(f"--mode {self.mode} takes the run from --run, not from --resume")
        if self.reset and (self.run is None or not learns or self.resume is not None):
            raise ValueError("--reset deletes the run that --run names, before it is trained anew")
        if self.dry_run and not learns:
            raise ValueError("--dry-run is for --mode train and fit")
        if self.find_lr and (not learns or self.resume is not None):
            raise ValueError("--find-lr is for a training that has not begun")
        if self.out is not None and self.mode != "predict":
            raise ValueError("--out is for --mode predict")
        if self.checkpoint in ("best", "last") and learns and self.resume is None:
            raise ValueError(
                f"--checkpoint {self.checkpoint} needs a run: --resume goes on with one; a new run "
                "begins with the weights of a file"
            )
