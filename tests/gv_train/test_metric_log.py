import csv
import math
import random
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gv_train import metric_log
from gv_train.errors import RunError
from gv_train.metric_log import MetricLog, parse_name, read


def _log(folder, attempt, from_step, steps):
    log = MetricLog(folder, attempt, from_step)
    for step in steps:
        log.add({"loss": 100 * attempt + step}, step=step, epoch=0, split="train", kind="step")
    log.close()


def test_a_resumed_attempt_replaces_the_rows_after_its_start(tmp_path):
    _log(tmp_path, 1, 0, range(1, 8))
    _log(tmp_path, 2, 5, range(6, 10))
    _log(tmp_path, 3, 4, range(5, 7))
    assert [(row.step, row.attempt) for row in read(tmp_path)] == [
        (1, 1), (2, 1), (3, 1), (4, 1), (5, 3), (6, 3),
    ]  # fmt: skip
    assert len(read(tmp_path, superseded=True)) == 7 + 4 + 2


def test_within_an_attempt_the_last_row_of_a_step_counts(tmp_path):
    log = MetricLog(tmp_path, 1)
    for value in (0.1, 0.2):
        log.add_named({"val_iou": value, "train_iou_epoch": value}, step=3, epoch=0)
    assert [(row.split, row.kind, row.value) for row in read(tmp_path)] == [
        ("val", "epoch", 0.2),
        ("train", "epoch", 0.2),
    ]


def test_an_attempt_is_logged_once(tmp_path):
    MetricLog(tmp_path, 1)
    with pytest.raises(RunError, match="logged once"):
        MetricLog(tmp_path, 1)


@given(value=st.floats(), step=st.integers(0, 2**53), name=st.text(min_size=1, max_size=8))
def test_numbers_and_names_return_exactly(tmp_path_factory, value, step, name):
    folder = tmp_path_factory.mktemp("metrics")
    log = MetricLog(folder, 1)
    if {"\n", "\r"} & set(name) or not name.isprintable():
        return
    log.add({name: value}, step=step, epoch=2, split="val", kind="epoch")
    (row,) = read(folder)
    assert (row.name, row.step, row.epoch) == (name, step, 2)
    assert row.value == value or (math.isnan(row.value) and math.isnan(value))


def test_a_name_of_two_lines_is_refused(tmp_path):
    with pytest.raises(ValueError, match="fit in a line"):
        MetricLog(tmp_path, 1).add_named({"a\nb": 1}, step=1, epoch=0)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("val_iou", ("val", "epoch", "iou")),
        ("val/iou", ("val", "epoch", "iou")),
        ("train_loss_step", ("train", "step", "loss")),
        ("train_loss_epoch", ("train", "epoch", "loss")),
        ("train_loss", ("train", "step", "loss")),
        ("test_object_f1", ("test", "epoch", "object_f1")),
        ("lr-AdamW/pg1", ("", "step", "lr-AdamW/pg1")),
        ("values", ("", "step", "values")),
        ("validity", ("", "step", "validity")),
    ],
)
def test_split_and_kind_are_read_from_names(name, parts):
    assert parse_name(name) == parts


def test_a_file_cut_anywhere_gives_its_whole_lines(tmp_path):
    _log(tmp_path, 1, 0, range(1, 6))
    path = tmp_path / "attempt-0001.csv"
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        lines = max(whole[:size].count(b"\n") - 2, 0)
        assert [row.step for row in read(tmp_path)] == list(range(1, lines + 1))


def test_any_csv_reader_reads_the_file(tmp_path):
    _log(tmp_path, 1, 0, [1, 2])
    with (tmp_path / "attempt-0001.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["from_step", "loss", "loss"]
    assert rows[-1]["value"] == "102.0"


def test_a_short_write_is_completed_and_a_failed_one_leaves_no_trace(tmp_path, monkeypatch):
    log = MetricLog(tmp_path, 1)
    real = metric_log.os.write
    monkeypatch.setattr(metric_log.os, "write", lambda file, data: real(file, data[:5]))
    log.add_named({"loss": 0.5}, step=1, epoch=0)

    def full(file, data):
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        return real(file, data[:5])

    monkeypatch.setattr(metric_log.os, "write", full)
    with pytest.raises(RunError, match=r"No space left.*free the disk"):
        log.add_named({"loss": 0.25}, step=2, epoch=0)
    monkeypatch.setattr(metric_log.os, "write", real)
    log.add_named({"loss": 0.125}, step=2, epoch=0)
    assert [row.value for row in read(tmp_path)] == [0.5, 0.125]


WRITE = """
import sys
from pathlib import Path
from gv_train.metric_log import MetricLog
attempt, start = int(sys.argv[2]), int(sys.argv[3])
log = MetricLog(Path(sys.argv[1]), attempt, start)
for step in range(start + 1, 10**9):
    log.add_named({"train_loss": 1 / step, "lr": step}, step=step, epoch=step // 10)
    sys.stdout.write(f"{step}\\n")
    sys.stdout.flush()
"""


@pytest.mark.robust
def test_killed_twenty_times_no_acknowledged_row_is_lost_and_no_step_is_double(tmp_path):
    chance = random.Random(5)
    done = 0
    for attempt in range(1, 21):
        checkpoint = done // 100 * 100
        arguments = [str(tmp_path), str(attempt), str(checkpoint)]
        child = subprocess.Popen(
            [sys.executable, "-c", WRITE, *arguments], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(chance.uniform(0, 0.02))
        child.kill()
        said = child.communicate()[0]
        acknowledged = int(said[: said.rfind("\n")].rpartition("\n")[2] or checkpoint + 1)
        rows = read(tmp_path)
        done = rows[-1].step
        assert done >= acknowledged
        for name in ("loss", "lr"):
            steps = [row.step for row in rows if row.name == name]
            assert steps == list(range(1, len(steps) + 1))
    assert all(row.value == 1 / row.step for row in read(tmp_path) if row.name == "loss")
