"""Warnings of every source reach the log whole and counted; the terminal stays as it was."""

import contextlib
import faulthandler
import json
import logging
import os
import pty
import re
import subprocess
import sys
import threading
import time
import warnings
from multiprocessing import process
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gv_data.terminal.console import Console, standard_error
from gv_train.errors import RunError
from gv_train.standard_error import KEPT_BYTES, hide_secrets, trim
from gv_train.warning_counts import Counted, Kind, count
from gv_train.warning_lines import MOST_KINDS, WRITTEN, Lines, parse
from gv_train.warning_log import warnings_to

pytestmark = pytest.mark.filterwarnings("always")  # in tests they are errors otherwise
CHILD = Path(__file__).with_name("warning_child.py")
LETTERS = re.compile(r"[a-j]{4} ([A-C])\1{2999}")


def run(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHILD), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def told(done: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], int]:
    """Counts by kind and message, as the child printed them."""
    assert done.returncode == 0, done.stderr
    return {(name, message): n for name, message, n, _ in json.loads(done.stdout)["kinds"]}


def by_name(counted: Counted) -> dict[str, int]:
    names: dict[str, int] = {}
    for kind in counted.kinds:
        names[kind.name] = names.get(kind.name, 0) + kind.count
    return names


def test_every_source_is_logged_and_counted_and_the_terminal_stays_clean(tmp_path) -> None:
    done = run("every", tmp_path)
    counts = told(done)
    assert done.stderr == "narrated\nseen again\n"
    places = {row[1]: row[3] for row in json.loads(done.stdout)["kinds"]}
    lines = CHILD.read_text().splitlines()
    for message, code in (
        ("said by Python", 'warnings.warn("said by Python"'),
        ("divide by zero encountered in divide", "np.ones(2) / np.zeros(2)"),
        ("said by Lightning", "rank_zero_warn("),
        ("said by a logger", '.error("said by a logger")'),
    ):
        file, _, number = places[message].rpartition(":")
        assert file == str(CHILD)
        assert code in lines[int(number) - 1]
    assert counts["UserWarning", "said by Python"] == 1
    assert counts["RuntimeWarning", "divide by zero encountered in divide"] == 1
    assert counts["UserWarning", "said by Lightning"] == 1
    assert counts["some.library", "said by a logger"] == 1
    assert counts["UserWarning", "said by a child"] == 1
    assert {m for n, m in counts if n == "stderr"} == {"raw from C", "raw from a child", "printed"}
    messages = [message for _, message in counts]
    assert any("NumPy array is not writable" in message for message in messages)  # torch in C++
    assert any("GeoTIFF tags apparently corrupt" in message for message in messages)  # GDAL
    log = (tmp_path / "logs/warnings.log").read_text()
    assert "INFO" in log.partition("told by Lightning")[0].splitlines()[-1]
    assert "GDAL signalled an error" in log


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_each_start_method_take_part(tmp_path, method) -> None:
    done = run("workers", tmp_path, method)
    assert told(done) == {
        ("UserWarning", told_first(tmp_path, "UserWarning")): 8,
        ("tiles", told_first(tmp_path, "tiles")): 8,
        ("stderr", (tmp_path / "stderr.log").read_text().splitlines()[0]): 8,
    }
    assert done.stderr == ""
    pids = {line.split()[2] for line in (tmp_path / "warnings.log").read_text().splitlines()}
    assert sum(map(str.isdigit, pids)) == 2


def told_first(folder: Path, kind: str) -> str:
    noted = map(parse, (folder / "warnings.log").read_text().splitlines())
    return next(one.message for one in noted if one is not None and one.kind == kind)


