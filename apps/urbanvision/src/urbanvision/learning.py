"""Training the building model: data, checks, the run, the package and the verdict."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from gv_data.caller import next_command
from gv_data.catalog import Catalog
from gv_data.check import check_training
from gv_data.console import Console, duration
from gv_data.datamodule import DataModule
from gv_data.errors import CatalogError
from gv_data.geodesy import area_m2
from gv_data.indexing import index
from gv_data.splits import blocks
from gv_models import package, unet
from gv_models.package import Band, Card
from gv_train import runs
from gv_train.errors import TrainError
from gv_train.inference import Windows
from gv_train.launch import Launch
from gv_train.pictures import Pictures
from gv_train.runs import Run
from gv_train.segmentation import Segmentation
from gv_train.training import Fitted, StoppedError, device_of, fit, precision, use_threads
from urbanvision.buildings import Buildings
from urbanvision.evaluation import score_map
from urbanvision.mapping import map_scene
from urbanvision.synthetic import build_towns

HEADS = {"interior": 1.0, "edge": 0.5}
"""What is learnt, with the weight of each loss."""

DEFAULT_MINUTES = 1.5
"""Of the synthetic town: long enough for a useful map, short enough to wait for."""


@dataclass(frozen=True)
class Data:
    """What a run learns from.

    Attributes:
        train: View to learn from.
        val: View to validate on.
        said: What was chosen for the user.
        scene: An unseen image to try the model on, if there is one.
        scene_labels: Its labels.
    """

    train: Catalog
    val: Catalog
    said: tuple[str, ...]
    scene: Path | None = None
    scene_labels: Path | None = None


def learn(config: Buildings, launch: Launch) -> int:
    """Train a building model and write its package.

    Args:
        config: What was asked for.
        launch: How it was asked.

    Returns:
        Exit code.

    Raises:
        DataError, TrainError, ModelError: What the user can mend.
    """
    console = launch.console
    if config.resume is not None:
        run = runs.open(config.resume, project="buildings")
    else:
        run = runs.create("buildings", name=config.run)
    started = time.monotonic()
    with run:
        run.start(launch.plain or config, seed=config.seed, argv=launch.command)
        data = _data(config, run, console)
        gsd_m = config.gsd_m or min(image.grid.gsd_m for image in data.train.images)
        _introduce(config, data, gsd_m, run, console)
        minutes = config.minutes
        if minutes is None and config.trainer.max_epochs is None and config.trainer.max_steps is None:
            minutes = DEFAULT_MINUTES
        moments = data.train.moments
        module = DataModule(
            data.train,
            data.val,
            gsd_m=gsd_m,
            window_px=config.window_px,
            batch_size=config.trainer.batch_size,
            epoch_windows=config.trainer.epoch_windows,
            workers=_workers(config),
            seed=config.seed,
        )
        torch.manual_seed(config.seed)
        network = unet(
            bands=len(data.train.bands),
            heads=dict.fromkeys(HEADS, 1),
            encoder_weights="imagenet" if config.weights == "imagenet" else None,
        ).to(memory_format=torch.channels_last)
        task = Segmentation(
            network,
            weights=HEADS,
            mean=moments.mean,
            std=moments.std,
            lr=config.trainer.lr,
            encoder_lr=config.trainer.encoder_lr,
            weight_decay=config.trainer.weight_decay,
        )
        try:
            fitted = fit(
                task,
                module,
                run,
                config.trainer,
                minutes=minutes,
                seed=config.seed,
                resume=config.resume is not None,
                callbacks=[Pictures(run, module, gsd_m=gsd_m)],
                console=console,
            )
        except StoppedError as stopped:
            again = next_command("train", "buildings", "--resume", run.name)
            run.finish("stopped", next_command=again)
            raise StoppedError(stopped.exit_code - 128, f"{stopped}\n  go on: {again}") from stopped
        package.save(run.package, network, _card(data, task, gsd_m, config, run, fitted))
        _conclude(data, run, fitted, console, time.monotonic() - started)
    return 0
