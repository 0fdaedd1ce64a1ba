"""The guide on real imagery, shortened: two places to learn from, another to validate on."""

import json
from pathlib import Path

import pytest

BUILDINGS = Path(__file__).parents[3] / "shared" / "data" / "buildings"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not BUILDINGS.is_dir(), reason=f"no real imagery in {BUILDINGS.name}/"),
]
SHORT = ("--trainer.max-steps", "4", "--trainer.epoch-windows", "8", "--trainer.workers", "0")


def test_the_guide_runs(tmp_path, shell) -> None:
    places = {
        "zanzibar": BUILDINGS / "zanzibar",
        "banepa_tiles": BUILDINGS / "banepa_tiles" / "images",
        "banepa": BUILDINGS / "banepa",
    }
    for n, (place, images) in enumerate(places.items()):
        labels = str(BUILDINGS / place / "labels.geojson")
        words = ["--labels", labels, "--place", place, "--out", "catalogs/oam"]
        shell(tmp_path, "gv-data", "index", str(images), *words, *["--append"][: min(n, 1)])
    labelled = BUILDINGS / "banepa_tiles" / "split_train_labelled.txt"
    trained = shell(
        tmp_path,
        *("train", "buildings", "--data", "catalogs/oam", "--table", f"labelled={labelled}"),
        "--train-where",
        "place = 'zanzibar' OR parse_filename(image) IN (SELECT f0 FROM labelled)",
        *("--val-where", "place = 'banepa'", "--gsd-m", "0.15", *SHORT),
    )
    assert "train 54 images" in trained.stderr
    scenes = [str(BUILDINGS / "banepa" / name) for name in ("z21_a.tif", "z21_b.tif")]
    package = "runs/buildings/latest/package"
    shell(tmp_path, "urbanvision", "predict", package, *scenes, "--out", "maps")
    maps = [f"maps/{Path(scene).stem}.buildings.parquet" for scene in scenes]
    truth = str(BUILDINGS / "banepa" / "labels.geojson")
    words = ["--truth", truth, "--scene", *scenes, "--json", "scores.json"]
    shell(tmp_path, "urbanvision", "evaluate", *maps, *words)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert 0 <= scores["iou"] <= 1


def test_one_orthophoto_is_enough(tmp_path, shell) -> None:
    scene, labels = BUILDINGS / "zanzibar" / "z20_a.tif", BUILDINGS / "zanzibar" / "labels.geojson"
    words = ["--image", str(scene), "--labels", str(labels), *SHORT]
    trained = shell(tmp_path, "train", "buildings", *words)
    assert "split into blocks" in trained.stderr
    assert trained.stdout.startswith("IoU ")
