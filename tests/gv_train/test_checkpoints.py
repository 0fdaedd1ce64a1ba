import os
import pickle
import random
import subprocess
import sys
import time

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from torch.utils.data import DataLoader, TensorDataset

from gv_train.checkpoints import AtomicCheckpointIO, BestAndLast
from gv_train.errors import RunError
from gv_train.lightning_log import CSVMetricsLogger
from gv_train.metric_log import MetricLog, read

pytestmark = [
    # Lightning 2.6 asks torch for a class by its old name
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning"),
    # the data are 20 numbers in memory
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    # here the data come in the same order each epoch
    pytest.mark.filterwarnings("ignore:.*resuming from a checkpoint that ended before"),
]

BATCHES = 5
EPOCHS = 4


class Line(LightningModule):
    """Fits y = 2 x + 1; its validation score follows a given list."""

    def __init__(self, scores=()):
        super().__init__()
        self.net = torch.nn.Linear(1, 1)
        self.scores = scores

    def training_step(self, batch, index):
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.net(x), y)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, index):
        score = self.scores[self.current_epoch] if self.scores else float(self.global_step)
        self.log("val_score", score)

    def test_step(self, batch, index):
        self.log("test_score", 1.0)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class Stop(Callback):
    """Breaks the training in the middle of things, as a kill does."""

    def __init__(self, at_step):
        self.at_step = at_step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.at_step:
            raise KeyError("killed")


def _data():
    x = torch.linspace(-1, 1, 4 * BATCHES)[:, None]
    return DataLoader(TensorDataset(x, 2 * x + 1), batch_size=4)


def _train(folder, *, resume=False, model=None, stop=None, attempt=1, start=0, **settings):
    seed_everything(3, verbose=False)
    log = MetricLog(folder / "metrics", attempt, start)
    keep = BestAndLast(
        folder / "checkpoints", "val_score", every_minutes=settings.pop("minutes", None)
    )
    model = model or Line()
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=CSVMetricsLogger(log),
        plugins=[AtomicCheckpointIO()],
        callbacks=[keep, LearningRateMonitor("step"), *([Stop(stop)] if stop else [])],
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    last = folder / "checkpoints" / "last.ckpt" if resume else None
    trainer.fit(model, _data(), _data(), ckpt_path=last)
    log.close()
    return trainer, model, keep


def _saved_step(path):
    return AtomicCheckpointIO().load_checkpoint(path)["global_step"]


def _steps(folder, name, kind="step"):
    return [row.step for row in read(folder / "metrics") if (row.name, row.kind) == (name, kind)]


def test_best_and_last_are_kept_under_plain_names(tmp_path):
    _, _, keep = _train(tmp_path, model=Line([0.1, 0.7, float("nan"), 0.5]))
    folder = tmp_path / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert not any(path.is_symlink() for path in folder.iterdir())
    assert _saved_step(folder / "best.ckpt") == 2 * BATCHES
    assert _saved_step(folder / "last.ckpt") == EPOCHS * BATCHES
    assert (keep.best_value, keep.best_step) == (pytest.approx(0.7), 2 * BATCHES)


def test_what_a_module_logs_carries_the_steps_that_were_finished(tmp_path):
    trainer, model, _ = _train(tmp_path)
    every = list(range(1, EPOCHS * BATCHES + 1))
    ends = every[BATCHES - 1 :: BATCHES]
    assert _steps(tmp_path, "loss") == every
    assert _steps(tmp_path, "loss", "epoch") == ends
    assert _steps(tmp_path, "lr-Adam") == every
    rows = read(tmp_path / "metrics")
    scores = [row for row in rows if row.name == "score"]
    assert [(row.step, row.value, row.split) for row in scores] == [(s, s, "val") for s in ends]
    rates = [row.value for row in rows if row.name == "lr-Adam"]
    assert rates == pytest.approx([0.1 / step for step in every])
    trainer.loggers = [CSVMetricsLogger(MetricLog(tmp_path / "after", 1))]
    trainer.test(model, _data(), verbose=False)
    assert [row.step for row in read(tmp_path / "after")] == [EPOCHS * BATCHES]


