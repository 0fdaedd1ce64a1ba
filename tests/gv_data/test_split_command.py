"""``gv-data split`` as people use it."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from gv_data.catalog import Catalog
from gv_data.grid import Grid

UTM = CRS(32637)


@pytest.fixture
def town(command, tif, vectors, tmp_path) -> Path:
    """Sixty-four images of 16 m side by side, each with a house, some with two."""
    houses = []
    for n in range(64):
        west, north = 500_000 + 16 * (n % 8), 3_000_000 - 16 * (n // 8)
        values = np.full((1, 32, 32), 1 + n, np.uint8)
        tif(f"town/{n:02d}.tif", values, transform=Affine(0.5, 0, west, 0, -0.5, north))
        spots = (west + 2, west + 8)[: 1 + n % 2]
        houses += [shapely.box(x, north - 6, x + 2, north - 2) for x in spots]
    labels, out = vectors("houses.gpkg", houses), tmp_path / "catalog"
    assert command("index", tmp_path / "town", "--labels", labels, "--out", out)[0] == 0
    return out


def line(text: str, name: str) -> str:
    """What a line of the end lines says."""
    return next(found for found in text.splitlines() if found.startswith(name))[11:]


def table(text: str) -> dict[str, list[str]]:
    """The words of each part's row."""
    rows = [row.split() for row in text.splitlines()]
    start = next(n for n, row in enumerate(rows) if row[:1] == ["part"])
    return {row[0]: row[1:] for row in rows[start : rows.index([], start)]}


def test_blocks_are_split_and_the_last_line_trains_on_them(command, town):
    code, told, narrated = command("split", town, "--block-m", 32, "--val", "0.2", "--test", "0")
    assert code == 0
    assert narrated == f"split      {town} by block, seed 0\n"
    assert re.fullmatch(r"\d\d blocks of 32 m with images, parts 10 m apart", line(told, "parts"))
    assert line(told, "check") == "no ground is shared between train and val"
    catalog = Catalog.open(town)
    rows = table(told)
    assert rows["part"] == ["asked", "images", "share", "off", "labels", "share", "km2"]
    counted = catalog.sql(
        "SELECT split, count(*) AS n, sum(objects)::INT AS labels FROM images GROUP BY split"
    ).to_pylist()
    for row in counted:
        if row["split"]:
            words = rows[row["split"]]
            assert (int(words[1]), int(words[4])) == (row["n"], row["labels"])
            assert float(words[6]) == pytest.approx(row["n"] * 256e-6, rel=0.01)
        else:
            assert line(told, "left out").startswith(f"{row['n']} images that are too near")
    assert sum(row["n"] for row in counted) == 64
    words = shlex.split(line(told, "next"))
    options = dict(zip(words[-6::2], words[-5::2], strict=True))
    assert words[-7] == "buildings"
    views = [catalog.where(options[f"--{part}-where"]) for part in ("train", "val")]
    assert [len(view) for view in views] == [int(rows[part][1]) for part in ("train", "val")]


def test_folds_and_other_columns_stand_beside_the_split(command, town):
    assert command("split", town, "--buffer-m", 0)[0] == 0
    code, told, _ = command("split", town, "--folds", 4)
    assert code == 0
    assert line(told, "check") == "no ground is shared between 4 folds"
    where = dict(zip(*[iter(shlex.split(line(told, "next"))[-4:])] * 2, strict=True))
    assert where == {"--train-where": "fold <> 0", "--val-where": "fold = 0"}
    answer = json.loads(command("split", town, "--by", "id[2]", "--column", "digit", "--json")[1])
    assert (answer["column"], answer["images"], answer["left_out"]) == ("digit", 64, 0)
    table = Catalog.open(town).sql("SELECT split, fold, digit FROM images")
    assert set(table["fold"].to_pylist()) == {0, 1, 2, 3}
    assert set(table["split"].to_pylist()) == {"train", "val", "test"}
    parts = {part["name"]: part["images"] for part in answer["parts"]}
    assert {name: table["digit"].to_pylist().count(name) for name in parts} == parts