@pytest.mark.parametrize(
    ("how", "code"), [("exception", 1), ("_exit", 3), ("kill", -9), ("crash", -11), ("thread", 0)]
)
def test_nothing_is_lost_however_the_process_ends(tmp_path, how, code) -> None:
    done = run("leave", tmp_path, how)
    assert done.returncode == code
    raw = (tmp_path / "stderr.log").read_text()
    assert raw.startswith("raw before the end\nprinted before the end\n")
    assert {kind.message for kind in count(tmp_path).kinds} >= {
        "raw before the end",
        "printed before the end",
        "before the end",
    }
    assert ("Fatal Python error: Segmentation fault" in raw) == (how == "crash")
    assert ("ZeroDivisionError" in raw) == (how == "thread")
    terminal = {"exception": "ValueError: the end", "thread": "ZeroDivisionError: division by zero"}
    assert terminal.get(how, "") in done.stderr
    assert bool(done.stderr) == (how in terminal)


def test_ranks_write_files_of_their_own_and_the_first_counts_them(tmp_path) -> None:
    with warnings_to(tmp_path, rank="") as log:
        warnings.warn("of the first", stacklevel=1)
        done = run("leave", tmp_path, "thread", LOCAL_RANK="1", WORLD_SIZE="2")
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "stderr-rank1.log",
        "stderr.log",
        "warnings-rank1.log",
        "warnings.log",
    ]
    messages = [kind.message for kind in log.kinds if kind.name == "UserWarning"]
    assert messages == ["of the first", "before the end"]
    assert "raw before the end" in (tmp_path / "stderr-rank1.log").read_text()
    assert (tmp_path / "stderr.log").read_text() == ""


def test_lines_of_concurrent_writers_are_whole(tmp_path) -> None:
    words = [sys.executable, str(CHILD), "write_together", str(tmp_path)]
    writers = [subprocess.Popen([*words, f"writer {letter}"]) for letter in "ABC"]
    assert [writer.wait(timeout=300) for writer in writers] == [0, 0, 0]
    lines = (tmp_path / "stderr.log").read_text().splitlines()
    assert len(lines) == 3 * 150
    assert all(LETTERS.fullmatch(line) for line in lines)
    noted = [parse(x) for x in (tmp_path / "warnings.log").read_text().splitlines() if x[0] != "#"]
    assert len(noted) == 3 * 150
    assert all(one is not None and LETTERS.fullmatch(one.message) for one in noted)


def test_the_bar_and_what_is_narrated_reach_the_terminal_alone(tmp_path) -> None:
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, str(CHILD), "bar", str(tmp_path)],
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "100"},
    )
    os.close(follower)
    seen = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error
        while part := os.read(leader, 10_000):
            seen += part
    os.close(leader)
    assert child.wait(timeout=60) == 0
    screen = seen.decode()
    lines = [line.strip() for line in re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]", "\r", screen).split("\r")]
    assert [x for x in lines if x.startswith("narrated")] == [f"narrated at {n}" for n in range(3)]
    assert any(line.startswith("training") and "3/3" in line for line in lines)
    assert lines[-2] == "9 warnings: 6 stderr, 3 UserWarning"
    assert "printed" not in screen
    assert "raw" not in screen


