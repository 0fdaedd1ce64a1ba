"""``gv-train list``, ``rm``, ``size`` and ``note``, as people type them."""

import io
import json
import math
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gv_data.terminal.command import run as run_command
from gv_train import disk_use, run_note, run_record, runs
from gv_train.cli import FAMILY
from gv_train.errors import RunError
from gv_train.run_record import Best, RunRecord

HEAVY = {"torch", "lightning", "numpy", "rasterio", "pyarrow", "yaml", "matplotlib", "duckdb"}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOVISION_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def command(capsys):
    """Runs ``gv-train`` and gives its exit code, answer and narration."""

    def told(*words):
        code = run_command("gv-train", FAMILY, [str(word) for word in words])
        out = capsys.readouterr()
        return code, out.out, out.err

    return told


@pytest.fixture
def make(root):
    """Makes the folder of a run as a training leaves it; gives the folder."""

    def one(name, project="roofs", *, best=None, day=1, **fields):
        folder = root / project / name
        for part in ("checkpoints", "figures", "logs", "metrics", "package"):
            (folder / part).mkdir(parents=True)
        time = f"2026-11-{day:02d}T10:00:00.000+00:00"
        judged = None if best is None else Best("val_iou", best, 40)
        record = RunRecord(project, name, time, "finished", 1, time, time, best=judged)
        run_record.write(folder, replace(record, **fields))
        return folder

    return one


