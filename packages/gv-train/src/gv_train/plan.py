"""An experiment whose data are there, and one call that asks for something to be done with it."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning.pytorch import Callback

from gv_data.terminal.console import Console
from gv_data.windows.datamodule import DataModule
from gv_train.average_settings import Average
from gv_train.batch_size import largest_batch
from gv_train.distributed import world
from gv_train.hardware import device_of, precision, use_cpu
from gv_train.launch import Launch
from gv_train.runs import Run
from gv_train.schedules import Schedule
from gv_train.segmentation import Segmentation
from gv_train.session import Session
from gv_train.settings import Trainer as Settings

AUTO_BATCH = 64
"""Windows a step that ``--trainer.batch-size auto`` tries first."""


@dataclass(frozen=True)
class Answer:
    """What a mode came to.

    Attributes:
        metrics: By name, with the part of the data before it: ``test_iou``.
        lines: The same for people.
        next: Words of the command that a person would type next.
    """

    metrics: Mapping[str, float]
    lines: tuple[str, ...]
    next: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """An experiment whose data are there: what learns, from what, and what comes of it.

    Attributes:
        task: What learns.
        data: What it learns from and is validated on.
        monitor: Validation value that says which weights are best; greater is better.
        schedule: How the learning rates change.
        average: Whether weights are averaged.
        minutes: How long to train, validation included; None: the settings say how many steps.
        said: Lines that say what runs, on which data.
        callbacks: Makes callbacks for a run, such as pictures.
        package: Writes the package of a run from the task's weights, and the metrics they had.
        test: Judges the task's weights on images that learning never saw.
        predict: Maps these images into a folder.
    """

    task: Segmentation
    data: DataModule
    monitor: str
    schedule: Schedule
    average: Average
    minutes: float | None
    said: tuple[str, ...]
    callbacks: Callable[[Run], Sequence[Callback]]
    package: Callable[[Run, Mapping[str, float]], None]
    test: Callable[[Mapping[str, float]], Answer]
    predict: Callable[[Mapping[str, float], Path], Answer]


@dataclass(frozen=True)
class Asked:
    """The words and values of one call.

    Attributes:
        name: Of the experiment, which is that of the folder of its runs.
        launch: How it was asked.
        settings: How to train.
        seed: Of weights, windows and changes.
        plan: Makes the plan; gets the folder that data may be made in.
    """

    name: str
    launch: Launch
    settings: Settings
    seed: int
    plan: Callable[[Path], Plan]

    @property
    def session(self) -> Session:
        """What to do this time."""
        return self.launch.session

    @property
    def console(self) -> Console:
        """How loud to be."""
        return self.launch.console


def with_batch(asked: Asked, plan: Plan) -> Asked:
    """The same with a batch that fits into memory, where that is to be found out."""
    settings = asked.settings
    if settings.batch_size != "auto":
        return asked
    wanted = min(AUTO_BATCH, settings.epoch_windows)
    size = largest_batch(plan.task, plan.data, settings, wanted=wanted)
    accumulate = settings.accumulate * -(-wanted // size)
    asked.console.say(
        f"batch      {size} windows fit into memory, {accumulate} batches an optimizer step"
    )
    return replace(asked, settings=replace(settings, batch_size=size, accumulate=accumulate))


def device_line(asked: Asked) -> str:
    """What it is computed on, for people."""
    settings = asked.settings
    device = device_of(settings.device)
    threads = use_cpu(settings.threads)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{threads} threads"
    together = max(world().size, settings.devices * settings.num_nodes)
    several = f", {together} processes" if together > 1 else ""
    summed = f" x {settings.accumulate}" if settings.accumulate > 1 else ""
    return (
        f"device     {device.type}, {name}{several}, {precision(settings)}, "
        f"batch {settings.batch_size}{summed}, {workers(settings)} workers"
    )


def workers(settings: Settings) -> int:
    """Processes that read windows: one reads ahead of a CPU that trains, a GPU can feed several."""
    if settings.workers != "auto":
        return settings.workers
    if device_of(settings.device).type == "cpu":
        return 1
    share = len(os.sched_getaffinity(0)) // max(1, world().on_this_machine, settings.devices)
    return max(1, min(8, share - 1))
