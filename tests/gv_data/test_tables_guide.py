"""The guide to the tables: every block of it runs, and gives what numpy says of the pixels."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine

UTM_50_CM = Affine(0.5, 0, 500_000, 0, -0.5, 3_000_000)
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "tables.md"
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
BANDS = ("red", "green", "blue")
IMAGES = {
    f"t{n}": np.random.default_rng(n).integers(0, 200 + 20 * n, (3, 30 + 9 * n, 40), dtype=np.uint8)
    for n in range(3)
}
PIXELS = np.concatenate([values.reshape(3, -1) for values in IMAGES.values()], axis=1)

DUCKDB = shutil.which("duckdb", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def blocks(language: str, saying: str) -> list[str]:
    found = [text for kind, text in BLOCKS if kind == language and saying in text]
    assert found
    return found


def shell(text: str) -> str:
    if "duckdb" in text and DUCKDB is None:
        pytest.skip("the duckdb command is not installed: uv tool install duckdb-cli")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    told = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        capture_output=True, text=True, check=False, env=os.environ | {"PATH": path},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert "Error" not in told.stderr, told.stderr
    return told.stdout


@pytest.fixture(scope="module")
def indexed(tmp_path_factory) -> Path:
    """The folder that the guide speaks of."""
    folder = tmp_path_factory.mktemp("guide")
    (folder / "photos").mkdir()
    for name, values in IMAGES.items():
        count, height, width = values.shape
        with rasterio.open(
            folder / "photos" / f"{name}.tif", "w", driver="GTiff", dtype="uint8", crs="EPSG:32637",
            transform=UTM_50_CM, count=count, height=height, width=width,
        ) as file:  # fmt: skip
            file.write(values)
    (command,) = blocks("sh", "gv-data index")
    shell(f"cd '{folder}'\n{command}")
    return folder


@pytest.fixture(autouse=True)
def _there(indexed, monkeypatch) -> None:
    monkeypatch.chdir(indexed)


def by_band(answer: str, name: str) -> list[float]:
    found = {row["band"]: row[name] for row in json.loads(answer)}
    return [float(found[band]) for band in BANDS]


def test_the_duckdb_command_gives_what_numpy_says():
    told = [shell(block) for block in blocks("sh", "duckdb -")]
    count, inside, pooled, percentile, macros = told
    assert "3" in count
    assert inside.split() == ["id", "town/t0", "town/t1", "town/t2"]
    for answer in (pooled, macros):
        np.testing.assert_allclose(by_band(answer, "mean"), PIXELS.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(by_band(answer, "std"), PIXELS.std(axis=1), rtol=1e-12)
    wanted = np.percentile(PIXELS, 98, axis=1, method="inverted_cdf")
    assert by_band(percentile, "p98") == wanted.tolist()
    shares = [np.unique(band, return_counts=True)[1] / PIXELS.shape[1] for band in PIXELS]
    bits = [-(share * np.log2(share)).sum() for share in shares]
    np.testing.assert_allclose(by_band(macros, "bits"), bits, rtol=1e-12)


def test_python_reads_the_tables_alone():
    (duck,), (pandas,) = blocks("python", "import duckdb"), blocks("python", "import pandas")
    found = {}
    exec(duck, found)
    means = {f"town/{name}": values.mean(axis=(1, 2)).max() for name, values in IMAGES.items()}
    assert dict(found["brightest"]) == pytest.approx(means)
    exec(pandas, found)
    bands = found["bands"].loc[list(BANDS)]
    np.testing.assert_allclose(bands["mean"], PIXELS.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(bands["std"], PIXELS.std(axis=1), rtol=1e-12)
    assert not any("gv_data" in block for block in (duck, pandas))


def test_every_other_block_runs_too():
    (stac,) = blocks("sh", "gv-data stac")
    shell(stac)
    assert len(gpd.read_parquet("town.parquet")) == 3
    assert len(list(Path("town-stac/items").iterdir())) == 3
    # those of the fixture and of the other tests: none is forgotten
    assert len(BLOCKS) == 1 + 5 + 2 + 1
