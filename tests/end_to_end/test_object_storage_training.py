"""From files in a bucket to a trained model: catalog, labels and images stay there."""

import json
from pathlib import Path

import pytest

from gv_data.cli import FAMILY
from gv_data.locations import located
from gv_data.synthetic.files import save
from gv_data.synthetic.town import town
from gv_data.terminal.command import run

SHORT = (
    "--trainer.max-steps", "2", "--trainer.epoch-windows", "4", "--trainer.batch-size", "2",
    "--window-px", "64", "--gsd-m", "0.5", "--weights", "none",
)  # fmt: skip
WHERE = ("--train-where", "place = 'a'", "--val-where", "place = 'b'")

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # sockets of the server and of botocore
    "ignore:datetime.datetime.utc:DeprecationWarning",
)


@pytest.fixture
def towns(bucket, tmp_path) -> str:
    """Two towns in a bucket: images and roofs."""
    for seed, name in ((3, "a"), (4, "b")):
        made = save(town(seed, size_px=256), tmp_path / "towns", nir=False, stem=name)
        for file in (made.image, made.buildings):
            located(f"s3://{bucket}/{name}/{file.name}").write_bytes(file.read_bytes())
    return f"s3://{bucket}"


def test_a_model_is_trained_from_a_bucket(towns, shell, tmp_path):
    catalog = f"{towns}/catalog"
    for name in ("a", "b"):
        image, roofs = f"{towns}/{name}/{name}.tif", f"{towns}/{name}/{name}.buildings.gpkg"
        words = ["index", image, "--labels", roofs, "--place", name, "--out", catalog, "--append"]
        assert run("gv-data", FAMILY, words) == 0
    assert run("gv-data", FAMILY, ["check", catalog]) == 0
    words = ("--data", catalog, *WHERE, *SHORT, "--trainer.workers", "1")
    told = shell(tmp_path, "train", "buildings", *words)
    made = tmp_path / "runs/buildings/latest"
    assert json.loads((made / "run.json").read_text())["status"] == "finished"
    assert (made / "package" / "weights.safetensors").is_file()
    assert "a-secret-of-the-test" not in told.stdout + told.stderr
    kept = [file for file in made.rglob("*") if file.is_file()]
    assert not [file for file in kept if b"a-secret-of-the-test" in Path(file).read_bytes()]