def test_what_is_written_is_not_replaced_unasked(command, town):
    assert command("split", town)[0] == 0
    before = (town / "images.parquet").read_bytes()
    code, told, narrated = command("split", town, "--by", "label")
    assert (code, told) == (2, "")
    assert "have a split already" in narrated
    assert "--overwrite" in narrated
    assert (town / "images.parquet").read_bytes() == before
    assert command("split", town, "--by", "label", "--overwrite")[0] == 0
    assert (town / "images.parquet").read_bytes() != before


def test_shared_ground_is_refused_with_the_way_out(command, catalog_of):
    grids = []
    for n in range(12):
        large = Grid(UTM, Affine(1, 0, 500_000 + 300 * n, 0, -1, 3_000_000), 200, 200)
        grids += [large, large.part(50, 50, 100, 100)]
    path = catalog_of(grids).path
    code, told, narrated = command("split", path, "--by", "label")
    assert (code, told) == (2, "")
    assert re.search(r"train and val share [\d,]+ m2 of ground, on \d and \d images", narrated)
    assert "--by block" in narrated
    code, told, _ = command("split", path, "--by", "label", "--allow-overlap")
    assert code == 0
    assert "train and val share" in line(told, "check")
    code, told, _ = command("split", path, "--by", "block", "--overwrite")
    assert code == 0
    assert line(told, "check") == "no ground is shared between train, val and test"
    assert line(told, "next").startswith("gv-data info")  # nothing is labelled


def test_kinds_are_listed_with_their_shares(command, catalog_of):
    kinds = [f"k{n}" for n in range(11) for _ in range(20)]
    nowhere = Grid(None, Affine.identity(), 8, 8)
    path = catalog_of([nowhere] * 220, label=kinds).path
    code, told, _ = command("split", path, "--by", "label", "--val", "0.25", "--test", "0.25")
    assert code == 0
    kinds = [row.split() for row in told.splitlines() if row.startswith("k")]
    assert [shares for _, *shares in kinds] == [["9.1%"] * 4] * 8
    assert len({name for name, *_ in kinds}) == 8
    assert "... and 3 more" in told
    assert "chi squared 0.0 with 20 degrees of freedom, p 1: parts differ no more" in told
    assert line(told, "check") == "220 images have no georeference; the others share no ground"
    told = command("split", path, "--by", "label", "--overwrite", "--verbose")[1]
    assert sum(row.startswith("k") for row in told.splitlines()) == 11


def test_a_view_is_split_alone(command, town):
    words = ("--where", "id < '32'", "--by", "label", "--val", "0.5", "--test", "0")
    assert command("split", town, *words)[0] == 0
    known = Catalog.open(town).sql("SELECT id < '32' AS mine, split FROM images").to_pylist()
    assert {row["split"] for row in known if row["mine"]} == {"train", "val"}
    assert {row["split"] for row in known if not row["mine"]} == {None}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--by", "label", "--block-m", "50"], "--block-m and --buffer-m are for --by block"),
        (["--folds", "3", "--val", "0.2"], "--folds have one size"),
        (["--folds", "0"], "not a whole number above 0"),
        (["--val", "1"], "got 1 and 0.15"),
        (["--by", "field"], "columns of images: id,"),
        (["--where", "false"], "there is no image in"),
        (["--buffer", "5"], "no option --buffer; did you mean --buffer-m?"),
        (["--block-m", "9000"], "at least 3 blocks of 9,000 m with images, found 1"),
    ],
)
def test_what_cannot_be_split_ends_with_2_and_writes_nothing(command, catalog_of, words, said):
    images = [Grid(UTM, Affine(1, 0, 500_000 + 9 * n, 0, -1, 0), 9, 9) for n in range(9)]
    path = catalog_of(images).path
    before = (path / "images.parquet").read_bytes()
    code, told, narrated = command("split", path, *words)
    assert (code, told) == (2, "")
    assert said in narrated
    assert (path / "images.parquet").read_bytes() == before


def test_help_and_errors_come_at_once(imported):
    for words, code in ((("split", "--help"), 0), (("split", "c", "--folds", "x"), 2)):
        runs = [imported("gv_data.cli:main", "gv-data", *words) for _ in range(3)]
        assert {run[1] for run in runs} == {code}
        assert not runs[0][0] & {"numpy", "pyarrow", "duckdb", "shapely", "scipy", "rich"}
        assert min(run[2] for run in runs) < 0.5
