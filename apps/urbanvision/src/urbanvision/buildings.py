"""The buildings experiment: what can be set. Training itself is in `urbanvision.learning`.

Nothing heavy is imported here: help and mistakes must answer at once.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gv_train.average_settings import Average
from gv_train.launch import Experiment, Launch
from gv_train.schedules import Schedule
from gv_train.settings import Trainer


@dataclass(frozen=True, kw_only=True)
class Buildings:
    """Building outlines from imagery; without data of your own, on a synthetic town."""

    data: Path | None = None
    """Catalog made by ``gv-data index``; none: a synthetic town is built."""
    train_where: str | None = None
    """SQL condition of the images to learn from, such as "place = 'zanzibar'"."""
    val_where: str | None = None
    """SQL condition of the images to validate on."""
    table: tuple[str, ...] = ()
    """NAME=FILE: tables of your own (CSV, text, parquet) that the conditions may name."""
    image: tuple[Path, ...] = ()
    """Images to learn from without a catalog; they are split into blocks."""
    labels: Path | None = None
    """Polygons of the buildings on these images, in any CRS."""
    labelled_area: Path | None = None
    """Polygons inside which the labels are complete; the rest is ignored, not taken for empty."""
    labels_crs: str | None = None
    """CRS of the label files where they do not say it."""
    swap_xy: bool = False
    """The label files hold y before x."""
    empty_images: Literal["ignore", "learn"] = "ignore"
    """Images without a single label: left out, or learnt from as ground without buildings."""
    gsd_m: float | None = None
    """Ground sampling distance to work at, in metres; none: that of the finest training images."""
    window_px: int = 384
    """Side of a training window in pixels."""
    weights: Literal["imagenet", "none"] = "imagenet"
    """What the encoder starts from."""
    minutes: float | None = None
    """Train for so long, validation included; the learning rate follows the clock."""
    seed: int = 0
    """Of weights, windows and random changes."""
    check: bool = True
    """Look for what silently ruins maps before training, for at most 5 s."""
    trainer: Trainer = field(default_factory=Trainer)
    """How fast and on what to train."""
    schedule: Schedule = field(default_factory=Schedule)
    """How the learning rate changes."""
    average: Average = field(default_factory=Average)
    """Whether weights are averaged."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        for name, value in (("gsd-m", self.gsd_m), ("minutes", self.minutes)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"--{name} {value:g}: must be above 0")
        if self.window_px < 32:
            raise ValueError(f"--window-px {self.window_px}: must be at least 32")
        for pair in self.table:
            if not all(pair.partition("=")):
                raise ValueError(f"--table {pair!r} is not NAME=FILE")
        if not self.data and (self.train_where or self.val_where or self.table):
            raise ValueError("--train-where, --val-where and --table choose from a catalog: --data")
        if not self.image and (self.labelled_area or self.labels_crs or self.swap_xy):
            raise ValueError(
                "--labelled-area, --labels-crs and --swap-xy say how to read --labels for --image; "
                "a catalog was told by gv-data index"
            )
        if self.data and self.image:
            raise ValueError("--data and --image: give a catalog or bare images, not both")
        if bool(self.image) != bool(self.labels):
            raise ValueError("--image and --labels go together: images and what is on them")
        if (
            self.data
            and not (self.train_where and self.val_where)
            and (self.train_where or self.val_where)
        ):
            raise ValueError("--train-where and --val-where go together")


def train(config: Buildings, launch: Launch) -> int:
    """Do what the session asks for; see `urbanvision.learning`."""
    from gv_train.conduct import conduct
    from urbanvision.learning import plan

    return conduct(
        "buildings",
        launch,
        config.trainer,
        seed=config.seed,
        plan=lambda folder: plan(config, folder, launch.console),
    )


experiment = Experiment(
    name="buildings",
    summary="Building outlines from aerial, drone or satellite imagery.",
    config=Buildings,
    train=train,
    examples=(
        "train buildings                       on a synthetic town, about 3 minutes",
        "train buildings --image ortho.tif --labels roofs.gpkg --minutes 20",
        "train buildings --data catalogs/oam --train-where \"place = 'zanzibar'\" "
        "--val-where \"place = 'banepa'\" --gsd-m 0.15 --minutes 60",
    ),
)