def state() -> dict[str, object]:
    """All that a block changes, by identity where there is one."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    told = os.fstat(2)
    return {
        "showwarning": warnings.showwarning,
        "filters": (id(warnings.filters), list(warnings.filters)),
        "loggers": [
            (x.name, id(x.handlers), list(x.handlers), x.level, x.propagate)
            for x in loggers
            if isinstance(x, logging.Logger)
        ],
        "streams": (id(sys.stderr), id(sys.stdout), id(standard_error())),
        "descriptor": (told.st_dev, told.st_ino, told.st_rdev, os.get_inheritable(2)),
        "open": len(list(Path("/proc/self/fd").iterdir())),
        "hooks": (threading.excepthook, sys.excepthook),
        "faults": faulthandler.is_enabled(),
        "carried": dict(vars(process.current_process())["_config"]),
    }


@pytest.mark.parametrize("raising", [False, True])
def test_the_state_before_is_restored(tmp_path, raising) -> None:
    chatty = logging.getLogger("chatty")
    chatty.addHandler(logging.StreamHandler())
    chatty.propagate = False
    logging.getLogger("rasterio._env")
    before = state()
    try:
        ending = pytest.raises(ValueError, match="end") if raising else contextlib.nullcontext()
        with ending, warnings_to(tmp_path / "outer") as outer:
            with warnings_to(tmp_path / "inner") as inner:
                warnings.warn("inside", stacklevel=1)
                chatty.warning("chatted")
                os.write(2, b"raw inside\n")
            warnings.warn("outside", stacklevel=1)
            chatty.warning("chatted")
            if raising:
                raise ValueError("the end")
        assert state() == before
        assert by_name(inner.counted) == {"UserWarning": 1, "chatty": 1, "stderr": 1}
        assert by_name(outer.counted) == {"UserWarning": 1, "chatty": 1}
    finally:
        chatty.handlers.clear()


def test_a_second_block_goes_on_in_the_file_and_counts_its_own(tmp_path) -> None:
    for _ in range(2):
        with warnings_to(tmp_path) as log:
            warnings.warn("again", stacklevel=1)
            os.write(2, b"raw\n")
            assert log.total == 2
        assert log.total == 2
    assert count(tmp_path).total == 4
    assert count(tmp_path).kinds[0].place == f"{__file__}:{warning_line('again')}"


def warning_line(message: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return 1 + next(n for n, x in enumerate(lines) if f'warnings.warn("{message}"' in x)


def test_recording_and_raising_inside_work_as_ever(tmp_path) -> None:
    with warnings_to(tmp_path) as log:
        with pytest.warns(UserWarning, match="expected"):
            warnings.warn("expected", stacklevel=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.warn("recorded", stacklevel=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserWarning, match="raised"):
                warnings.warn("raised", stacklevel=1)
            warnings.simplefilter("ignore")
            warnings.warn("ignored", stacklevel=1)
        warnings.warn("logged", stacklevel=1)
    assert [str(one.message) for one in caught] == ["recorded"]
    assert [kind.message for kind in log.kinds] == ["logged"]


def test_handlers_that_write_elsewhere_than_to_the_terminal_go_on(tmp_path) -> None:
    logger = logging.getLogger("filed")
    handler = logging.FileHandler(tmp_path / "own.log")
    logger.addHandler(handler)
    try:
        with warnings_to(tmp_path / "logs") as log:
            logger.warning("both")
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert (tmp_path / "own.log").read_text() == "both\n"
    assert by_name(log.counted) == {"filed": 1}


def test_of_repeats_only_the_number_is_written(tmp_path) -> None:
    with warnings_to(tmp_path) as log:
        for tile in range(20_000):
            warnings.warn(f"tile {tile} is empty", stacklevel=1)
    assert [(kind.count, kind.message) for kind in log.kinds] == [(20_000, "tile 0 is empty")]
    lines = (tmp_path / "warnings.log").read_text().splitlines()
    assert sum(" WARNING " in line for line in lines) == WRITTEN
    assert len(lines) < 40


def test_repeats_in_workers_that_are_killed_are_counted_to_within_a_factor_of_two(tmp_path) -> None:
    with warnings_to(tmp_path) as log:
        for _ in range(15):
            warnings.warn("the parent's", stacklevel=1)
        child = os.fork()
        if not child:
            for _ in range(1000):
                warnings.warn("the child's", stacklevel=1)
            os._exit(0)
        os.waitpid(child, 0)
    counts = {kind.message: kind.count for kind in log.kinds}
    assert counts["the parent's"] == 15
    assert 500 < counts["the child's"] <= 1000


def test_endless_wordings_fill_neither_memory_nor_disk(tmp_path) -> None:
    names = ["".join(chr(97 + int(digit)) for digit in f"{n:05d}") for n in range(3 * MOST_KINDS)]
    with warnings_to(tmp_path) as log:
        for name in names:
            warnings.warn(name, stacklevel=1)
    assert log.total == len(names)
    assert len((tmp_path / "warnings.log").read_text().splitlines()) < 2.2 * MOST_KINDS


@given(st.lists(st.text(), max_size=8))
def test_each_message_is_one_entry_whatever_it_holds(tmp_path_factory, messages) -> None:
    path = tmp_path_factory.mktemp("lines") / "warnings.log"
    lines = Lines(path)
    for message in messages:
        lines.add(logging.WARNING, "Kind", "/a b/c.py:7", message)
    lines.close()
    noted = [parse(line) for line in path.read_text().split("\n")]
    assert sum(one.times for one in noted if one is not None) == len(messages)
    assert {one.place for one in noted if one is not None} <= {"/a b/c.py:7"}
    assert count(path.parent).total == len(messages)


def test_what_libraries_print_by_themselves_is_recognised(tmp_path) -> None:
    (tmp_path / "stderr.log").write_text(
        "/a/b.py:12: RuntimeWarning: mean of empty slice\n  return x.mean()\n"
        "Warning 1: TIFFReadDirectory: unknown tag\n"
        "ERROR 4: no such file\n"
        "[W1127 01:02:06.123456789 NNPACK.cpp:57] Could not initialize NNPACK!\n"
        "Traceback (most recent call last):\n"
        '  File "a.py", line 1, in <module>\n'
        "KeyError: 'tile'\n"
        "anything else\n"
    )
    assert [(kind.name, kind.place, kind.message) for kind in count(tmp_path).kinds] == [
        ("RuntimeWarning", "/a/b.py:12", "mean of empty slice"),
        ("GDAL", "stderr.log:3", "TIFFReadDirectory: unknown tag"),
        ("GDAL", "stderr.log:4", "no such file"),
        ("C++", "NNPACK.cpp:57", "Could not initialize NNPACK!"),
        ("KeyError", "stderr.log:8", "'tile'"),
        ("stderr", "stderr.log:9", "anything else"),
    ]


def test_no_secret_stays_in_the_files_nor_in_the_summary(tmp_path) -> None:
    url = "https://ann:hunter2@maps.org/x.tif?token=hunter2"
    with warnings_to(tmp_path) as log:
        warnings.warn(f"cannot read {url}", stacklevel=1)
        logging.getLogger("net").warning("%s", url)
        print(url, file=sys.stderr)
        os.write(2, f"GET {url} failed\nnext\n".encode())
    for path in tmp_path.iterdir():
        assert b"hunter2" not in path.read_bytes()
    assert "hunter2" not in log.counted.table
    assert (tmp_path / "stderr.log").read_text().splitlines()[-1] == "next"
    assert log.total == 5


def test_secrets_that_a_killed_attempt_left_are_hidden_by_the_next(tmp_path) -> None:
    (tmp_path / "stderr.log").write_text("secret=hunter2 and more\n")
    with warnings_to(tmp_path):
        assert "hunter2" not in (tmp_path / "stderr.log").read_text()


def test_overwriting_secrets_moves_no_line(tmp_path) -> None:
    path = tmp_path / "stderr.log"
    path.write_text("one\npassword=hunter2 x\npassword=a\nlast\n")
    size = path.stat().st_size
    hide_secrets(path)
    text = path.read_text()
    assert path.stat().st_size == size
    assert text.splitlines()[0::3] == ["one", "last"]
    assert "hunter2" not in text
    assert "password=a" not in text


def test_long_raw_text_loses_its_middle_only(tmp_path) -> None:
    path = tmp_path / "stderr.log"
    path.write_text("".join(f"line {n}\n" for n in range(5000)))
    size = path.stat().st_size
    trim(path, most=size)
    assert path.stat().st_size == size
    trim(path, most=20_000, kept=1000)
    lines = path.read_text().splitlines()
    assert path.stat().st_size < 2100
    assert lines[0] == "line 0"
    assert lines[-1] == "line 4999"
    assert sum("bytes taken out here" in line for line in lines) == 1
    assert all(re.fullmatch(r"line \d+|\[.* bytes taken out here\]", line) for line in lines)


def test_tending_keeps_the_raw_text_of_a_running_block_short(tmp_path) -> None:
    with warnings_to(tmp_path) as log:
        for _ in range(17):
            os.write(2, b"x" * 1023 * 1024 + b"\n")
        log.tend()
        assert (tmp_path / "stderr.log").stat().st_size <= 2 * KEPT_BYTES + 100


@pytest.mark.robust
def test_a_full_disk_ends_nothing(tmp_path) -> None:
    for name in ("warnings.log", "stderr.log"):
        (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"), (tmp_path / "stderr.log").open("w") as file:
        file.write("the disk is full")
    with warnings_to(tmp_path) as log:
        warnings.warn("lost", stacklevel=1)
        logging.getLogger("lost").error("too")
        print("printed", file=sys.stderr)
        sys.stderr.flush()
        subprocess.run(["sh", "-c", "echo raw >&2"], check=False)
    assert log.total == 0
    assert log.counted.line == "0 warnings; 2 could not be written"


@pytest.mark.robust
def test_lines_are_whole_again_when_a_full_disk_has_room(full_disk) -> None:
    filler = full_disk / "filler"
    with warnings_to(full_disk / "logs") as log:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 1000):
                pass
        for n in range(WRITTEN):
            warnings.warn(f"{n} {'x' * 3000}", stacklevel=1)
            os.write(1, b"")
        filler.unlink()
        logging.getLogger("after").warning("there is room again")
        print("printed", file=sys.stderr)
    assert log.counted.lost > 0
    assert by_name(log.counted)["after"] == 1


def test_a_process_without_standard_error_can_log(tmp_path) -> None:
    script = f"exec {sys.executable} {CHILD} leave {tmp_path} thread 2>&-"
    assert subprocess.run(["sh", "-c", script], check=False, timeout=60).returncode == 0
    assert "raw before the end" in (tmp_path / "stderr.log").read_text()


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path) -> None:
    (tmp_path / "logs").write_text("a file")
    before = state()
    said = r"logs/warnings\.log .* make the folder of the run writable"
    with pytest.raises(RunError, match=said), warnings_to(tmp_path / "logs"):
        pass
    assert state() == before


def test_a_console_made_before_narrates_to_the_terminal(tmp_path, capsys) -> None:
    console = Console()
    with warnings_to(tmp_path):
        console.say("narrated")
        console.warn("kind", "told")
        print("printed", file=sys.stderr)
    assert capsys.readouterr().err == "narrated\nwarning: told\n"
    assert (tmp_path / "stderr.log").read_text() == "printed\n"


def test_the_summary_says_how_many_of_which_kind_and_where_first(tmp_path) -> None:
    with warnings_to(tmp_path) as log:
        for n in range(12):
            warnings.warn(f"tile {n}", stacklevel=1)
        np.ones(1) / np.zeros(1)
    assert log.counted.line == "13 warnings: 12 UserWarning, 1 RuntimeWarning"
    summary = [
        line[2:]
        for line in (tmp_path / "warnings.log").read_text().splitlines()
        if line.startswith("# ")
    ]
    assert summary == [log.counted.line, *log.counted.table.splitlines()]
    first = log.kinds[0]
    assert first == Kind("UserWarning", "tile 0", 12, f"{__file__}:{first.place.split(':')[-1]}")


def test_a_warning_costs_microseconds(tmp_path) -> None:
    with warnings_to(tmp_path):
        started = time.process_time()
        for n in range(5000):
            warnings.warn(f"tile {n} is empty", stacklevel=1)
        spent_s = time.process_time() - started
    assert spent_s / 5000 < 1e-3  # about 1e-5 on an idle machine
