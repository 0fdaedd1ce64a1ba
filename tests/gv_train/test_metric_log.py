"""A metric log gives back what was added, in three formats that any program reads."""

import csv
import json
import math
import subprocess
import sys

import duckdb
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

from gv_train.errors import RunError
from gv_train.metric_log import (
    Backend,
    Follower,
    MetricLog,
    as_rows,
    parse_name,
    read,
    read_matrices,
    read_table,
    rows,
)

BACKENDS: list[Backend] = ["csv", "arrow", "hdf5"]
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def _log(folder, attempt, from_step, steps, backend: Backend = "csv"):
    log = MetricLog(folder, attempt, from_step, backend)
    for step in steps:
        log.add({"loss": 100 * attempt + step}, step=step, epoch=0, split="train", kind="step")
    log.close()


def _ask(query, **tables):
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        return connection.execute(query).fetchall()


def _name_fits(name):
    try:
        rows.check_name(name)
    except (ValueError, UnicodeEncodeError):
        return False
    return True


names = st.text(min_size=1, max_size=60).filter(_name_fits)


@pytest.mark.parametrize("backends", [[b] * 3 for b in BACKENDS] + [BACKENDS])
def test_a_resumed_attempt_replaces_the_rows_after_its_start(tmp_path, backends):
    _log(tmp_path, 1, 0, range(1, 8), backends[0])
    _log(tmp_path, 2, 5, range(6, 10), backends[1])
    _log(tmp_path, 3, 4, range(5, 7), backends[2])
    assert [(row.step, row.attempt) for row in read(tmp_path)] == [
        (1, 1), (2, 1), (3, 1), (4, 1), (5, 3), (6, 3),
    ]  # fmt: skip
    everything = read(tmp_path, superseded=True)
    assert [row.value for row in everything] == [
        *(100 + s for s in range(1, 8)), *(200 + s for s in range(6, 10)), 305, 306,
    ]  # fmt: skip
    follower = Follower(tmp_path)
    told = follower.poll().rows
    again = follower.superseded(told)
    assert follower.starts == {1: 0, 2: 5, 3: 4}
    assert as_rows(told.filter(~again)) == read(tmp_path)


@each_backend
def test_within_an_attempt_the_last_row_of_a_step_counts(tmp_path, backend):
    log = MetricLog(tmp_path, 1, backend=backend)
    for value in (0.1, 0.2):
        log.add_named({"val_iou": value, "train_iou_epoch": value}, step=3, epoch=0)
    assert [(row.split, row.kind, row.value) for row in read(tmp_path)] == [
        ("val", "epoch", 0.2),
        ("train", "epoch", 0.2),
    ]


@each_backend
@pytest.mark.parametrize("second", BACKENDS)
def test_an_attempt_is_logged_once(tmp_path, backend, second):
    log = MetricLog(tmp_path, 1, backend=backend)
    with pytest.raises(RunError, match="logged once"):
        MetricLog(tmp_path, 1, backend=second)
    log.close()


@each_backend
@settings(max_examples=25, deadline=None)
@given(
    values=st.dictionaries(names, st.floats(), min_size=1, max_size=4),
    step=st.integers(0, 2**53),
    split=st.sampled_from(["train", "val", "test", ""]),
    close=st.booleans(),
)
def test_numbers_and_names_return_exactly(tmp_path_factory, backend, values, step, split, close):
    folder = tmp_path_factory.mktemp("metrics")
    log = MetricLog(folder, 1, backend=backend)
    log.add(values, step=step, epoch=2, split=split, kind="epoch")
    if close:
        log.close()
    found = read(folder)
    assert [(row.name, row.step, row.epoch, row.split) for row in found] == [
        (name, step, 2, split) for name in values
    ]
    for row, value in zip(found, values.values(), strict=True):
        assert row.value == value or (math.isnan(row.value) and math.isnan(value))
        assert math.copysign(1, row.value) == math.copysign(1, value) or math.isnan(value)


