"""A follower tells each row once, whatever happens to the files meanwhile."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pyarrow import feather

from gv_train.errors import RunError
from gv_train.metric_log import (
    Backend,
    Follower,
    MetricLog,
    arrow_format,
    as_rows,
    files,
    follower,
    read,
    read_matrices,
)

BACKENDS: list[Backend] = ["csv", "arrow", "hdf5"]
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def _add(log, steps):
    for step in steps:
        log.add_named({"train_loss": step}, step=step, epoch=0)


def _told(follower):
    return [(row.attempt, row.step) for row in as_rows(follower.poll().rows)]


@each_backend
def test_each_row_and_matrix_is_told_once(tmp_path, backend):
    follower = Follower(tmp_path / "metrics")
    assert _told(follower) == []
    log = MetricLog(tmp_path / "metrics", 1, backend=backend)
    assert _told(follower) == []
    _add(log, [1, 2])
    assert _told(follower) == [(1, 1), (1, 2)]
    assert _told(follower) == []
    _add(log, [3])
    for step in (3, 4):
        log.add_matrix("roofs", np.eye(2, dtype=int), ["a", "b"], step=step, epoch=0, split="val")
    news = follower.poll()
    assert [row.step for row in as_rows(news.rows)] == [3]
    assert [matrix.step for matrix in news.matrices] == [3, 4]
    _add(log, [4])
    log.add_matrix("roofs", np.eye(2, dtype=int), ["a", "b"], step=5, epoch=0, split="val")
    log.close()
    news = follower.poll()
    assert [row.step for row in as_rows(news.rows)] == [4]
    assert [matrix.step for matrix in news.matrices] == [5]
    news = follower.poll()
    assert (news.rows.num_rows, news.matrices, news.restarted) == (0, [], False)


def test_attempts_that_appear_later_tell_what_they_replace(tmp_path):
    first = MetricLog(tmp_path, 1)
    _add(first, range(1, 6))
    follower = Follower(tmp_path)
    rows = follower.poll().rows
    assert not follower.superseded(rows).any()
    _add(MetricLog(tmp_path, 2, 3, "arrow"), [4])
    assert _told(follower) == [(2, 4)]
    assert follower.superseded(rows).tolist() == [False, False, False, True, True]


def test_a_stream_that_becomes_parquet_between_two_calls_repeats_and_loses_nothing(tmp_path):
    log = MetricLog(tmp_path, 1, backend="arrow")
    _add(log, [1, 2])
    follower = Follower(tmp_path)
    assert _told(follower) == [(1, 1), (1, 2)]
    _add(log, [3])
    log.close()
    assert [path.suffix for path in tmp_path.iterdir()] == [".parquet"]
    assert _told(follower) == [(1, 3)]
    parquet = tmp_path / "attempt-0001.parquet"
    feather.write_feather(pd.read_parquet(parquet), parquet.with_suffix(".feather"))
    parquet.unlink()
    assert _told(follower) == []


def test_a_stream_that_becomes_parquet_between_listing_and_reading_is_read(tmp_path, monkeypatch):
    log = MetricLog(tmp_path, 1, backend="arrow")
    _add(log, [1, 2])
    told = Follower(tmp_path)
    real = follower.list_files

    def then_closed(folder):
        found = real(folder)
        log.close()
        return found

    monkeypatch.setattr(follower, "list_files", then_closed)
    assert _told(told) == [(1, 1), (1, 2)]
    assert _told(told) == []


def test_a_stream_and_its_parquet_file_count_once(tmp_path):
    log = MetricLog(tmp_path, 1, backend="arrow")
    _add(log, [1, 2])
    stream = tmp_path / "attempt-0001.arrows"
    kept = stream.read_bytes()
    log.close()
    stream.write_bytes(kept)  # as a kill between the two steps leaves it
    assert len(read(tmp_path)) == 2


def test_a_long_stream_goes_on_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow_format, "APPENDS", 3)
    log, follower = MetricLog(tmp_path, 1, 5, "arrow"), Follower(tmp_path)
    told = []
    for step in range(6, 20):
        _add(log, [step])
        told += _told(follower)
    log.close()
    assert told == [(1, step) for step in range(6, 20)]
    assert [row.step for row in read(tmp_path)] == list(range(6, 20))
    assert {file.suffix for file in files.list_files(tmp_path)} == {"parquet"}
    assert [file.part for file in files.list_files(tmp_path)] == [1, 2, 3, 4, 5]


def test_parts_are_read_in_the_order_of_their_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow_format, "APPENDS", 1)
    log = MetricLog(tmp_path, 1, backend="arrow")
    _add(log, range(1, 13))
    log.close()
    assert [row.step for row in read(tmp_path)] == list(range(1, 13))


@each_backend
def test_a_folder_that_goes_and_comes_back_is_said(tmp_path, backend):
    folder = tmp_path / "metrics"
    log, follower = MetricLog(folder, 1, backend=backend), Follower(folder)
    _add(log, [1, 2])
    assert _told(follower) == [(1, 1), (1, 2)]
    shutil.rmtree(folder)
    news = follower.poll()
    assert (news.rows.num_rows, news.restarted) == (0, True)
    news = follower.poll()
    assert (news.rows.num_rows, news.restarted) == (0, False)
    assert follower.starts == {}
    _add(MetricLog(folder, 1, 7, backend), [8])
    assert _told(follower) == [(1, 8)]
    assert follower.starts == {1: 7}


@each_backend
def test_a_folder_that_is_another_one_is_said(tmp_path, backend):
    folder = tmp_path / "metrics"
    first, follower = MetricLog(folder, 1, backend=backend), Follower(folder)
    _add(first, [1])
    assert _told(follower) == [(1, 1)]
    folder.rename(tmp_path / "old")
    _add(MetricLog(folder, 1, 0, backend), [1, 2, 3])
    news = follower.poll()
    assert news.restarted
    assert [row.step for row in as_rows(news.rows)] == [1, 2, 3]


def test_several_formats_lie_in_one_folder(tmp_path):
    logs = [MetricLog(tmp_path, n, 0, backend) for n, backend in enumerate(BACKENDS, 1)]
    follower = Follower(tmp_path)
    for log in logs:
        _add(log, [0])
    assert _told(follower) == [(1, 0), (2, 0), (3, 0)]
    for log in reversed(logs):
        log.close()
    assert _told(follower) == []


def test_other_files_are_left_alone(tmp_path):
    for name in ("attempt-1.csv", "attempt-0001.csv.bak", ".attempt-0001.x.part.h5", "notes.txt"):
        (tmp_path / name).write_text("?")
    assert read(tmp_path) == []


def test_an_error_loses_nothing_that_was_read_before_it(tmp_path):
    _add(MetricLog(tmp_path, 1), [1])
    damaged = tmp_path / "attempt-0002.csv"
    damaged.write_text("what,is,this\n")
    follower = Follower(tmp_path)
    with pytest.raises(RunError, match="attempt-0002"):
        follower.poll()
    damaged.unlink()
    assert _told(follower) == [(1, 1)]


class LogAndFollower(RuleBasedStateMachine):
    """Any order of writing, resuming, closing and reading; the model is a list."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.log: MetricLog | None = None
        self.attempt = self.step = 0
        self.model, self.told, self.matrices = [], [], 0
        self.follower = Follower(self.folder)

    @precondition(lambda self: self.log is None)
    @rule(backend=st.sampled_from(BACKENDS), back=st.integers(0, 3))
    def start(self, backend, back):
        self.attempt, self.step = self.attempt + 1, max(self.step - back, 0)
        self.log = MetricLog(self.folder, self.attempt, self.step, backend)
        self.model = [(a, s, v, s > self.step or gone) for a, s, v, gone in self.model]

    @precondition(lambda self: self.log is not None)
    @rule(value=st.floats(allow_nan=False))
    def add(self, value):
        assert self.log is not None
        self.step += 1
        self.log.add_named({"train_loss": value}, step=self.step, epoch=0)
        self.model.append((self.attempt, self.step, value, False))

    @precondition(lambda self: self.log is not None)
    @rule()
    def add_matrix(self):
        assert self.log is not None
        self.log.add_matrix(
            "roofs", np.eye(2, dtype=int), ["a", "b"], step=self.matrices, epoch=0, split="val"
        )
        self.matrices += 1

    @precondition(lambda self: self.log is not None)
    @rule()
    def close(self):
        assert self.log is not None
        self.log.close()
        self.log = None

    @rule()
    def follow(self):
        self.told += [
            (row.attempt, row.step, row.value) for row in as_rows(self.follower.poll().rows)
        ]
        assert self.told == [entry[:3] for entry in self.model]

    @invariant()
    def all_is_read(self):
        rows = [(row.attempt, row.step, row.value) for row in read(self.folder)]
        assert rows == [entry[:3] for entry in self.model if not entry[3]]
        assert len(read_matrices(self.folder, superseded=True)) == self.matrices

    def teardown(self):
        if self.log is not None:
            self.log.close()
        shutil.rmtree(self.folder)


TestLogAndFollower = pytest.mark.robust(LogAndFollower.TestCase)
TestLogAndFollower.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