@pytest.mark.parametrize(
    ("settings", "resumed_from"),
    [({}, 10), ({"val_check_interval": 2}, 10), ({"minutes": 0}, 13)],
    ids=["each epoch", "validation inside epochs", "saved inside epochs"],
)
def test_a_broken_training_resumes_without_gap_or_double_step(tmp_path, settings, resumed_from):
    _, whole, uninterrupted = _train(tmp_path / "whole", **settings)
    broken = tmp_path / "broken"
    with pytest.raises(KeyError, match="killed"):
        _train(broken, stop=13, **settings)
    saved = _saved_step(broken / "checkpoints" / "last.ckpt")
    assert saved == resumed_from
    broken = broken.rename(tmp_path / "moved")
    trainer, model, keep = _train(broken, resume=True, attempt=2, start=saved, **settings)
    assert trainer.global_step == EPOCHS * BATCHES
    assert keep.best_step == uninterrupted.best_step
    for name, kind in [
        ("loss", "step"),
        ("lr-Adam", "step"),
        ("loss", "epoch"),
        ("score", "epoch"),
    ]:
        assert _steps(broken, name, kind) == _steps(tmp_path / "whole", name, kind)
    if resumed_from == 10:
        assert torch.equal(model.net.weight, whole.net.weight)


def test_a_resumed_run_remembers_its_best(tmp_path):
    scores = [0.1, 0.9, 0.2, 0.3]
    with pytest.raises(KeyError, match="killed"):
        _train(tmp_path, model=Line(scores), stop=12)
    _, _, keep = _train(tmp_path, model=Line(scores), resume=True, attempt=2, start=10)
    assert keep.best_value == pytest.approx(0.9)
    assert _saved_step(tmp_path / "checkpoints" / "best.ckpt") == 10


def test_a_metric_that_was_never_logged_is_named(tmp_path):
    keep = BestAndLast(tmp_path, "val_iou")
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        callbacks=[keep],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    with pytest.raises(RunError, match=r"no val_iou but .*val_score"):
        trainer.fit(Line(), _data(), _data())


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trapped"),)

    torch.save({"state_dict": Trap()}, tmp_path / "trap.ckpt", pickle_module=pickle)
    with pytest.raises(RunError, match="loaded safely"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "trap.ckpt", weights_only=False)
    assert not (tmp_path / "trapped").exists()


def test_a_missing_or_cut_checkpoint_is_named(tmp_path):
    io = AtomicCheckpointIO()
    with pytest.raises(RunError, match="is missing"):
        io.load_checkpoint(tmp_path / "last.ckpt")
    io.save_checkpoint({"a": torch.ones(1000)}, tmp_path / "last.ckpt")
    whole = (tmp_path / "last.ckpt").read_bytes()
    (tmp_path / "last.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="is not a checkpoint"):
        io.load_checkpoint(tmp_path / "last.ckpt")


SAVE = """
import sys, torch
from gv_train.checkpoints import AtomicCheckpointIO
torch.set_num_threads(1)
io = AtomicCheckpointIO()
n = 0
while True:
    n += 1
    io.save_checkpoint({"n": n, "w": torch.full((500_000,), float(n))}, sys.argv[1])
    print(n, flush=True)
"""


@pytest.mark.robust
def test_killed_while_saving_the_final_name_always_loads(tmp_path):
    chance = random.Random(1)
    path = tmp_path / "last.ckpt"
    # one process imports torch and forks a saver a kill: ten imports would take minutes
    for _ in range(10):
        reader, writer = os.pipe()
        saver = os.fork()
        if saver == 0:
            os.dup2(writer, 1)
            sys.argv = ["", str(path)]
            sys.stdout = open(1, "w")  # noqa: SIM115  the child never returns
            exec(SAVE, {})
        os.close(writer)
        os.read(reader, 1)
        time.sleep(chance.uniform(0, 0.05))
        os.kill(saver, 9)
        os.waitpid(saver, 0)
        os.close(reader)
        loaded = torch.load(path, weights_only=True)
        assert torch.equal(loaded["w"], torch.full((500_000,), float(loaded["n"])))
    AtomicCheckpointIO().save_checkpoint({}, path)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


FULL = """
import resource, sys, torch
from gv_train.checkpoints import AtomicCheckpointIO
from gv_train.errors import RunError
io = AtomicCheckpointIO()
io.save_checkpoint({"n": 1}, sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    io.save_checkpoint({"n": 2, "w": torch.zeros(1_000_000)}, sys.argv[1])
except RunError as error:
    print(error)
"""


@pytest.mark.robust
def test_a_full_disk_is_one_clear_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "last.ckpt"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\n") == 1
    assert "cannot save" in done.stdout
    assert "free the disk" in done.stdout
    assert AtomicCheckpointIO().load_checkpoint(path) == {"n": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