@each_backend
@settings(max_examples=25, deadline=None)
@given(
    names=st.lists(names, min_size=1, max_size=5),
    seed=st.integers(0, 99),
    close=st.booleans(),
)
def test_matrices_return_exactly(tmp_path_factory, backend, names, seed, close):
    folder = tmp_path_factory.mktemp("metrics")
    chance = np.random.default_rng(seed)
    log = MetricLog(folder, 1, backend=backend)
    told = [(1, chance.integers(0, 2**62, (len(names),) * 2)), (2, chance.integers(0, 9, (1, 1)))]
    for step, counts in told:
        log.add_matrix(names[0], counts, names[: len(counts)], step=step, epoch=1, split="val")
    if close:
        log.close()
    for matrix, (step, counts) in zip(read_matrices(folder), told, strict=True):
        assert (matrix.attempt, matrix.step, matrix.epoch) == (1, step, 1)
        assert (matrix.split, matrix.name) == ("val", names[0])
        assert matrix.classes == tuple(names[: len(counts)])
        assert matrix.counts.dtype == np.int64
        np.testing.assert_array_equal(matrix.counts, counts)


@each_backend
def test_matrices_of_a_resumed_attempt_replace_the_earlier_ones(tmp_path, backend):
    for attempt, start, steps in ((1, 0, (5, 10)), (2, 5, (10, 15))):
        log = MetricLog(tmp_path, attempt, start, backend)
        for step in steps:
            counts = np.full((2, 2), attempt)
            log.add_matrix("roofs", counts, ["no", "yes"], step=step, epoch=0, split="val")
        log.close()
    assert [(m.attempt, m.step) for m in read_matrices(tmp_path)] == [(1, 5), (2, 10), (2, 15)]
    assert len(read_matrices(tmp_path, superseded=True)) == 4


@pytest.mark.parametrize(
    ("counts", "classes"),
    [
        (np.ones((2, 3), int), ["a", "b"]),
        (np.ones((2, 2), int), ["a"]),
        (np.ones((2, 2)), ["a", "b"]),
        (np.ones((0, 0), int), []),
    ],
)
def test_a_matrix_that_is_none_is_refused(tmp_path, counts, classes):
    log = MetricLog(tmp_path, 1)
    with pytest.raises(ValueError, match="confusion matrix of"):
        log.add_matrix("cover", counts, classes, step=1, epoch=0, split="val")


@each_backend
@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\0", "", "ä" * 129, "\ud800"])
def test_a_name_that_a_format_could_not_give_back_is_refused(tmp_path, backend, name):
    log = MetricLog(tmp_path, 1, backend=backend)
    with pytest.raises(ValueError, match="fit in a line of 1 to 256 bytes"):
        log.add({name: 1}, step=1, epoch=0, split="", kind="step")
    log.add({"ä" * 128: 1}, step=1, epoch=0, split="", kind="step")
    assert [row.name for row in read(tmp_path)] == ["ä" * 128]


def test_a_closed_log_is_not_written(tmp_path):
    log = MetricLog(tmp_path, 1)
    log.close()
    log.close()
    with pytest.raises(ValueError, match="closed"):
        log.add_named({"loss": 1}, step=1, epoch=0)


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


def test_a_log_of_before_the_format_had_a_number_is_read(tmp_path):
    (tmp_path / "attempt-0001.csv").write_text(
        "attempt,time,step,epoch,split,kind,name,value\n"
        "1,1790000000.5,3,0,,start,from_step,3\n"
        "1,1790000001.5,4,0,train,step,loss,0.25\n"
    )
    assert read(tmp_path) == [(1, 1790000001.5, 4, 0, "train", "step", "loss", 0.25)]


