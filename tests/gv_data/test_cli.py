"""The command as people use it: what it says, what it leaves, how it ends."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shapely
from pyproj import Geod

import gv_data
from gv_data.catalog import Catalog

RNG = np.random.default_rng(4)
IMAGE = RNG.integers(1, 255, (3, 100, 120), dtype=np.uint8)
WEST, NORTH = 500_000, 3_000_000
HOUSES = [
    shapely.box(WEST + 5, NORTH - 30, WEST + 15, NORTH - 20),
    shapely.box(WEST + 500, NORTH - 30, WEST + 510, NORTH - 20),
]
BOW_TIE = shapely.Polygon([(WEST + 35, NORTH - 5), (WEST + 45, NORTH - 9), (WEST + 45, NORTH - 5),
                           (WEST + 35, NORTH - 9)])  # fmt: skip
HEAVY = {"torch", "numpy", "rasterio", "pandas", "geopandas", "pyarrow", "duckdb", "rich"}


def line(text: str, name: str) -> str:
    """What a line of the end lines says."""
    return next(found for found in text.splitlines() if found.startswith(name))[11:]


def test_index_says_what_it_found(command, tif, vectors, tmp_path):
    image = tif("scenes/a.tif", IMAGE)
    labels, out = vectors("roofs.gpkg", [*HOUSES, BOW_TIE]), tmp_path / "c"
    code, told, narrated = command(
        "index", image.parent, "--labels", labels, "--place", "town", "--out", out
    )
    assert code == 0
    assert line(told, "images") == "1 in EPSG:32637 (1), GSD 0.5 m, 0.003 km2"
    assert line(told, "labels") == (
        "2 on images, 1 outside all of them, 1 crossed themselves and were repaired"
    )
    assert line(told, "catalog") == f"{out}   1 images"
    assert "refused" not in told
    assert "reading 1 images" in narrated
    assert Catalog.open(out).images[0].id == "town/a"


def test_the_last_line_trains_once_there_is_a_place_to_validate_on(command, tif, vectors, tmp_path):
    labels, out = vectors("roofs.gpkg", HOUSES), tmp_path / "c"
    common = ("--labels", labels, "--out", out, "--append")
    _, told, _ = command("index", tif("a.tif", IMAGE), "--place", "o'hare", *common)
    first = shlex.split(line(told, "next"))
    assert first[-2:] == ["info", str(out)]
    assert command(*first[first.index("info") :])[0] == 0
    _, told, _ = command("index", tif("b.tif", IMAGE), "--place", "o'brien", *common)
    words = shlex.split(line(told, "next"))
    options = dict(zip(words[-6::2], words[-5::2], strict=True))
    assert words[-7] == "buildings"
    assert options["--data"] == str(out)
    views = [Catalog.open(out).where(options[f"--{part}-where"]) for part in ("train", "val")]
    assert [[image.place for image in view.images] for view in views] == [["o'hare"], ["o'brien"]]


def test_broken_files_end_with_3_and_their_reasons(command, tif, tmp_path):
    folder = tif("scenes/a.tif", IMAGE).parent
    cut = tif("scenes/cut.tif", IMAGE)
    cut.write_bytes(cut.read_bytes()[:-5000])
    code, told, _ = command("index", folder, "--out", tmp_path / "c")
    assert code == 3
    assert line(told, "refused") == "1 files could not be used:"
    assert f"{cut} is cut" in told
    code, told, _ = command("index", folder, "--out", tmp_path / "d", "--json")
    assert code == 3
    (refused,) = json.loads(told)["refused"]
    assert refused["file"] == str(cut)
    assert "its index needs" in refused["reason"]


def test_many_refused_files_are_named_in_full_only_when_asked(command, tif, tmp_path):
    folder = tif("scenes/a.tif", IMAGE).parent
    for n in range(8):
        (folder / f"text{n}.png").write_text("no image")
    _, told, _ = command("index", folder, "--out", tmp_path / "c")
    assert told.count("cannot be opened") == 5
    assert "--verbose names them all" in told
    _, told, _ = command("index", folder, "--out", tmp_path / "d", "--verbose")
    assert told.count("cannot be opened") == 8


def test_json_is_one_document_with_the_counts(command, tif, vectors, tmp_path):
    code, told, _ = command(
        "index", tif("a.tif", IMAGE), tif("b.tif", IMAGE), "--labels",
        vectors("roofs.gpkg", HOUSES), "--out", tmp_path / "c", "--json",
    )  # fmt: skip
    answer = json.loads(told)
    assert code == 0
    assert (answer["images"], answer["crs"]) == (2, {"EPSG:32637": 2})
    assert answer["labels"] == {
        "on_images": 1, "outside": 1, "repaired": 0, "dropped": 0, "lines": 0,
        "images_without": 0, "images_not_named": 0,
    }  # fmt: skip
    footprint = Catalog.open(tmp_path / "c").images[0].grid.footprint()
    area_m2 = abs(Geod(ellps="WGS84").geometry_area_perimeter(footprint)[0])
    assert answer["ground_m2"] == pytest.approx(area_m2, rel=1e-9)  # once, though shown twice
    assert answer["gsd_m"] == pytest.approx([0.5, 0.5], rel=1e-3)


def bad_input(tif, vectors, tmp_path: Path) -> dict[str, tuple[list[object], str]]:
    """Command lines that cannot work, with what is said."""
    image, far = tif("a.tif", IMAGE), vectors("far.gpkg", HOUSES[1:])
    out = ["--out", tmp_path / "c"]
    text = tmp_path / "text.tif"
    text.write_text("no image")
    swapped = [shapely.transform(house, lambda xy: xy[:, ::-1]) for house in HOUSES]
    bare = tif("bare.tif", IMAGE, crs=None)
    (tmp_path / "empty").mkdir()
    return {
        "missing file": (["nowhere.tif", *out], "nowhere.tif is not there"),
        "empty folder": ([tmp_path / "empty", *out], "no image in"),
        "no image": ([text, *out], "none of 1 images can be used"),
        "missing labels": ([image, "--labels", "nowhere.gpkg", *out], "nowhere.gpkg"),
        "empty labels": (
            [image, "--labels", vectors("none.geojson", [], "EPSG:4326"), *out], "none.geojson",
        ),
        "labels elsewhere": ([image, "--labels", far, *out], "do not overlap"),
        "swapped labels": (
            [image, "--labels", vectors("yx.gpkg", swapped), *out], "try: --swap-xy",
        ),
        "labels in another CRS": (
            [image, "--labels", vectors("z.gpkg", HOUSES, "EPSG:32638"), *out],
            "try: --labels-crs EPSG:32637",
        ),
        "no CRS": ([bare, *out], "--no-georeference"),
        "labels without CRS of the image": (
            [bare, "--no-georeference", "--labels", far, *out], "no CRS or transform",
        ),
        "a strange CRS": (
            [image, "--labels", far, "--labels-crs", "EPSG:nope", *out], "EPSG:nope",
        ),
        "area without labels": ([image, "--labelled-area", far, *out], "need labels"),
        "no --out": ([image], "missing --out"),
        "mistyped": ([image, "--label", far, *out], "did you mean --labels?"),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # while writing
def test_bad_input_is_one_clear_error_and_writes_nothing(command, tif, vectors, tmp_path):
    for name, (words, said) in bad_input(tif, vectors, tmp_path).items():
        code, told, narrated = command("index", *words)
        assert (name, code, told) == (name, 2, "")
        assert narrated.count("error:") == 1, name
        assert said in narrated, name
        assert "Traceback" not in narrated
        assert not (tmp_path / "c").exists(), name


def test_an_existing_catalog_is_extended_only_when_asked(command, tif, tmp_path):
    out = ("--out", tmp_path / "c")
    image = tif("a.tif", IMAGE)
    assert command("index", image, *out)[0] == 0
    code, _, narrated = command("index", image, *out, "--place", "b")
    assert (code, "try: --append" in narrated) == (2, True)
    code, _, narrated = command("index", image, *out, "--append")
    assert (code, "two images would be called a" in narrated) == (2, True)
    assert command("index", image, *out, "--append", "--place", "b")[0] == 0
    assert len(Catalog.open(tmp_path / "c")) == 2


@pytest.mark.robust
def test_a_full_disk_ends_with_2(command, tif, full_disk):
    (full_disk / "filler").write_bytes(bytes(3 * 2**20 - 3 * 4096))
    code, _, narrated = command("index", tif("a.tif", IMAGE), "--out", full_disk / "c")
    assert code == 2
    assert "no space left" in narrated.lower()
    assert not (full_disk / "c" / "images.parquet").exists()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # while writing
def test_images_without_place_are_taken_when_asked(command, tif, tmp_path):
    path, out = tif("a.tif", IMAGE, crs=None), tmp_path / "c"
    code, told, _ = command("index", path, "--out", out, "--no-georeference")
    assert code == 0
    assert line(told, "images") == "1 in no CRS (1)"
    code, told, _ = command("info", out)
    assert code == 0
    assert line(told, "ground") == "0 km2"


@pytest.fixture
def two_places(command, tif, vectors, tmp_path) -> Path:
    labels, out = vectors("roofs.gpkg", HOUSES), tmp_path / "c"
    for place, name, values in (("north", "a", IMAGE), ("south", "b", IMAGE[:2] // 2)):
        path = tif(f"{place}/{name}.tif", values)
        command("index", path, "--labels", labels, "--place", place, "--out", out, "--append")
    return out


def test_info_says_what_a_catalog_holds(command, two_places):
    code, told, _ = command("info", two_places)
    assert code == 0
    assert told.splitlines()[0] == f"{two_places}   2 images, 2 labels on them"
    assert [row.split() for row in told.splitlines()[2:5]] == [
        ["place", "split", "images", "labels", "GSD", "m"],
        ["north", "-", "1", "1", "0.5"],
        ["south", "-", "1", "1", "0.5"],
    ]
    assert line(told, "CRS") == "EPSG:32637 (2)"
    assert line(told, "ground") == "0.003 km2 (0.006 km2 of footprints, which overlap)"
    figures = [
        f"{band} {values.mean():.4g} ± {values.std():.3g}"
        for band, values in zip(("red", "green", "blue"), IMAGE, strict=True)
    ]
    assert f"{', '.join(figures)}   (mean ± std, 1 images)" in told
    assert "gsd_m" in line(told, "columns")


def test_info_of_a_part_with_a_table_of_ones_own(command, two_places, tmp_path):
    (tmp_path / "good.txt").write_text("south\n")
    words = ("--where", "place IN (SELECT f0 FROM good)", "--table", f"good={tmp_path}/good.txt")
    code, told, _ = command("info", two_places, *words, "--json")
    answer = json.loads(told)
    assert code == 0
    assert (answer["images"], answer["groups"][0]["place"]) == (1, "south")
    (values,) = answer["values"]
    assert values["mean"] == pytest.approx((IMAGE[:2] // 2).mean(axis=(1, 2)))
    assert values["std"] == pytest.approx((IMAGE[:2] // 2).std(axis=(1, 2)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "is not a catalog"),
        (["CATALOG", "--where", "gsd < 1"], "columns of images: id,"),
        (["CATALOG", "--where", "1=1; DROP TABLE images"], "condition"),
        (["CATALOG", "--where", "false"], "there is no image"),
        (["CATALOG", "--table", "good"], "'good' is not NAME=PATH"),
        (["CATALOG", "--table", "good=nowhere.csv"], "nowhere.csv is not there"),
        (["CATALOG", "--limit", "4"], "no option --limit"),
    ],
)
def test_info_of_what_is_not_there_ends_with_2(command, two_places, words, said):
    code, told, narrated = command(
        "info", *(str(w).replace("CATALOG", str(two_places)) for w in words)
    )
    assert (code, told) == (2, "")
    assert said in narrated


def test_ctrl_c_leaves_the_old_catalog(two_places, tif):
    script = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in background jobs
        "from gv_data.intake import image_row\n"
        "measure = image_row.measure\n"
        "def interrupted(*asked):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return measure(*asked)\n"
        "image_row.measure = interrupted\n"
        "from gv_data.cli import main\n"
        "sys.exit(main())\n"
    )
    words = ["index", tif("c.tif", IMAGE), "--out", two_places, "--append"]
    told = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 130
    assert told.stderr.splitlines()[-1] == "error: stopped"
    assert len(Catalog.open(two_places)) == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--help",), 0),
        (("index", "--help"), 0),
        (("info", "--help"), 0),
        (("index", "a.tif", "--ot", "b"), 2),
        (("inspect",), 2),
        (("--version",), 0),
    ],
)
def test_answers_at_once_without_importing_anything_heavy(imported, words, code):
    runs = [imported("gv_data.cli:main", "gv-data", *words) for _ in range(3)]
    assert {run[1] for run in runs} == {code}
    assert not runs[0][0] & HEAVY
    assert min(run[2] for run in runs) < 0.5


def test_the_library_imports_what_a_name_needs_and_no_more():
    script = (
        "import sys, gv_data\n"
        "assert not {'numpy', 'torch', 'duckdb'} & set(sys.modules)\n"
        "from gv_data import Catalog, Grid, Scene, index\n"
        "assert 'duckdb' in sys.modules\n"
        "assert not {'torch', 'lightning', 'torchgeo'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert set(gv_data.__all__) == set(gv_data._HOME_OF)
    assert all(hasattr(gv_data, name) for name in gv_data.__all__)


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    readme = Path(__file__).parents[2] / "packages" / "gv-data" / "README.md"
    monkeypatch.chdir(tmp_path)
    exec(readme.read_text().split("```python\n")[1].split("```")[0], {})
    assert capsys.readouterr().out.startswith("1 [")


def test_a_mask_value_of_two_classes_is_refused(command, tif, tmp_path):
    image = tif("scenes/a.tif", IMAGE)
    tif("masks/a.tif", IMAGE[:1])
    words = ("--masks", tmp_path / "masks", "--classes", "0=a,0=b", "--out", tmp_path / "c")
    code, _, narrated = command("index", image, *words)
    assert code == 2
    assert "the value 0 of masks names two classes" in narrated
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("text", ["[]", "{", "3", "null"])
def test_a_description_that_is_no_object_is_said(command, tif, tmp_path, text):
    out = tmp_path / "c"
    assert command("index", tif("a.tif", IMAGE), "--out", out)[0] == 0
    (out / "catalog.json").write_text(text)
    code, _, narrated = command("info", out)
    assert code == 2
    assert "catalog.json cannot be read, index again" in narrated
