"""Kills, full disks and failing writes: what was acknowledged is there, and training goes on.

``python tests/gv_train/test_metric_log_faults.py 200`` kills more often than the test does.
"""

import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from gv_train.errors import RunError
from gv_train.metric_log import (
    Follower,
    MetricLog,
    as_rows,
    files,
    read,
    read_matrices,
    writer,
)

CHILD = Path(__file__).with_name("metric_log_child.py")
each_backend = pytest.mark.parametrize("backend", ["csv", "arrow", "hdf5"])


class Server:
    """Makes children that write logs until they are killed."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._told = self._process.stdin, self._process.stdout

    def start(self, *words):
        """Give the number of the new process."""
        self._orders.write(" ".join(map(str, words)).encode() + b"\n")
        self._orders.flush()
        return int(self._told.readline())

    def kill(self, child):
        """Give how many adds were acknowledged."""
        os.kill(child, signal.SIGKILL)
        return sum(1 for _ in iter(self._told.readline, b"dead\n"))

    def close(self):
        self._orders.close()
        self._told.close()
        self._process.wait(10)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def _killed(server, folder, backend, chance):
    """Train in twenty attempts, each killed while a reader looks on; give acknowledged adds."""
    follower, everything, seen, reached, acknowledged = Follower(folder), [], 0, 0, 0
    for attempt in range(1, 21):
        start = reached // 10 * 10  # as a checkpoint would be
        child = server.start(folder, attempt, start, backend)
        end = time.monotonic() + chance.uniform(0, 0.04)
        told = []
        while time.monotonic() < end:
            told.append(follower.poll())
        steps = server.kill(child)
        told.append(follower.poll())
        acknowledged, reached = acknowledged + steps, start + steps
        assert not any(news.restarted for news in told)
        assert follower.starts[attempt] == start
        rows = [row for news in told for row in as_rows(news.rows)]
        done = max((row.step for row in rows), default=start)
        assert reached <= done <= reached + 1
        assert {row.attempt for row in rows} <= {attempt}
        for name in ("loss", "lr"):
            logged = [row.step for row in rows if row.name == name]
            assert logged == list(range(start + 1, start + 1 + len(logged)))
            assert len(logged) >= steps  # of the last, not acknowledged step one may be there
        assert all(row.value == (1 / row.step if row.name == "loss" else row.step) for row in rows)
        matrices = [matrix for news in told for matrix in news.matrices]
        fifths = [step for step in range(start + 1, done + 1) if step % 5 == 0]
        assert [m.step for m in matrices] == fifths[: len(matrices)]
        assert len(matrices) >= sum(step <= reached for step in fifths)
        assert all(m.counts.tolist() == [[m.step, 1], [2, 3]] for m in matrices)
        everything += rows
        seen += len(matrices)
    assert read(folder, superseded=True) == everything
    assert len(read_matrices(folder, superseded=True)) == seen
    kept = read(folder)
    for name in ("loss", "lr"):
        logged = [row.step for row in kept if row.name == name]
        assert logged == list(range(1, len(logged) + 1))
        assert len(logged) >= reached
    return acknowledged


@pytest.mark.robust
@each_backend
def test_killed_at_random_moments_no_acknowledged_row_is_lost(tmp_path, backend, server):
    _killed(server, tmp_path / "metrics", backend, random.Random(5))


def _fill(log, steps):
    for step in steps:
        values = {f"m{k}": step + k / 10 for k in range(8)}
        log.add(values, step=step, epoch=0, split="train", kind="step")


def _steps(folder):
    rows = read(folder)
    assert all(row.value == row.step + int(row.name[1:]) / 10 for row in rows)
    assert len(rows) == len({(row.step, row.name) for row in rows})
    return sorted({row.step for row in rows})


def _fill_disk(folder, left):
    """Take all but some bytes of a file system."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    filler = folder / "filler"
    filler.write_bytes(bytes(free - left))
    return filler


@pytest.mark.robust
@each_backend
def test_a_full_disk_is_one_warning_and_the_log_goes_on_when_there_is_space(
    full_disk, backend, monkeypatch
):
    monkeypatch.setattr(writer, "RETRY_S", 0.0)
    log = MetricLog(full_disk, 1, backend=backend)
    filler = _fill_disk(full_disk, 60_000)
    with pytest.warns(UserWarning, match="free the disk; training goes on") as told:
        _fill(log, range(1, 401))
    assert len(told) == 1
    whole = _steps(full_disk)
    assert whole == list(range(1, len(whole) + 1))
    assert 20 < len(whole) < 400
    counts = np.array([[1, 2], [3, 4]])
    log.add_matrix("roofs", counts, ["no", "yes"], step=9, epoch=0, split="val")
    filler.unlink()
    _fill(log, range(401, 500))
    log.close()
    assert _steps(full_disk) == list(range(1, 500))
    assert [m.counts.tolist() for m in read_matrices(full_disk)] == [counts.tolist()]
    parts = [file.part for file in files.list_files(full_disk) if file.table == "attempt"]
    assert parts == [1, 2]


