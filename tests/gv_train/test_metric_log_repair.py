"""An HDF5 log that a kill left open is made a plain file again."""

import struct
import subprocess
import sys

import h5py
import pytest

from gv_train.errors import RunError
from gv_train.metric_log import MetricLog, read, repair
from gv_train.metric_log.hdf5_repair import lookup3

WRITE = """
import os, sys
from pathlib import Path
from gv_train.metric_log import MetricLog
log = MetricLog(Path(sys.argv[1]), 1, 0, "hdf5")
for step in range(1, int(sys.argv[2]) + 1):
    log.add_named({"train_loss": 1 / step, "lr": step}, step=step, epoch=0)
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-c", WRITE, str(folder), "700"], check=False)
    return (folder / "attempt-0001.h5").read_bytes()


@pytest.fixture
def killed(tmp_path, content):
    path = tmp_path / "attempt-0001.h5"
    path.write_bytes(content)
    return path


@pytest.mark.robust
def test_a_file_left_open_by_a_kill_opens_again(killed):
    with pytest.raises(OSError, match="already open for write"):
        h5py.File(killed, "r")
    before = read(killed.parent)
    assert [row.step for row in before if row.name == "lr"] == list(range(1, 701))
    assert repair(killed)
    assert read(killed.parent) == before
    with h5py.File(killed, "r+", libver="latest") as file:
        rows = file["rows"]
        assert len(rows) == 2 + 2 * 700
        file.swmr_mode = True
        record = rows[-1]
        record["step"], record["value"] = 701, 0.25
        rows.resize(len(rows) + 3000, axis=0)
        rows[-3000:] = record
        rows.flush()
    with h5py.File(killed, "r") as file:
        assert (file["rows"]["value"][-3000:] == 0.25).all()
        assert len(file["rows"]) == 2 + 2 * 700 + 3000
    assert read(killed.parent)[: len(before)] == before


@pytest.mark.robust
def test_a_file_that_needs_no_repair_is_left_as_it_is(killed):
    assert repair(killed)
    before = killed.read_bytes()
    assert not repair(killed)
    assert killed.read_bytes() == before


@pytest.mark.robust
@pytest.mark.parametrize("place", [8, 9, 11, 30, 40, 45])
def test_a_damaged_superblock_is_refused_and_left(killed, place):
    data = bytearray(killed.read_bytes())
    data[place] ^= 0x10
    killed.write_bytes(data)
    with pytest.raises(RunError, match=r"damaged superblock|superblock of version"):
        repair(killed)
    assert killed.read_bytes() == data


@pytest.mark.robust
def test_a_file_that_is_broken_elsewhere_is_left(killed):
    data = bytearray(killed.read_bytes())
    (root,) = struct.unpack_from("<Q", data, 36)
    data[root : root + 64] = bytes(64)
    killed.write_bytes(data)
    with pytest.raises(RunError, match=r"cannot be repaired .* left as it was"):
        repair(killed)
    assert killed.read_bytes() == data


@pytest.mark.parametrize("data", [None, b"", b"no HDF5 at all" * 9])
def test_what_is_no_hdf5_is_named(tmp_path, data):
    path = tmp_path / "attempt-0001.h5"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(RunError, match=r"cannot be read|is not HDF5"):
        repair(path)


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"", 0xDEADBEEF), (b"Four score and seven years ago", 0x17770551)],
)
def test_the_checksum_is_that_of_its_author(data, value):
    assert lookup3(data) == value


def test_the_checksum_is_that_of_hdf5(tmp_path):
    MetricLog(tmp_path, 1, backend="hdf5").close()
    head = (tmp_path / "attempt-0001.h5").read_bytes()[:48]
    assert struct.unpack("<I", head[44:]) == (lookup3(head[:44]),)