@pytest.mark.parametrize("suffix", ["csv", "arrows", "parquet", "feather", "h5"])
def test_a_log_of_a_newer_version_says_update(tmp_path, monkeypatch, suffix):
    backend: Backend = "csv" if suffix == "csv" else "hdf5" if suffix == "h5" else "arrow"
    monkeypatch.setattr(rows, "FORMAT", 2)
    log = MetricLog(tmp_path, 1, backend=backend)
    if suffix in ("parquet", "feather"):
        log.close()
    if suffix == "feather":
        path = tmp_path / "attempt-0001.parquet"
        feather.write_feather(parquet.read_table(path), path.with_suffix(".feather"))
        path.unlink()
    monkeypatch.undo()
    with pytest.raises(RunError, match=rf"{suffix} has format 2 .* up to 1: update gv-train"):
        read(tmp_path)


def test_other_columns_say_update(tmp_path):
    (tmp_path / "attempt-0001.csv").write_text("attempt,when\n1,2\n")
    with pytest.raises(RunError, match=r"columns attempt,when, not attempt,time.*update gv-train"):
        read(tmp_path)
    (tmp_path / "attempt-0001.csv").unlink()
    parquet.write_table(pa.table({"loss": [1.0]}), tmp_path / "attempt-0001.parquet")
    with pytest.raises(RunError, match=r"columns loss, not attempt,time.*update gv-train"):
        read(tmp_path)
    (tmp_path / "attempt-0001.parquet").unlink()
    with h5py.File(tmp_path / "attempt-0001.h5", "w", libver="latest") as file:
        file["rows"] = [1.0]
    with pytest.raises(RunError, match=r"does not have .* update gv-train"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "feather", "h5"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    head = b"attempt,time,step,epoch,split,kind,name,value\n" if suffix == "csv" else b""
    (tmp_path / f"attempt-0001.{suffix}").write_bytes(head + b"1,\xff\xfe,rubbish\n" * 50)
    with pytest.raises(RunError, match=rf"attempt-0001\.{suffix} (is damaged|cannot be read)"):
        read(tmp_path)


@pytest.mark.parametrize("backend", ["csv", "arrow"])
def test_a_file_cut_anywhere_gives_its_whole_rows(tmp_path, backend):
    log = MetricLog(tmp_path, 1, backend=backend)
    (path,) = tmp_path.iterdir()
    ends = [path.stat().st_size]
    for step in range(1, 6):
        log.add_named({"loss": step}, step=step, epoch=0)
        ends.append(path.stat().st_size)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        steps = max(sum(end <= size for end in ends) - 1, 0)
        assert [row.step for row in read(tmp_path)] == list(range(1, steps + 1))


def test_other_programs_read_the_csv(tmp_path):
    log = MetricLog(tmp_path, 1)
    log.add_named({"train_loss": 0.5, 'val_"iou", x': math.nan}, step=1, epoch=0)
    log.add_matrix("cover", np.eye(2, dtype=int), ["a,b", "c"], step=1, epoch=0, split="val")
    path, matrices = tmp_path / "attempt-0001.csv", tmp_path / "matrices-0001.csv"
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["name"] for row in found] == ["format", "from_step", "loss", '"iou", x']
    assert [row["value"] for row in found] == ["1", "0", "0.5", "nan"]
    assert list(pd.read_csv(path)["value"])[:3] == [1, 0, 0.5]
    assert _ask(f"SELECT value FROM '{path}' WHERE name = 'loss'") == [(0.5,)]
    (matrix,) = pd.read_csv(matrices).to_dict("records")
    assert json.loads(matrix["classes"]) == ["a,b", "c"]
    assert json.loads(matrix["counts"]) == [[1, 0], [0, 1]]


