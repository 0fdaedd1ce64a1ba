import os
import subprocess
import sys
from pathlib import Path

import pytest

from gv_data import atomic
from gv_data.atomic import locked, replacing, sweep, write_text
from gv_data.errors import DataError

COUNTING = """
import sys
from pathlib import Path
from gv_data.atomic import locked, write_text
folder = Path(sys.argv[1])
for _ in range(25):
    with locked(folder):
        count = int((folder / "count").read_text())
        write_text(folder / "count", str(count + 1))
"""

HANGING = """
import sys, time
from pathlib import Path
from gv_data.atomic import replacing
with replacing(Path(sys.argv[1])) as part:
    part.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert part.parent == path.parent
        assert part.suffix == path.suffix
    assert path.read_text() == "new"
    assert names(tmp_path) == {"a.txt"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "[a].txt"
    path.write_text("old")

    def fail():
        with replacing(path) as part:
            part.write_text("half")
            Path(f"{part}.aux.xml").write_text("a sidecar as GDAL leaves it")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == {"[a].txt"}


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_an_error_of_the_system_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(atomic.os, call, fail)
    with pytest.raises(OSError, match="Input/output"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == {"a.txt"}


def test_what_does_not_verify_is_not_kept(tmp_path):
    def refuse(part: Path) -> None:
        raise DataError(f"{part.read_text()} is not whole")

    with (
        pytest.raises(DataError, match="half is not whole"),
        replacing(tmp_path / "a.txt", verify=refuse) as part,
    ):
        part.write_text("half")
    assert names(tmp_path) == set()


def test_an_existing_file_or_folder_is_kept_when_asked(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        replacing(tmp_path / "a.txt", overwrite=False).__enter__()
    with pytest.raises(FileExistsError, match="exists already"):
        replacing(tmp_path / "folder").__enter__()


def test_a_folder_appears_whole(tmp_path):
    with replacing(tmp_path / "package") as part:
        part.mkdir()
        (part / "model.json").write_text("{}")
    assert names(tmp_path / "package") == {"model.json"}


@pytest.mark.robust
def test_a_full_disk_is_said_and_keeps_the_old_file(full_disk):
    path = full_disk / "a.bin"
    path.write_bytes(b"old")
    with (
        pytest.raises(DataError, match=r"no space left to write .*a\.bin"),
        replacing(path) as part,
    ):
        part.write_bytes(bytes(4_000_000))
    assert path.read_bytes() == b"old"
    assert names(full_disk) == {"a.bin"}


@pytest.mark.robust
def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path):
    path = tmp_path / "part.of.it.txt"
    command = [sys.executable, "-c", HANGING, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        sweep(tmp_path)
        assert len(names(tmp_path)) == 1, "the part of a running process stays"
        killed.kill()
    assert not path.exists()
    assert len(names(tmp_path)) == 1
    write_text(path, "whole")
    assert names(tmp_path) == {"part.of.it.txt"}


def test_parts_of_other_machines_and_files_of_others_are_not_swept(tmp_path):
    kept = {".a.999999999-00000000.0123abcd.part.tif", ".party", ".config.part", "a.part"}
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / ".b.999999999.0123abcd.part").mkdir()
    sweep(tmp_path)
    assert names(tmp_path) == kept


def test_writers_that_hold_the_lock_lose_no_change(tmp_path):
    write_text(tmp_path / "count", "0")
    command = [sys.executable, "-c", COUNTING, str(tmp_path)]
    writers = [subprocess.Popen(command) for _ in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert (tmp_path / "count").read_text() == "100"


def test_the_lock_is_free_again_after_a_failure(tmp_path):
    with pytest.raises(RuntimeError), locked(tmp_path):
        raise RuntimeError
    with locked(tmp_path):
        assert os.listdir(tmp_path) == [".lock"]  # noqa: PTH208  names only
