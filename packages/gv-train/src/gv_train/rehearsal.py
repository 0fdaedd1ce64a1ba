"""A training that is not: how long it would take, or which learning rate it should have."""

import copy
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, override

from lightning.pytorch import Callback, LightningModule, Trainer

from gv_data.terminal.caller import next_command
from gv_data.terminal.console import duration
from gv_train import runs
from gv_train.plan import Asked, Plan, device_line, with_batch
from gv_train.training import lightning_trainer
from gv_train.warning_log import warnings_to


def rehearse(asked: Asked) -> int:
    """Say what a training would do, or find a learning rate; nothing is left behind."""
    session, console = asked.session, asked.console
    with tempfile.TemporaryDirectory(prefix="gv-train-") as folder, warnings_to(Path(folder)):
        plan = asked.plan(Path(folder) / "data")
        asked = with_batch(asked, plan)
        for line in plan.said:
            console.say(line)
        console.say(device_line(asked))
        if session.find_lr:
            return _find_lr(asked, plan)
        return _dry_run(asked, plan)


def _find_lr(asked: Asked, plan: Plan) -> int:
    from gv_train.learning_rate import STEPS, draw, range_test

    with asked.console.working(f"trying {STEPS} learning rates"):
        found = range_test(plan.task, plan.data, asked.settings)
    picture = runs.default_root() / asked.name / "learning_rate.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw(picture, found)
    following = next_command("train", asked.name, "--trainer.lr", f"{found.proposed:.2g}")
    asked.console.answer(
        {"proposed": found.proposed, "picture": str(picture), "next": following},
        f"proposed   --trainer.lr {found.proposed:.2g}   (where the loss falls fastest)\n"
        f"picture    {picture}\nnext       {following}",
    )
    return 0


_TIMED_STEPS = 3


def _dry_run(asked: Asked, plan: Plan) -> int:
    """Time some steps on a copy of the task and say what a training would take and leave."""
    timed = _Timed()
    trainer = lightning_trainer(
        replace(asked.settings, devices=1, num_nodes=1, strategy="auto"),
        max_steps=_TIMED_STEPS + 1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        callbacks=[timed],
    )
    trainer.fit(copy.deepcopy(plan.task), datamodule=plan.data)
    step_s = (timed.at[-1] - timed.at[0]) / max(1, len(timed.at) - 1)
    weights = sum(p.numel() * p.element_size() for p in plan.task.parameters())
    checkpoint_mb = 3 * weights / 1e6  # the weights and AdamW's two moments
    free_mb = shutil.disk_usage(_existing(runs.default_root())).free / 1e6
    lines = [
        f"step       {step_s:.3g} s of {plan.data.batch_size} windows, validation not counted",
        f"writes     {runs.default_root() / asked.name}: two checkpoints of {checkpoint_mb:,.0f} "
        f"MB and a package of {weights / 1e6:,.0f} MB; {free_mb:,.0f} MB are free",
        f"takes      {_length(asked, plan, step_s)}",
        "nothing was written",
    ]
    value = {"step_s": step_s, "checkpoint_mb": checkpoint_mb, "free_mb": free_mb}
    asked.console.answer(value, "\n".join(lines))
    return 0


class _Timed(Callback):
    """When each batch was done."""

    def __init__(self) -> None:
        self.at: list[float] = []

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.at.append(time.perf_counter())


def _length(asked: Asked, plan: Plan, step_s: float) -> str:
    """How long a training takes, in words."""
    settings, counted = asked.settings, []
    if settings.max_steps is not None:
        counted.append(settings.max_steps)
    if settings.max_epochs is not None:
        batches = len(plan.data.train_dataloader())
        counted.append(settings.max_epochs * -(-batches // settings.accumulate))
    parts = []
    if counted:
        steps = min(counted)
        spent = duration(steps * settings.accumulate * step_s)
        parts.append(f"{steps:,} optimizer steps, about {spent} and the validations")
    if plan.minutes is not None:
        parts.append(duration(60 * plan.minutes))
    return ", at most ".join(parts)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.absolute().parent
    return folder
