import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from gv_train import hparams, run_names, run_record, runs
from gv_train.errors import RunError

TRAIN = """
import os, sys, time
from pathlib import Path
from gv_train import runs
run = runs.open(sys.argv[1], root=Path(sys.argv[2]))
run.start({})
if "fork" not in sys.argv or os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def trained_elsewhere(root):
    """A run that another process trains; gives the run, the process and what it printed."""
    with runs.create("roofs", name="first", root=root) as run:
        run.finish("stopped")
    started = []

    def start(*options):
        command = [sys.executable, "-c", TRAIN, "roofs/first", str(root), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return run, process, int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_started_run_has_all_folders_and_latest_points_to_it(root):
    with runs.create("roofs", root=root) as run:
        run.start({})
        run.finish("finished")
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {"run.json", "metrics", "logs", "checkpoints", "figures", "attempts"}
    assert (root / "roofs" / "latest").readlink() == Path(run.name)
    assert not run.package.exists()


def test_a_run_that_fails_before_it_starts_never_was(root):
    with runs.create("roofs", name="a", root=root) as run:
        run.start({})
        run.finish("finished")
    with pytest.raises(ZeroDivisionError), runs.create("roofs", name="b", root=root):
        raise ZeroDivisionError
    assert {path.name for path in (root / "roofs").iterdir()} == {"a", "latest"}
    assert runs.open("roofs/latest", root=root).name == "a"


def test_names_are_a_date_and_two_words(root):
    run = runs.create("roofs", root=root)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-[a-z]+-[a-z]+", run.name)
    run.finish("finished")


def test_all_words_differ():
    assert len(set(run_names.ADJECTIVES)) == 64
    assert len(set(run_names.ANIMALS)) == 64


def _create(root, name, results):
    try:
        results.put(runs.create("roofs", name=name, root=root).name)
    except RunError:
        results.put("refused")


@pytest.mark.parametrize("name", ["same", None])
def test_two_processes_never_get_the_same_folder(root, monkeypatch, name):
    drawn = iter(["calm-heron"] * 8)
    monkeypatch.setattr(run_names, "draw", lambda: next(drawn, f"keen-{os.getpid()}"))
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=_create, args=(root, name, results)) for _ in range(6)]
    for child in children:
        child.start()
    got = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    if name is None:
        assert len(set(got)) == 6
        assert "refused" not in got
    else:
        assert sorted(got) == sorted(["same"] + ["refused"] * 5)


def test_an_existing_name_is_refused_with_both_ways_out(root):
    run = runs.create("roofs", name="first", root=root)
    with pytest.raises(RunError, match=r"exists already.*--resume first.*--run NAME"):
        runs.create("roofs", name="first", root=root)
    run.finish("finished")


@pytest.mark.parametrize("name", ["../up", "a/b", "latest", "best", ".hidden", "", "a b"])
def test_a_name_that_is_not_plain_is_refused(root, name):
    with pytest.raises(RunError, match="cannot name"):
        runs.create("roofs", name=name, root=root)


def test_a_run_is_found_by_latest_name_beginning_words_and_path(root):
    for name in ["2026-11-20-calm-heron", "2026-11-21-keen-otter"]:
        run = runs.create("roofs", name=name, root=root)
        run.start({})
        run.finish("finished")
    calm, keen = root / "roofs/2026-11-20-calm-heron", root / "roofs/2026-11-21-keen-otter"
    assert runs.open("latest", project="roofs", root=root).folder == keen
    assert runs.open("roofs/latest", root=root).folder == keen
    assert runs.open("2026-11-20-calm-heron", root=root).folder == calm
    assert runs.open("2026-11-20", project="roofs", root=root).folder == calm
    assert runs.open("keen", root=root).folder == keen
    assert runs.open(calm, root=root).folder == calm.resolve()
    assert runs.open(root / "roofs" / "latest").name == keen.name


def test_latest_is_the_run_started_last_also_by_resuming(root):
    runs.create("roofs", name="a", root=root).finish("stopped")
    runs.create("roofs", name="b", root=root).finish("finished")
    with runs.open("a", root=root) as run:
        run.start({})
        run.finish("finished")
    assert runs.open("roofs/latest", root=root).name == "a"
    assert (root / "roofs" / "latest").readlink() == Path("a")


def test_an_unclear_or_unknown_reference_says_what_there_is(root):
    for name in ["2026-11-20-calm-heron", "2026-11-20-keen-otter"]:
        runs.create("roofs", name=name, root=root).finish("finished")
    with pytest.raises(RunError, match=r"fits 2 runs.*calm-heron"):
        runs.open("2026-11", root=root)
    with pytest.raises(RunError, match="did you mean 2026-11-20-keen-otter"):
        runs.open("2026-11-20-keen-oter", root=root)
    with pytest.raises(RunError, match="there are 0 runs"):
        runs.open("latest", project="fields", root=root)


def test_the_root_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOVISION_RUNS", str(tmp_path / "elsewhere"))
    run = runs.create("roofs")
    assert run.folder.parent == tmp_path / "elsewhere" / "roofs"
    run.finish("finished")
    monkeypatch.delenv("GEOVISION_RUNS")
    assert runs.default_root() == Path("runs")


def test_a_damaged_run_does_not_hide_the_others(root):
    for name in ["a", "b"]:
        runs.create("roofs", name=name, root=root).finish("finished")
    (root / "roofs/b/run.json").write_text('{"schema": 1, "na')
    with pytest.warns(UserWarning, match="is damaged"):
        assert [run.name for run in runs.find("roofs", root=root)] == ["a"]


def test_a_newer_record_is_refused(root):
    run = runs.create("roofs", name="a", root=root)
    record = json.loads((run.folder / "run.json").read_text()) | {"schema": 99, "mood": "good"}
    run.finish("finished")
    (run.folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"schema 99.*update gv-train"):
        runs.open(run.folder)


def test_a_run_in_training_is_refused_to_others_until_it_is_killed(trained_elsewhere):
    run, process, _ = trained_elsewhere()
    assert run.status == "running"
    with pytest.raises(
        RunError, match=rf"process {process.pid} on {socket.gethostname()} since 20"
    ):
        run.start({})
    process.kill()
    process.wait()
    assert run.status == "lost"
    assert run.start({}) == 2
    assert run.status == "running"
    run.finish("finished")
    assert run.status == "finished"


def test_a_forked_worker_does_not_keep_the_lock_of_a_killed_parent(trained_elsewhere):
    run, process, worker = trained_elsewhere("fork")
    process.kill()
    process.wait()
    try:
        run.start({})
        run.finish("finished")
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_silent_process_on_another_host_counts_as_lost(root):
    run = runs.create("roofs", root=root)
    run.finish("stopped")
    elsewhere = replace(run.record, status="running", host="elsewhere")
    run_record.write(run.folder, elsewhere)
    assert run.status == "running"
    run_record.write(run.folder, replace(elsewhere, heartbeat="2026-01-01T00:00:00+00:00"))
    assert run.status == "lost"


def test_the_heart_beats_and_tells_the_step(root, monkeypatch):
    monkeypatch.setattr(run_record, "BEAT_S", 0.02)
    with runs.create("roofs", root=root) as run:
        run.start({})
        run.beat(step=7, metrics={"val_iou": 0.5})
        run.beat(step=8, metrics={"loss": 0.25})
        deadline = time.monotonic() + 10
        while run_record.read(run.folder).step != 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        seen = run_record.read(run.folder)
        assert (seen.step, seen.metrics) == (8, {"val_iou": 0.5, "loss": 0.25})
        run.finish("finished", {"iou": 0.75}, next_command="urbanvision predict package SCENE")
    last = run_record.read(run.folder)
    assert (last.status, last.metrics) == ("finished", {"iou": 0.75})
    assert last.next_command == "urbanvision predict package SCENE"


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "stopped"), (OSError, "failed")])
def test_leaving_early_says_how_it_ended(root, error, status):
    run = runs.create("roofs", root=root)
    run.start({})
    with pytest.raises(error), run:
        raise error
    assert run.status == status


@dataclass(frozen=True)
class Experiment:
    data: Path
    bands: tuple[int, ...] = (1, 2, 3)
    hub_token: str = "canary-field"
    network: object = None


def test_hparams_repeat_the_run_and_each_attempt_keeps_its_own(root):
    run = runs.create("roofs", root=root)
    run.start(Experiment(Path("maps")), seed=5, argv=["train", "buildings"])
    run.finish("stopped")
    run.start(Experiment(Path("maps"), bands=(4,), network=threading.Event()), seed=6)
    run.finish("finished")
    first, second = (
        yaml.safe_load((run.folder / f"attempts/000{n}/hparams.yaml").read_text()) for n in (1, 2)
    )
    assert (first["seed"], first["config"]["bands"], first["argv"][0]) == (5, [1, 2, 3], "train")
    assert (second["config"]["bands"], second["config"]["network"]) == ([4], "threading.Event")
    assert yaml.safe_load((run.folder / "hparams.yaml").read_text()) == second
    assert first["versions"]["gv-train"]


def test_no_secret_enters_the_folder(root):
    config = Experiment(Path("https://ann:canary-user@maps.org/x?X-Amz-Signature=canary-query"))
    argv = [
        "train",
        "--token",
        "canary-next",
        "--hub-token=canary-same",
        "--data",
        str(config.data),
    ]
    with runs.create("roofs", root=root) as run:
        run.start({"experiment": config, "header": "Bearer canary-bearer"}, argv=argv)
        run.finish("finished")
    written = "".join(f.read_text() for f in run.folder.rglob("*") if f.is_file())
    assert "canary" not in written
    assert "--hub-token=***" in written
    assert "maps.org" in written


def test_readers_never_see_half_a_record_or_no_latest(root):
    run = runs.create("roofs", name="a", root=root)
    run.start({})
    done = threading.Event()

    def rewrite():
        for step in range(100):
            run.beat(step=step)
            run._write(None)
            runs._point_latest(run.folder)
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    while not done.is_set():
        assert run_record.read(root / "roofs" / "latest").name == "a"
    writer.join()
    run.finish("finished")


def test_looking_at_runs_does_not_import_torch():
    code = "import sys, gv_train.runs; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_run_that_never_started_has_nothing_to_go_on_with(tmp_path):
    with pytest.raises(RunError, match="was never started"):
        hparams.read_config(tmp_path / "hparams.yaml")
    (tmp_path / "hparams.yaml").write_text("seed: 1\n")
    with pytest.raises(RunError, match="does not hold a configuration"):
        hparams.read_config(tmp_path / "hparams.yaml")
