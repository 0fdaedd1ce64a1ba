"""Training: it learns, loses nothing when it is killed, and stops in an orderly way."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

from gv_data.intake.indexing import index
from gv_data.synthetic.files import save
from gv_data.synthetic.town import town
from gv_train import metric_log, runs
from gv_train.checkpoints import BEST, LAST

README = Path(__file__).parents[2] / "packages/gv-train/README.md"
CHILD = Path(__file__).with_name("training_child.py")


@pytest.fixture(scope="module")
def child() -> ModuleType:
    spec = importlib.util.spec_from_file_location("training_child", CHILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(child, tmp_path) -> Path:
    child.build_catalog(tmp_path)
    return tmp_path


def steps_logged(folder: Path) -> list[int]:
    rows = metric_log.read(folder)
    return [
        row.step for row in rows if (row.split, row.kind, row.name) == ("train", "step", "loss")
    ]


def start(root: Path, steps: int, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(root), str(steps), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_step(root: Path, step: int, child: subprocess.Popen[str]) -> None:
    metrics = root / "roofs" / "r" / "metrics"
    while child.poll() is None:
        if metrics.exists() and max(steps_logged(metrics), default=0) >= step:
            return
        time.sleep(0.02)
    raise AssertionError(f"ended before step {step}: {child.communicate()}")


def test_learns_and_writes_each_step_once(child, root) -> None:
    fitted = child.train(root, 40)
    folder = root / "roofs" / "r"
    assert fitted.step == 40
    assert steps_logged(folder / "metrics") == list(range(1, 41))
    assert {"val_iou", "val_loss", "val_precision", "val_recall", "val_f1"} <= set(fitted.metrics)
    assert (folder / "checkpoints" / BEST).exists()
    assert (folder / "checkpoints" / LAST).exists()
    run = runs.open("latest", project="roofs", root=root)
    assert (run.status, run.record.step) == ("finished", 40)
    rows = [r for r in metric_log.read(folder / "metrics") if (r.name, r.kind) == ("loss", "step")]
    losses = [row.value for row in rows if row.split == "train"]
    assert sum(losses[20:]) < sum(losses[:20])  # single steps differ by their windows


def test_the_best_metrics_are_those_of_the_best_validation(child, root) -> None:
    fitted = child.train(root, 16)
    rows = metric_log.read(root / "roofs" / "r" / "metrics")
    validated = {row.step: row.value for row in rows if (row.split, row.name) == ("val", "iou")}
    assert fitted.metrics["val_iou"] == max(validated.values()) == validated[fitted.best_step]


def test_the_task_ends_with_the_weights_of_the_best_validation(child, root) -> None:
    task = child.untrained()
    child.train(root, 16, task=task)
    best = torch.load(root / "roofs/r/checkpoints" / BEST, weights_only=True)["state_dict"]
    assert all(torch.equal(best[name], value) for name, value in task.state_dict().items())


@pytest.mark.robust
def test_goes_on_after_a_kill_with_no_gap_and_no_double_row(root) -> None:
    killed = start(root, 24)
    wait_for_step(root, 10, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    resumed = start(root, 24, "resume")
    out, err = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, err
    assert int(out) == 24
    assert steps_logged(root / "roofs" / "r" / "metrics") == list(range(1, 25))
    rows = metric_log.read(root / "roofs" / "r" / "metrics")
    assert [row.step for row in rows if (row.split, row.name) == ("val", "iou")] == [
        4,
        8,
        12,
        16,
        20,
        24,
    ]
    assert runs.open("r", project="roofs", root=root).attempt == 2


@pytest.mark.robust
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_ends_with_its_code(root, number, code) -> None:
    stopped = start(root, 10_000)
    wait_for_step(root, 6, stopped)
    stopped.send_signal(number)
    _, err = stopped.communicate(timeout=60)
    assert stopped.returncode == code, err
    assert "saved" in err
    folder = root / "roofs" / "r"
    saved = torch.load(folder / "checkpoints" / LAST, weights_only=True)
    assert saved["global_step"] == max(steps_logged(folder / "metrics"))


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch) -> None:
    for place, seed in (("zanzibar", 1), ("banepa", 2)):
        files = save(town(seed, size_px=192, gsd_m=0.3), tmp_path / "towns", nir=False)
        out = tmp_path / "catalogs/oam"
        index([files.image], out, labels=files.buildings, place=place, append=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    text = README.read_text().partition("```python\n")[2].partition("```")[0]
    exec(text.replace("minutes=60", "minutes=0.05"), {})
    run = runs.open("latest", project="oam")
    assert run.status == "finished"
    assert "val_iou" in run.record.metrics
