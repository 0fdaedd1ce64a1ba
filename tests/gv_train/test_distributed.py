"""Several processes give what one gives: counts to the last bit, and one run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gv_data.catalog import Catalog
from gv_data.intake.indexing import index
from gv_data.synthetic.files import save
from gv_data.synthetic.town import town
from gv_train.distributed import World, world

CHILD = Path(__file__).with_name("distributed_child.py")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    root = tmp_path_factory.mktemp("towns")
    files = save(town(1, size_px=192, gsd_m=0.3), root / "towns", nir=False)
    index([files.image], root / "catalog", labels=files.buildings, place="a")
    return Catalog.open(root / "catalog")


def run(*words: str, cwd: Path | None = None) -> None:
    told = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert told.returncode == 0, told.stderr


@pytest.mark.robust
def test_two_processes_count_what_one_counts(catalog, tmp_path) -> None:
    words = (str(CHILD), str(catalog.path))
    run(sys.executable, *words, str(tmp_path / "one.json"))
    run(*TORCHRUN, "--", *words, str(tmp_path / "two.json"))
    one, two = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("one", "two"))
    assert one["counted"] == two["counted"]
    assert two["mine"] == 5  # of nine windows: none was seen twice to make it even
    scores = set(one["values"]) - {"val_loss"}
    assert {name: one["values"][name] for name in scores} == {
        name: two["values"][name] for name in scores
    }
    assert two["values"]["val_loss"] == pytest.approx(one["values"]["val_loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, World(0, 1, 1)),
        (
            {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"},
            World(3, 4, 2),
        ),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "5", "SLURM_NNODES": "2"}, World(5, 8, 4)),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, World(0, 1, 1)),
        (
            {"GEOVISION_RUN_FOLDER": "r", "LOCAL_RANK": "1", "WORLD_SIZE": "2"},
            World(1, 2, 2),
        ),
        ({"LOCAL_RANK": "1"}, World(0, 1, 1)),  # of another program's
    ],
)
def test_processes_know_who_they_are(environment, expected, monkeypatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "GEOVISION_RUN_FOLDER", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert world() == expected
    assert world().machines == expected.size // expected.on_this_machine