@pytest.fixture
def live(root):
    """A run that another process trains."""
    script = (
        "import time; from gv_train import runs\n"
        "run = runs.create('roofs', name='live'); run.start({}); print(flush=True)\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield root / "roofs" / "live"
    process.kill()
    process.communicate()


def du(folder):
    """Bytes that ``du`` counts, once the file system has decided where the files go."""
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            with file.open("rb") as opened:
                os.fsync(opened)
    return int(subprocess.check_output(["du", "-s", "-B1", folder], text=True).split()[0])


def names(folder):
    return {path.name for path in folder.iterdir()}


def lines(text):
    return [line.split() for line in text.splitlines()]


def test_runs_are_listed_with_the_one_started_last_on_top(command, make):
    make("old", day=1, best=0.5, step=400, epochs=10, heartbeat="2026-11-01T11:02:03.000+00:00")
    make("new", "fields", day=3, status="failed", step=1234)
    make("mid", day=2, status="running", host="elsewhere", pid=1)
    code, told, err = command("list")
    assert code == 0
    head, *rows = lines(told)
    assert head == ["run", "status", "epochs", "steps", "best", "started", "took"]
    assert [row[:2] for row in rows] == [
        ["fields/new", "failed"],
        ["roofs/mid", "lost"],
        ["roofs/old", "finished"],
    ]
    assert rows[0][2:5] == ["-", "1,234", "-"]
    assert rows[2][2:8] == ["10", "400", "val_iou", "0.5000", "at", "40"]
    assert rows[2][-4:] == ["1", "h", "02", "min"]
    assert "train roofs --resume mid" in err


def test_the_list_can_be_cut_to_a_project_a_status_and_a_number(command, make):
    for day in (1, 2, 3):
        make(f"r{day}", day=day, status="stopped" if day == 2 else "finished")
    make("f", "fields", day=4)
    assert [row[0] for row in lines(command("list", "roofs")[1])[1:]] == [
        "roofs/r3",
        "roofs/r2",
        "roofs/r1",
    ]
    assert [row[0] for row in lines(command("list", "--status", "stopped")[1])[1:]] == ["roofs/r2"]
    told = command("list", "--limit", "2")[1]
    assert [row[0] for row in lines(told)[1:3]] == ["fields/f", "roofs/r3"]
    assert "2 older" in told
    code, _, err = command("list", "--status", "dead")
    assert (code, "not one of running, finished" in err) == (2, True)


def test_scripts_read_the_list_as_it_was_written(command, make):
    folder = make("a", best=0.75, step=9, epochs=2, metrics={"val_iou": 0.7}, spent_s=60.0)
    run_note.write(folder, "two\nlines")
    code, told, _ = command("list", "--json")
    [run] = json.loads(told)["runs"]
    assert code == 0
    assert run["best"] == {"monitor": "val_iou", "value": 0.75, "step": 40, "mode": "max"}
    assert (run["steps"], run["epochs"], run["duration_s"], run["note"]) == (9, 2, 60, "two\nlines")
    assert Path(run["folder"]) == folder


def test_a_damaged_run_or_note_hides_no_other(command, make):
    make("a")
    (make("b") / "run.json").write_text('{"schema": 1, "na')
    (make("c") / "run.json").write_text('{"schema": 2, "project": "roofs"}')
    (make("d") / "note.txt").write_bytes(b"\xff\xfe\xff")
    record = json.loads((make("e") / "run.json").read_text())
    (make("e2") / "run.json").write_text(json.dumps({**record, "heartbeat": "yesterday"}))
    code, told, _ = command("list", "--json")
    answer = json.loads(told)
    assert code == 3
    assert {run["name"] for run in answer["runs"]} == {"a", "d", "e"}
    assert len(answer["damaged"]) == 4
    code, told, _ = command("list")
    assert (code, "4 could not be read" in told) == (3, True)
    assert command("size")[0] == 3


def test_no_run_and_no_such_project_are_told_apart(command, make):
    assert command("list")[:2] == (0, "no run\n")
    make("a")
    code, _, err = command("list", "rofs")
    assert code == 2
    assert "did you mean roofs?" in err
    assert command("list", "/nowhere")[0] == 2


def test_links_and_what_is_being_deleted_are_no_runs(command, make, root):
    folder = make("a")
    (root / "roofs" / "latest").symlink_to("a")
    folder.with_name("b").mkdir()
    make(".a.12345678.deleted")
    assert len(json.loads(command("list", "--json")[1])["runs"]) == 1


def test_a_thousand_runs_are_listed_within_a_second_of_processor_time(root, make, imported):
    for number in range(1000):
        folder = root / f"p{number % 5}" / f"run-{number}"
        folder.mkdir(parents=True)
        record = RunRecord(folder.parent.name, folder.name, "2026-11-01T10:00:00.000+00:00")
        (folder / "run.json").write_text(json.dumps(vars(record.alive())))
        (folder / "note.txt").write_text("larger windows")
    tries = [imported("gv_train.cli:main", "gv-train", "list") for _ in range(3)]
    assert {code for _, code, _ in tries} == {0}
    assert not tries[0][0] & HEAVY
    assert min(seconds for *_, seconds in tries) < 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--help",), 0),
        (("list", "--help"), 0),
        (("note", "--help"), 0),
        (("size", "--help"), 0),
        (("rm", "--help"), 0),
        (("doctor", "--help"), 0),
        (("lst",), 2),
        (("rm", "nothing"), 2),
    ],
)
def test_answers_at_once_without_importing_anything_heavy(imported, root, words, code):
    tries = [imported("gv_train.cli:main", "gv-train", *words) for _ in range(3)]
    assert {one[1] for one in tries} == {code}
    assert not tries[0][0] & HEAVY
    assert min(one[2] for one in tries) < 0.5


def test_the_best_run_is_the_one_whose_best_validation_is_better(make, root):
    make("a", best=0.6, day=3)
    make("b", best=0.8, day=1)
    make("c", best=math.nan, day=4)
    make("d", day=5)
    assert runs.open("best", project="roofs").name == "b"
    assert runs.open("roofs/best").name == "b"
    for name, value in (("x", 0.3), ("y", 0.1)):
        record = run_record.read(make(name, "fields"))
        loss = Best("val_loss", value, 5, "min")
        run_record.write(root / "fields" / name, replace(record, best=loss))
    assert runs.open("fields/best").name == "y"
    with pytest.raises(RunError, match=r"val_iou, val_loss cannot be compared.*PROJECT/best"):
        runs.open("best")
    make("z", "crops")
    with pytest.raises(RunError, match="none of 1 runs says how good it is"):
        runs.open("crops/best")


