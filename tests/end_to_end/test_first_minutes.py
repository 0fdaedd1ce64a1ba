"""What a newcomer does: train with nothing, run the command it prints, judge the map, export."""

import json
import shlex
from pathlib import Path

import geopandas as gpd
import pytest

SHORT = ("--trainer.max-steps", "6", "--trainer.epoch-windows", "12", "--trainer.workers", "0")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shell) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("first minutes")
    return folder, shell(folder, "train", "buildings", *SHORT).stdout


def test_ends_with_the_verdict_and_the_next_command(trained) -> None:
    folder, out = trained
    lines = out.splitlines()
    assert lines[0].startswith("IoU ")
    assert "F1 at IoU 0.5" in lines[0]
    record = json.loads((folder / "runs/buildings/latest/run.json").read_text())
    assert record["status"] == "finished"
    assert {"test_iou", "test_object_f1", "val_iou"} <= set(record["metrics"])
    figures = {path.name for path in (folder / "runs/buildings/latest/figures").iterdir()}
    assert figures == {"batch_train.jpg", "predictions.jpg", "curves.png"}


def test_the_printed_command_runs_as_printed(trained, shell) -> None:
    folder, out = trained
    command = shlex.split(out.splitlines()[-1].removeprefix("next").strip())
    assert command[-2:] == ["--out", "maps"]
    start = next(n for n, word in enumerate(command) if word.endswith("urbanvision"))
    shell(folder, "urbanvision", *command[start + 1 :])
    stem = Path(command[-3]).stem
    names = {path.name for path in (folder / "maps").iterdir()}
    assert names == {
        f"{stem}.probability.tif",
        f"{stem}.buildings.parquet",
        f"{stem}.buildings.gpkg",
        f"{stem}.preview.png",
    }
    scene = folder / command[-3]
    truth = scene.with_suffix(".buildings.gpkg")
    mapped = folder / "maps" / f"{stem}.buildings.parquet"
    words = ["--truth", str(truth), "--scene", str(scene), "--json", "scores.json"]
    shell(folder, "urbanvision", "evaluate", str(mapped), *words)
    scores = json.loads((folder / "scores.json").read_text())
    assert {"iou", "precision", "recall", "object_f1"} <= set(scores)
    assert gpd.read_parquet(mapped).geometry.is_valid.all()
    again = shell(folder, "urbanvision", *command[start + 1 :], code=2)
    assert "--overwrite" in again.stderr


def test_the_package_becomes_onnx(trained, shell) -> None:
    folder, _ = trained
    out = shell(folder, "urbanvision", "export", "runs/buildings/latest/package").stdout
    assert "same probabilities within" in out