def test_other_programs_read_the_arrow_files(tmp_path):
    log = MetricLog(tmp_path, 1, backend="arrow")
    log.add_named({"train_loss": 0.5}, step=1, epoch=0)
    log.add_matrix("cover", np.eye(2, dtype=int), ["a", "b"], step=1, epoch=0, split="val")
    stream = tmp_path / "attempt-0001.arrows"
    growing = pa.ipc.open_stream(stream.read_bytes()).read_all()
    assert growing["value"].to_pylist() == [1, 0, 0.5]
    assert _ask("SELECT sum(value) FROM growing", growing=growing) == [(1.5,)]
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "attempt-0001.parquet",
        "matrices-0001.parquet",
    ]
    asked = _ask(f"SELECT name, value FROM '{tmp_path}/attempt-*.parquet' WHERE step = 1")
    assert asked == [("loss", 0.5)]
    assert pd.read_parquet(tmp_path / "attempt-0001.parquet")["value"].tolist() == [1, 0, 0.5]
    (matrix,) = _ask(f"FROM '{tmp_path}/matrices-0001.parquet'")
    assert matrix[-2:] == (["a", "b"], [[1, 0], [0, 1]])


def test_feather_files_are_read(tmp_path):
    _log(tmp_path, 1, 0, range(1, 5), "arrow")
    told = read(tmp_path)
    path = tmp_path / "attempt-0001.parquet"
    feather.write_feather(pd.read_parquet(path), path.with_suffix(".feather"))
    path.unlink()
    assert feather.read_table(path.with_suffix(".feather")).num_rows == 2 + 4
    assert read(tmp_path) == told


def test_other_programs_read_the_hdf5(tmp_path):
    log = MetricLog(tmp_path, 1, backend="hdf5")
    log.add_named({"train_loss": 0.5}, step=1, epoch=0)
    log.add_matrix("cöver", np.arange(4).reshape(2, 2), ["a", "b"], step=1, epoch=0, split="val")
    script = (
        "import h5py, sys\n"
        f"with h5py.File({str(tmp_path / 'attempt-0001.h5')!r}, 'r', swmr=True) as file:\n"
        "    print(file['rows'][-1]['value'], file['names'].asstr()[file['rows'][-1]['name']])\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert told.stdout == "0.5 loss\n", told.stderr
    log.close()
    with h5py.File(tmp_path / "attempt-0001.h5") as file:
        frame = pd.DataFrame(file["rows"][:])
        assert frame["value"].tolist() == [1, 0, 0.5]
        assert frame["split"].tolist() == [b"", b"", b"train"]
        (matrix,) = file["matrices"][:]
        assert file["names"].asstr()[matrix["name"]] == "cöver"
        assert file["counts"][:].tolist() == [0, 1, 2, 3]
        assert file["names"].asstr()[file["classes"][:].tolist()].tolist() == ["a", "b"]


def test_an_hdf5_log_is_read_in_the_process_that_writes_it(tmp_path):
    log = MetricLog(tmp_path, 1, backend="hdf5")
    for step in (1, 2):
        log.add_named({"loss": step}, step=step, epoch=0)
        assert [row.step for row in read(tmp_path)] == list(range(1, step + 1))
    log.close()
    assert len(read(tmp_path)) == 2


def test_an_hdf5_file_that_leads_elsewhere_is_not_followed(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w", libver="latest") as file:
        file["rows"] = np.arange(3)
    _log(tmp_path, 1, 0, [1], "hdf5")
    path = tmp_path / "attempt-0001.h5"
    with h5py.File(path, "r+") as file:
        del file["rows"]
        file["rows"] = h5py.ExternalLink("other.h5", "rows")
    with pytest.raises(RunError, match="does not have 'rows'"):
        read(tmp_path)


def test_a_missing_h5py_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(RunError, match=r"install \"gv-train\[hdf5\]\""):
        MetricLog(tmp_path, 1, backend="hdf5")


def test_the_table_and_the_rows_tell_the_same(tmp_path):
    _log(tmp_path, 1, 0, range(1, 5))
    frame = pd.DataFrame(read(tmp_path))
    table = read_table(tmp_path).to_pandas()
    for name in frame:
        assert frame[name].tolist() == table[name].tolist()


def test_importing_the_log_imports_no_heavy_package():
    script = "import gv_train.metric_log, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert {"pyarrow", "h5py", "lightning", "torch", "pandas"}.isdisjoint(loaded.split())
