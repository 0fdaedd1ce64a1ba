"""What ``train buildings`` does beside training: one small run, used in every other way."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import shapely
import torch

from gv_data.terminal.command import run
from gv_train import metric_log
from urbanvision.cli import FAMILY

SHORT = (
    *("--trainer.max-steps", "3", "--trainer.epoch-windows", "4", "--trainer.workers", "0"),
    *("--window-px", "64", "--weights", "none", "--no-check"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def command(home, capsys, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """Runs a command where the run is; gives exit code, answer and narration."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(*words: str | Path) -> tuple[int, str, str]:
        code = run("urbanvision", FAMILY, [str(word) for word in words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


@pytest.fixture
def data(home, scene, labels) -> tuple[str, ...]:
    """Words that name an image and its roofs; the same files for all tests."""
    image, roofs = home / "town.tif", home / "roofs.gpkg"
    if not image.exists():
        boxes = [
            shapely.box(x, y, x + 12, y + 12)
            for x in range(500_010, 500_300, 30)
            for y in range(8_999_700, 8_999_990, 30)
        ]
        scene(side=640).rename(image)
        labels("roofs.gpkg", boxes).rename(roofs)
    return "--image", str(image), "--labels", str(roofs)


@pytest.fixture
def trained(home, command, data) -> Path:
    """A run that was fitted, not tested."""
    folder = home / "runs/buildings/first"
    if not folder.exists():
        words = ("--run", "first", "--mode", "fit", "--profiler", "simple")
        code, _, said = command("train", "buildings", *data, *SHORT, *words)
        assert code == 0, said
    return folder


def test_fit_leaves_a_package_and_names_the_test(trained) -> None:
    record = json.loads((trained / "run.json").read_text())
    assert record["status"] == "finished"
    assert (trained / "package" / "weights.safetensors").exists()
    assert record["next_command"].endswith("train buildings --mode test --run first")
    assert not any(name.startswith("test_") for name in record["metrics"])


def test_the_profile_is_in_the_logs(trained) -> None:
    (report,) = trained.glob("logs/*profile-simple*")
    assert "run_training_batch" in report.read_text()


def test_validate_gives_the_values_of_the_best_validation(command, trained) -> None:
    code, out, said = command("train", "buildings", "--mode", "validate", "--json")
    assert code == 0, said
    values = json.loads(out)
    recorded = json.loads((trained / "run.json").read_text())["metrics"]
    for name in ("val_iou", "val_precision", "val_recall", "val_threshold"):
        assert values[name] == pytest.approx(recorded[name], abs=1e-6)


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_test_judges_the_weights_that_are_asked_for(command, trained, checkpoint) -> None:
    words = ("--mode", "test", "--run", "first", "--checkpoint", checkpoint, "--json")
    code, out, said = command("train", "buildings", *words)
    assert code == 0, said
    values = json.loads(out)
    assert {"val_iou", "val_precision", "val_recall", "val_object_f1"} <= set(values)
    assert values["checkpoint"].endswith(f"{checkpoint}.ckpt")


def test_predict_maps_the_images(command, trained) -> None:
    words = ("--mode", "predict", "--run", "first", "--out", "mapped")
    code, _, said = command("train", "buildings", *words)
    assert code == 0, said
    assert {file.suffix for file in Path("mapped").iterdir()} == {
        ".tif",
        ".parquet",
        ".gpkg",
        ".png",
    }


def test_a_new_run_begins_with_the_weights_of_a_file(command, trained, data, home) -> None:
    file = trained / "checkpoints" / "best.ckpt"
    words = ("--run", "second", "--mode", "fit", "--checkpoint", str(file), "--trainer.lr", "1e-9")
    code, _, said = command("train", "buildings", *data, *SHORT, *words)
    assert code == 0, said
    now, then = (
        torch.load(home / f"runs/buildings/{name}/checkpoints/best.ckpt", weights_only=True)
        for name in ("second", "first")
    )
    weights = [name for name in then["state_dict"] if name.endswith("conv.weight")]
    assert all(
        torch.allclose(now["state_dict"][name], then["state_dict"][name], atol=1e-6)
        for name in weights
    )


def test_a_dry_run_leaves_nothing(command, data, home) -> None:
    before = set(home.rglob("*"))
    code, out, said = command("train", "buildings", *data, *SHORT, "--dry-run")
    assert code == 0, said
    assert "3 optimizer steps" in out
    assert "nothing was written" in out
    assert set(home.rglob("*")) == before


def test_a_learning_rate_is_proposed_and_drawn(command, data, home) -> None:
    code, out, said = command("train", "buildings", *data, *SHORT, "--find-lr", "--json")
    assert code == 0, said
    found = json.loads(out)
    assert 1e-6 < found["proposed"] < 1
    assert (home / found["picture"]).stat().st_size > 5_000
    assert f"--trainer.lr {found['proposed']:.2g}" in found["next"]


def test_reset_trains_anew_under_the_same_name(command, data, home) -> None:
    words = ("train", "buildings", *data, *SHORT, "--mode", "fit", "--run", "again")
    assert command(*words)[0] == 0
    code, _, said = command(*words)
    assert (code, "exists already" in said) == (2, True)
    code, _, said = command(*words, "--reset")
    assert code == 0, said
    assert json.loads((home / "runs/buildings/again/run.json").read_text())["attempt"] == 1


def test_reset_deletes_no_folder_that_is_not_ours(command, data, home) -> None:
    folder = home / "runs/buildings/photos"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.jpg").write_text("precious")
    words = ("train", "buildings", *data, *SHORT, "--run", "photos", "--reset")
    code, _, said = command(*words)
    assert (code, "is not a run" in said) == (2, True)
    assert (folder / "a.jpg").read_text() == "precious"


@pytest.mark.parametrize("log", ["arrow", "hdf5"])
def test_other_logs_hold_the_same_rows(command, data, home, log) -> None:
    words = ("--mode", "fit", "--run", f"in-{log}", "--trainer.log", log)
    code, _, said = command("train", "buildings", *data, *SHORT, *words)
    assert code == 0, said
    rows = metric_log.read(home / f"runs/buildings/in-{log}/metrics")
    losses = [row for row in rows if (row.split, row.kind, row.name) == ("train", "step", "loss")]
    assert [row.step for row in losses] == [1, 2, 3]
    assert any(row.name == "iou" for row in rows)


def test_an_average_is_validated_beside_the_weights(command, data, home) -> None:
    words = ("--mode", "fit", "--run", "averaged", "--average.mode", "ema")
    code, _, said = command("train", "buildings", *data, *SHORT, *words)
    assert code == 0, said
    rows = metric_log.read(home / "runs/buildings/averaged/metrics")
    assert {"iou", "avg_iou"} <= {row.name for row in rows if row.split == "val"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--run", "a", "--resume", "b"), "a run is new or goes on"),
        (("--mode", "test", "--resume"), "takes the run from --run"),
        (("--reset",), "--reset deletes the run that --run names"),
        (("--out", "maps"), "--out is for --mode predict"),
        (("--checkpoint", "best"), "needs a run"),
        (("--mode", "test", "--dry-run"), "--dry-run is for --mode train and fit"),
        (("--mode", "test", "--run", "nowhere"), "no run nowhere"),
        (("--checkpoint", "nowhere.ckpt"), "nowhere.ckpt is not there"),
        (("--trainer.strategy", "fsdp"), "give --trainer.devices"),
        (("--schedule.warmup", "soon"), "warmup"),
        (("--average.decay", "1"), "decay 1"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_no_run(
    command, data, home, words, message
) -> None:
    before = set((home / "runs").rglob("*"))
    given = () if "--mode" in words else (*data, *SHORT)
    code, _, said = command("train", "buildings", *given, *words)
    assert (code, message in said) == (2, True), said
    assert set((home / "runs").rglob("*")) == before