def test_a_record_of_the_version_before_and_one_with_more_in_it_are_read(make):
    folder = make("a")
    record = json.loads((folder / "run.json").read_text())
    for name in ("epochs", "best", "spent_s"):
        del record[name]
    (folder / "run.json").write_text(json.dumps(record | {"schema": 1}))
    assert run_record.read(folder).best is None
    more = {"best": {"monitor": "f1", "value": 1, "step": 2, "mode": "max", "place": "x"}}
    (folder / "run.json").write_text(json.dumps(record | more | {"mood": "good"}))
    assert run_record.read(folder).best == Best("f1", 1, 2)


def test_the_time_of_all_attempts_is_added_up(root, monkeypatch):
    moments = iter(range(100))
    monkeypatch.setattr(run_record, "now", lambda: f"2026-11-01T10:{next(moments):02d}:00+00:00")
    run = runs.create("roofs", name="a")
    run.start({})
    run.finish("stopped")
    first = run_record.read(run.folder).duration_s
    run.start({})
    run.finish("finished")
    record = run_record.read(run.folder)
    assert first == 120  # the clock moves a minute at each look: start, first beat, last beat
    assert record.spent_s == first
    assert record.duration_s == 2 * first


def test_a_training_tells_the_run_its_best_validation(root):
    from lightning.pytorch.profilers import PassThroughProfiler

    from gv_train.clock import Clock
    from gv_train.profilers import Waiting
    from gv_train.pulse import Pulse

    run = runs.create("roofs", name="a")
    run.start({})
    waiting = Waiting(PassThroughProfiler())
    pulse = Pulse(run, None, Clock(steps=40, minutes=None), waiting, "val_x")
    for step, value in ((10, 0.5), (20, 0.7), (30, 0.3)):
        trainer: Any = SimpleNamespace(callback_metrics={"val_x": value}, global_step=step)
        pulse.on_validation_end(trainer, trainer)
    run.finish("finished")
    assert run_record.read(run.folder).best == Best("val_x", 0.7, 20, "max")


def test_a_run_is_deleted_with_its_link_and_the_freed_space_is_told(command, make, root):
    folder = make("a", day=2)
    (folder / "checkpoints" / "last.ckpt").write_bytes(os.urandom(300_000))
    (root / "roofs" / "latest").symlink_to("a")
    make("b")
    size = du(folder)
    code, told, _ = command("rm", "latest", "roofs/a", "--yes", "--json")
    answer = json.loads(told)
    assert (code, answer["bytes"], answer["refused"]) == (0, size, [])
    assert names(root / "roofs") == {"b"}


def test_nothing_is_deleted_if_one_of_the_runs_must_stay(command, make, live, root):
    make("a")
    outside = root.parent / "photos"
    outside.mkdir()
    (outside / "a.tif").write_text("precious")
    for other in ("live", outside, "no-such-run"):
        code, told, _ = command("rm", "roofs/a", other, "--yes")
        assert (code, told) == (2, "")
    assert "is being trained" in command("rm", "live", "--yes")[2]
    assert (outside / "a.tif").exists()
    assert {"a", "live"} <= names(root / "roofs")


def test_a_run_that_lives_on_another_machine_stays(command, make):
    make("a", status="running", host="elsewhere", heartbeat=run_record.now())
    code, _, err = command("rm", "a", "--yes")
    assert (code, "is being trained" in err) == (2, True)
    with pytest.raises(RunError, match="on elsewhere: stop it there"):
        runs.delete(runs.open("a"))


def test_without_a_terminal_deleting_wants_yes(command, make, monkeypatch):
    folder = make("a")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    code, told, err = command("rm", "a")
    assert (code, told) == (2, "")
    assert "add --yes" in err
    assert folder.exists()


@pytest.mark.parametrize(("said", "stays"), [("n\n", True), ("", True), ("y\n", False)])
def test_at_a_terminal_the_person_is_asked_once(command, make, monkeypatch, said, stays):
    folders = [make("a"), make("b")]
    terminal = io.StringIO(said)
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    code, told, err = command("rm", "a", "b")
    assert code == 0
    assert err.count("[y/N]") == 1
    assert [folder.exists() for folder in folders] == [stays, stays]
    assert ("nothing was deleted" in told) == stays


