"""A training that was interrupted ends with the very weights of one that was not."""

import os
import signal
from pathlib import Path
from typing import Any, override

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from gv_data.catalog import Catalog
from gv_data.intake.indexing import index
from gv_data.synthetic.files import save
from gv_data.synthetic.town import town
from gv_data.terminal.console import Console
from gv_data.windows.datamodule import DataModule
from gv_data.windows.mixing import CutMix
from gv_train import metric_log, runs
from gv_train.segmentation import Segmentation
from gv_train.settings import Trainer as Settings
from gv_train.stopping import StoppedError
from gv_train.training import fit

EPOCH = 5
"""Batches an epoch."""


class Dropping(nn.Module):
    """A network that draws random numbers while it learns, with statistics of batches."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5)
        )
        self.heads = nn.ModuleDict({name: nn.Conv2d(8, 1, 1) for name in ("interior", "edge")})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.encoder(image)
        return {name: head(features) for name, head in self.heads.items()}


class StopsAt(Callback):
    """Presses Ctrl-C while a step is computed."""

    def __init__(self, step: int) -> None:
        self._step, self._pressed = step, False

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step - 1 and not self._pressed:
            self._pressed = True  # a second one would leave at once
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    root = tmp_path_factory.mktemp("towns")
    for place, seed in (("train", 1), ("val", 2)):
        files = save(town(seed, size_px=192, gsd_m=0.3), root / "towns", nir=False)
        index([files.image], root / "catalog", labels=files.buildings, place=place, append=True)
    return Catalog.open(root / "catalog")


def trained(
    catalog: Catalog,
    root: Path,
    *,
    stops: tuple[int, ...] = (),
    workers: int = 0,
    accumulate: int = 1,
    steps: int = 13,
) -> dict[str, Tensor]:
    """Weights, statistics and the optimizer's state after a training, interrupted or not."""
    settings = Settings(
        max_steps=steps, threads=1, device="cpu", precision="32-true", accumulate=accumulate
    )
    for attempt, stop in enumerate([*stops, None]):
        torch.manual_seed(7)
        task = Segmentation(
            Dropping(), weights={"interior": 1.0, "edge": 0.5}, mean=[90.0] * 3, std=[50.0] * 3
        )
        torch.rand(attempt)  # what a new process has drawn by now is another number
        views = [catalog.where(f"place = '{place}'") for place in ("train", "val")]
        data = DataModule(
            *views,
            window_px=48,
            batch_size=2,
            epoch_windows=2 * EPOCH,
            mix=CutMix(),
            workers=workers,
        )
        run = runs.open("r", root=root) if attempt else runs.create("p", name="r", root=root)
        with run:
            run.start({}, seed=0)
            callbacks = [] if stop is None else [StopsAt(stop)]
            options = {"resume": attempt > 0, "console": Console(quiet=True)}
            if stop is None:
                fit(task, data, run, settings, callbacks=callbacks, **options)
                run.finish("finished")
            else:
                with pytest.raises(StoppedError):
                    fit(task, data, run, settings, callbacks=callbacks, **options)
                run.finish("stopped")
    state = torch.load(root / "p/r/checkpoints/last.ckpt", weights_only=True)
    moments = state["optimizer_states"][0]["state"]
    inner = {f"{n}.{key}": value for n, one in moments.items() for key, value in one.items()}
    return {**state["state_dict"], **inner}


@pytest.fixture(scope="module")
def uninterrupted(catalog, tmp_path_factory) -> dict[str, Tensor]:
    return trained(catalog, tmp_path_factory.mktemp("whole"))


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("stops", [(3,), (EPOCH,), (EPOCH + 1,), (2, 4, 11)])
def test_resumed_weights_are_those_of_a_training_without_interruption(
    catalog, uninterrupted, tmp_path, stops
) -> None:
    assert equal(trained(catalog, tmp_path, stops=stops), uninterrupted)


def test_workers_do_not_change_the_weights(catalog, uninterrupted, tmp_path) -> None:
    assert equal(trained(catalog, tmp_path, stops=(7,), workers=1), uninterrupted)


def test_resumes_between_steps_of_summed_batches(catalog, tmp_path) -> None:
    whole = trained(catalog, tmp_path / "whole", accumulate=2, steps=7)
    resumed = trained(catalog, tmp_path / "cut", stops=(4,), accumulate=2, steps=7)
    assert equal(resumed, whole)


def test_the_weights_do_depend_on_the_random_numbers(
    catalog, uninterrupted, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("gv_train.random_state.restore", lambda states: None)
    assert not equal(trained(catalog, tmp_path, stops=(3,)), uninterrupted)


def test_the_log_of_a_resumed_run_holds_each_step_once(catalog, tmp_path) -> None:
    trained(catalog, tmp_path, stops=(3, 9))
    rows = metric_log.read(tmp_path / "p/r/metrics")
    steps = [
        row.step for row in rows if (row.split, row.kind, row.name) == ("train", "step", "loss")
    ]
    assert steps == list(range(1, 14))
