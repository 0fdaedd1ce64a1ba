"""The loggers work in any Lightning ``Trainer``, beside Lightning's own."""

import warnings

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader, TensorDataset

from gv_train.lightning_log import (
    ArrowMetricsLogger,
    CSVMetricsLogger,
    HDF5MetricsLogger,
)
from gv_train.metric_log import MetricLog, read, read_matrices

LOGGERS = {"csv": CSVMetricsLogger, "arrows": ArrowMetricsLogger, "h5": HDF5MetricsLogger}
each_logger = pytest.mark.parametrize("suffix", LOGGERS)


class Line(LightningModule):
    """y = w x, which tells a value of each step, of each epoch, and a matrix."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(1, 1)

    def training_step(self, batch, index):
        loss = (self.net(batch[0]) ** 2).mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, index):
        self.log("val_score", float(self.global_step))

    def on_validation_epoch_end(self):
        for logger in self.loggers:
            if isinstance(logger, tuple(LOGGERS.values())):
                step, counts = self.global_step, np.eye(2, dtype=int)
                logger.experiment.add_matrix(
                    "roofs", counts, ["no", "yes"], step=step, epoch=0, split="val"
                )

    def test_step(self, batch, index):
        self.log("test_score", float(self.global_step))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _data():
    return DataLoader(TensorDataset(torch.ones(8, 1)), batch_size=2)


def _trainer(root, loggers, epochs=2):
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=loggers,
        default_root_dir=root,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


@each_logger
def test_a_plain_trainer_logs_into_a_folder_beside_another_logger(tmp_path, suffix):
    folder = tmp_path / "metrics"
    other = CSVLogger(tmp_path, name="other", version="1")
    trainer = _trainer(tmp_path, [other, LOGGERS[suffix](folder)])
    model = Line()
    trainer.fit(model, _data(), _data())
    rows = read(folder)
    losses = [row for row in rows if row.name == "loss"]
    assert [(row.step, row.epoch) for row in losses] == [(s, (s - 1) // 4) for s in range(1, 9)]
    scores = [(row.step, row.value, row.split) for row in rows if row.name == "score"]
    assert scores == [(4, 4, "val"), (8, 8, "val")]
    assert [m.step for m in read_matrices(folder)] == [4, 8]
    theirs = np.genfromtxt(
        tmp_path / "other/1/metrics.csv", delimiter=",", names=True, dtype=None, encoding="utf-8"
    )
    column = theirs["train_loss"]
    np.testing.assert_allclose([row.value for row in losses], column[~np.isnan(column)])
    ended = "parquet" if suffix == "arrows" else suffix
    assert (folder / f"attempt-0001.{ended}").exists()
    trainer.test(model, _data(), verbose=False)
    assert [row.step for row in read(folder) if row.split == "test"] == [8]
    assert [row for row in read(folder) if row.split != "test"] == rows


def test_each_fit_in_a_folder_is_an_attempt(tmp_path):
    folder = tmp_path / "metrics"
    for _ in range(2):
        _trainer(tmp_path, [CSVMetricsLogger(folder)], 1).fit(Line(), _data(), _data())
    everything = read(folder, superseded=True)
    assert {row.attempt for row in everything} == {1, 2}
    assert {row.attempt for row in read(folder)} == {2}  # it began anew


def test_a_resumed_fit_says_from_which_step(tmp_path):
    folder = tmp_path / "metrics"
    trainer = _trainer(tmp_path, [CSVMetricsLogger(folder)])
    trainer.fit(Line(), _data(), _data())
    first = read(folder)
    checkpoint = tmp_path / "last.ckpt"
    trainer.save_checkpoint(checkpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Lightning says of its checkpoint is not the subject
        logger = CSVMetricsLogger(folder, from_step=8)
        _trainer(tmp_path, [logger], 3).fit(Line(), _data(), _data(), ckpt_path=checkpoint)
    rows = read(folder)
    assert [row for row in rows if row.attempt == 1] == first
    assert [row.step for row in rows if row.name == "loss"] == list(range(1, 13))


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = ArrowMetricsLogger(tmp_path / "metrics")
    logger.log_metrics({"train_loss": 1.0}, step=0)
    logger.experiment.add_matrix("roofs", 1, 2)
    logger.finalize("success")
    assert not (tmp_path / "metrics").exists()


def test_a_log_that_was_given_is_closed_by_its_owner(tmp_path):
    log = MetricLog(tmp_path, 3, 0, "arrow")
    logger = ArrowMetricsLogger(log)
    assert (logger.version, logger.save_dir, logger.name) == (3, str(tmp_path), "metrics")
    logger.log_metrics({"train_loss": 1.0, "epoch": 2}, step=0)
    logger.finalize("success")
    logger.log_metrics({"train_loss": 2.0, "epoch": 2}, step=1)
    log.close()
    assert [(row.step, row.epoch) for row in read(tmp_path)] == [(1, 2), (2, 2)]


def test_a_logger_that_logs_nothing_leaves_nothing(tmp_path):
    logger = CSVMetricsLogger(tmp_path / "metrics")
    logger.log_hyperparams({"lr": 1})
    logger.log_metrics({"epoch": 1}, step=3)
    logger.save()
    logger.finalize("success")
    assert logger.version == 1
    assert not (tmp_path / "metrics").exists()