def test_only_the_checkpoints_of_finished_runs_can_go(command, make):
    done, stopped = make("done"), make("stopped", status="stopped")
    for folder in (done, stopped):
        for part in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "package/model.json"):
            (folder / part).write_bytes(bytes(10_000))
    code, _, err = command("rm", "done", "stopped", "--checkpoints", "--yes")
    assert (code, "it goes on from" in err) == (2, True)
    before = du(done / "checkpoints")
    code, told, _ = command("rm", "done", "--checkpoints", "--yes", "--json")
    assert code == 0
    assert json.loads(told)["bytes"] == before - du(done / "checkpoints") > 20_000
    assert names(done / "checkpoints") == set()
    assert (done / "package" / "model.json").exists()
    assert (stopped / "checkpoints" / "last.ckpt").exists()
    with pytest.raises(RunError, match="is stopped: it goes on from its checkpoints"):
        runs.delete_checkpoints(runs.open("stopped"))


def test_a_dry_run_deletes_nothing(command, make):
    folder = make("a")
    code, told, _ = command("rm", "a", "--dry-run", "--json")
    answer = json.loads(told)
    assert (code, answer["deleted"]) == (0, [])
    assert answer["would_delete"] == [str(folder)]
    assert folder.exists()


def test_a_run_that_cannot_be_deleted_is_told_and_the_others_go(command, make, monkeypatch):
    kept, gone = make("kept"), make("gone")
    rename = Path.rename

    def refuse(path, target):
        if path.name == "kept":
            raise PermissionError(13, "not permitted", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    code, told, _ = command("rm", "kept", "gone", "--yes", "--json")
    answer = json.loads(told)
    assert code == 3
    assert answer["deleted"] == [str(gone)]
    assert "not permitted" in answer["refused"][0]
    assert kept.exists()


def test_sizes_are_those_of_du_by_part_the_largest_first(command, make):
    small, large = make("small"), make("large")
    for n, part in enumerate(disk_use.PARTS):
        (large / part).mkdir(exist_ok=True)
        (large / part / "file").write_bytes(os.urandom(5_000 * (n + 1)))
    (large / "checkpoints" / "again").hardlink_to(large / "checkpoints" / "file")
    (large / "checkpoints" / "link").symlink_to("/usr")
    parts = {part: du(large / part) for part in disk_use.PARTS}
    totals = [du(large), du(small)]
    code, told, _ = command("size", "--json")
    answer = json.loads(told)
    assert code == 0
    assert [run["name"] for run in answer["runs"]] == ["large", "small"]
    assert [run["bytes"] for run in answer["runs"]] == totals
    assert [sum(run["parts"].values()) for run in answer["runs"]] == totals
    assert answer["runs"][0]["parts"] | parts == answer["runs"][0]["parts"]
    table = lines(command("size", "roofs", "--limit", "1")[1])
    assert table[0] == ["run", "status", "total", *disk_use.PARTS, "other"]
    assert [row[0] for row in table[1:]] == ["roofs/large", "2"]


def test_a_note_is_kept_shown_and_removed(command, make):
    folder = make("2026-11-01-calm-heron")
    assert command("note", "calm", "larger windows,", "same seed")[0] == 0
    assert (folder / "note.txt").read_text() == "larger windows, same seed\n"
    assert command("note", "calm")[1] == "roofs/2026-11-01-calm-heron: larger windows, same seed\n"
    assert "larger windows, same seed" in command("list")[1]
    command("note", "calm", "x " * 100)
    assert command("list")[1].splitlines()[1].endswith("x...")
    assert command("note", "calm", "")[1].endswith("has no note\n")
    assert not (folder / "note.txt").exists()
    assert "note" not in command("list")[1]
    assert command("note", "nobody", "x")[0] == 2


def test_a_note_and_a_heartbeat_do_not_undo_each_other(root):
    run = runs.create("roofs", name="a")
    run.start({})
    done = threading.Event()

    def write_notes():
        other = runs.open("a")
        for n in range(40):
            run_note.write(other.folder, f"note {n}")
            assert other.note == f"note {n}"
        done.set()

    writer = threading.Thread(target=write_notes)
    writer.start()
    step = 0
    while not done.is_set():
        step += 1
        run.beat(step=step)
        run._write(None)
    writer.join()
    assert run_record.read(run.folder).step == step
    run.finish("finished")
    assert runs.open("a").note == "note 39"