@pytest.mark.robust
@each_backend
def test_a_disk_that_stays_full_ends_the_log_but_not_the_process(full_disk, backend):
    script = (
        "import sys, warnings\n"
        "from pathlib import Path\n"
        "from gv_train.metric_log import MetricLog\n"
        "folder = Path(sys.argv[1])\n"
        "log = MetricLog(folder, 1, 7, sys.argv[2])\n"
        "(folder / 'filler').write_bytes(bytes(int(sys.argv[3])))\n"
        "for step in range(1, 600):\n"
        "    values = {f'm{k}': step + k / 10 for k in range(8)}\n"
        "    log.add(values, step=step, epoch=0, split='train', kind='step')\n"
        "log.close()\n"
        "print('trained')\n"
    )
    free = os.statvfs(full_disk).f_bavail * os.statvfs(full_disk).f_frsize - 150_000
    ended = subprocess.run(
        [sys.executable, "-c", script, str(full_disk), backend, str(free)],
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (0, "trained\n"), ended.stderr
    assert "No space left on device" in ended.stderr
    whole = _steps(full_disk)
    assert whole == list(range(1, len(whole) + 1))
    assert f"lacks {8 * (599 - len(whole)):,} values" in ended.stderr
    with pytest.raises(RunError, match="free the disk"):
        MetricLog(full_disk, 2, 0, backend)


@pytest.mark.robust
@each_backend
def test_a_file_that_may_not_grow_is_left_and_never_written_again(tmp_path, backend):
    script = (
        "import resource, sys, warnings\n"
        "from pathlib import Path\n"
        "from gv_train.metric_log import MetricLog, writer\n"
        "warnings.simplefilter('ignore')\n"
        "writer.RETRY_S = 0\n"
        "log = MetricLog(Path(sys.argv[1]), 1, 0, sys.argv[2])\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))\n"
        "for step in range(1, 2001):\n"
        "    values = {f'm{k}': step + k / 10 for k in range(8)}\n"
        "    log.add(values, step=step, epoch=0, split='train', kind='step')\n"
        "log.close()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), backend], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert len(files.list_files(tmp_path)) > 5
    assert _steps(tmp_path) == list(range(1, 2001))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_what_waits_in_memory_is_bounded_and_the_loss_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "KEPT_ROWS", 20)
    log = MetricLog(tmp_path, 1)
    real = os.write

    def full(file, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "write", full)
    with pytest.warns(UserWarning, match="No space left"):
        _fill(log, [1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _fill(log, range(2, 11))
    monkeypatch.setattr(files.os, "write", real)
    with pytest.warns(UserWarning, match="lacks 60 values"):
        log.close()
    assert len(read(tmp_path)) == 20
    assert max(_steps(tmp_path)) == 10


@pytest.mark.parametrize("backend", ["csv", "arrow"])
def test_a_short_write_is_completed_and_a_failed_one_leaves_no_trace(
    tmp_path, monkeypatch, backend
):
    monkeypatch.setattr(writer, "RETRY_S", 0.0)
    log = MetricLog(tmp_path, 1, backend=backend)
    real, calls = os.write, []
    monkeypatch.setattr(files.os, "write", lambda file, data: real(file, data[:5]))
    log.add_named({"m0": 1}, step=1, epoch=0)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())

    def full(file, data):
        calls.append(file)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        return real(file, data[:5])

    monkeypatch.setattr(files.os, "write", full)
    with pytest.warns(UserWarning, match="No space left"):
        log.add_named({"m0": 2}, step=2, epoch=0)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == size
    monkeypatch.setattr(files.os, "write", real)
    log.add_named({"m0": 3}, step=3, epoch=0)
    assert _steps(tmp_path) == [1, 2, 3]


@each_backend
def test_an_interrupted_write_is_not_gone_on_with_in_the_same_file(tmp_path, monkeypatch, backend):
    log = MetricLog(tmp_path, 1, backend=backend)
    log.add_named({"m0": 1}, step=1, epoch=0)

    def interrupted(rows):
        raise KeyboardInterrupt

    monkeypatch.setattr(log._part, "add_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        log.add_named({"m0": 2}, step=2, epoch=0)
    log.add_named({"m0": 3}, step=3, epoch=0)
    log.close()
    assert _steps(tmp_path) == [1, 2, 3]
    assert [file.part for file in files.list_files(tmp_path)] == [1, 2]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_stream_is_kept_when_it_cannot_become_a_parquet_file(tmp_path, monkeypatch, call):
    log = MetricLog(tmp_path, 1, backend="arrow")
    _fill(log, range(1, 4))

    def failing(*arguments, **named):
        raise OSError(5, "Input/output error")

    if call == "write":
        monkeypatch.setattr("pyarrow.parquet.write_table", failing)
    else:
        monkeypatch.setattr(os, call, failing)
    with pytest.warns(UserWarning, match=r"could not be closed \(.*Input/output error"):
        log.close()
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["attempt-0001.arrows"]
    assert _steps(tmp_path) == [1, 2, 3]


def test_a_parquet_file_that_differs_from_its_stream_is_not_trusted(tmp_path, monkeypatch):
    from pyarrow import parquet

    log = MetricLog(tmp_path, 1, backend="arrow")
    _fill(log, range(1, 4))
    real = parquet.write_table
    monkeypatch.setattr(
        parquet, "write_table", lambda table, path, **named: real(table.slice(1), path, **named)
    )
    with pytest.warns(UserWarning, match="the disk may be failing"):
        log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["attempt-0001.arrows"]
    assert _steps(tmp_path) == [1, 2, 3]


def main() -> None:
    """Kill as often as the argument says, for each backend, and print what was acknowledged."""
    server = Server()
    with tempfile.TemporaryDirectory() as folder:
        for backend in ("csv", "arrow", "hdf5"):
            chance, acknowledged, kills = random.Random(7), 0, int(sys.argv[1])
            for turn in range(kills // 20):
                acknowledged += _killed(server, Path(folder, backend, str(turn)), backend, chance)
            print(f"{backend}: killed {kills} times, {acknowledged:,} adds acknowledged, 0 lost")
    server.close()


if __name__ == "__main__":
    main()
