"""What lies beside images is measured as they are, by its own file and on their ground."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from gv_data.catalog import Catalog
from gv_data.checks.check import check_catalog
from gv_data.errors import CatalogError
from gv_data.grid import Grid
from gv_data.images import Image
from gv_data.intake.image_row import Part
from gv_data.intake.indexing import index
from gv_data.measure.catalog_statistics import ground_of, measure_catalog
from gv_data.rasters.raster import Scene

RNG = np.random.default_rng(13)
NAMES = [f"t{n}" for n in range(4)]
IMAGES = {name: RNG.integers(0, 200, (2, 40, 50), dtype=np.uint8) for name in NAMES}
BEFORE = {name: RNG.integers(100, 256, (2, 40, 50), dtype=np.uint8) for name in NAMES[:3]}
SAR = {name: RNG.gamma(2, 3, (1, 20, 25)).astype(np.float32) for name in NAMES}
METRE = Affine(1, 0, 500_000, 0, -1, 3_000_000)
"""Twice the pixels of the images, on the same ground."""


@pytest.fixture
def folders(tif, tmp_path) -> Path:
    """Images, three of them with an earlier one, all with a radar image of half the pixels."""
    for name in NAMES:
        tif(f"images/{name}.tif", IMAGES[name])
        tif(f"sar/{name}.tif", SAR[name], transform=METRE)
    for name, values in BEFORE.items():
        tif(f"before/{name}.tif", values)
    return tmp_path


@pytest.fixture
def catalog(folders) -> Catalog:
    """All of them, not yet measured."""
    pairs = {"image_before": folders / "before", "sar": folders / "sar"}
    return index([folders / "images"], folders / "c", pairs=pairs, measured=False).catalog


def pooled(scenes: dict[str, np.ndarray]) -> np.ndarray:
    """All pixels (c, n) of some scenes."""
    return np.concatenate([v.reshape(len(v), -1) for v in scenes.values()], axis=1)


def assert_known(catalog: Catalog, asset: str, pixels: np.ndarray) -> None:
    """Compare with numpy on all pixels (c, n) at once."""
    found = Catalog.open(catalog.path).statistics_of(asset)
    pixels = pixels.astype(np.float64)
    assert found.valid == pixels.shape[1]
    np.testing.assert_allclose(found.mean, pixels.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.std, pixels.std(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(found.maximum, pixels.max(axis=1))


def test_figures_of_each_are_those_of_its_pixels(catalog):
    done = measure_catalog(catalog)
    counts = {name: (asset.done, asset.known) for name, asset in done.assets.items()}
    assert ((done.images.done, done.images.known), counts) == (
        (4, 0),
        {"image_before": (3, 0), "sar": (4, 0)},
    )
    assert not done.failed
    for asset, scenes in (("image", IMAGES), ("image_before", BEFORE), ("sar", SAR)):
        assert_known(catalog, asset, pooled(scenes))
    view = Catalog.open(catalog.path)
    np.testing.assert_array_equal(view.statistics.mean, view.statistics_of("image").mean)
    assert view.statistics_of("image_before").percentile(50).tolist() == np.percentile(
        pooled(BEFORE), 50, axis=1, method="inverted_cdf"
    ).tolist()  # fmt: skip
    normalize = view.where("id = 't1'").statistics_of("sar").normalize()
    assert normalize.mean == [pytest.approx(SAR["t1"].mean(dtype=np.float64))]
    assert normalize.std == [pytest.approx(SAR["t1"].std(dtype=np.float64))]


def test_indexing_measures_all_of_them(folders):
    pairs = {"image_before": folders / "before", "sar": folders / "sar"}
    catalog = index([folders / "images"], folders / "c", pairs=pairs).catalog
    assert_known(catalog, "sar", pooled(SAR))
    assert_known(catalog, "image", pooled(IMAGES))


def test_only_the_file_that_changed_is_measured_again(catalog, tif):
    measure_catalog(catalog)
    tif("before/t2.tif", np.uint8(255) - BEFORE["t2"])
    done = measure_catalog(catalog)
    assert (done.images.done, done.assets["sar"].done) == (0, 0)
    assert (done.assets["image_before"].done, done.assets["image_before"].known) == (1, 2)
    assert_known(catalog, "image_before", pooled(BEFORE | {"t2": np.uint8(255) - BEFORE["t2"]}))
    assert_known(catalog, "image", pooled(IMAGES))
    tif("images/t0.tif", 255 - IMAGES["t0"])
    done = measure_catalog(catalog)
    assert [done.images.done, *(asset.done for asset in done.assets.values())] == [1, 0, 0]
    assert_known(catalog, "image", pooled(IMAGES | {"t0": 255 - IMAGES["t0"]}))
    assert_known(catalog, "sar", pooled(SAR))


def test_a_broken_one_is_an_error_of_its_image_whose_own_figures_stay(catalog, folders):
    measure_catalog(catalog)
    (folders / "sar" / "t1.tif").write_bytes(b"no image at all")
    (folders / "before" / "t2.tif").unlink()
    done = measure_catalog(catalog)
    assert done.failed.keys() == {"t1", "t2"}
    assert done.failed["t1"].startswith("sar: ")
    assert done.failed["t2"].startswith("image_before: ")
    now = Catalog.open(catalog.path)
    errors = now.sql("SELECT id, error FROM errors ORDER BY id").to_pylist()
    assert [(row["id"], row["error"].partition(":")[0]) for row in errors] == [
        ("t1", "sar"),
        ("t2", "image_before"),
    ]
    measure_catalog(Catalog.open(catalog.path), again=True)  # replaces the table once more
    kept = now.sql("SELECT id, asset FROM statistics GROUP BY ALL ORDER BY ALL").to_pylist()
    assert {row["asset"] for row in kept if row["id"] == "t1"} == {"image", "image_before"}
    assert {row["asset"] for row in kept if row["id"] == "t2"} == {"image", "sar"}
    good = {name: SAR[name] for name in ("t0", "t3")}
    assert_known(catalog, "sar", pooled(good))


def test_index_says_which_one_is_broken_and_ends_with_3(command, folders, tif):
    broken = tif("sar/t1.tif", SAR["t1"], transform=METRE, compress="deflate")
    with rasterio.open(broken) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    values = bytearray(broken.read_bytes())
    values[start : start + 50] = b"\xff" * 50
    broken.write_bytes(values)
    sar = f"sar={folders / 'sar'}"
    code, told, _ = command("index", folders / "images", "--pair", sar, "--out", folders / "c")
    assert code == 3
    assert "1 files could not be used" in told
    assert "sar: " in told
    now = Catalog.open(folders / "c")
    assert (len(now), now.sql("SELECT id FROM errors")["id"].to_pylist()) == (3, ["t1"])


SLOW = """
import sys, time
from pathlib import Path
from gv_data.measure import catalog_statistics
from gv_data.catalog import Catalog

plain = catalog_statistics.measure

def slow(*asked):
    found = plain(*asked)
    time.sleep(0.2)
    return found

def track(ids, total):
    for id in ids:
        print(id, flush=True)
        yield id

catalog_statistics.measure = slow
catalog_statistics.measure_catalog(Catalog.open(Path(sys.argv[1])), workers=1, track=track)
"""


@pytest.mark.robust
@pytest.mark.parametrize("upto", [2, 6, 9], ids=["image", "image_before", "sar"])
def test_a_kill_loses_at_most_the_raster_in_progress(upto, catalog):
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(catalog.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout
    with child, child.stdout:
        for _ in range(upto):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    done = measure_catalog(catalog)
    parts = [done.images, *done.assets.values()]
    assert sum(part.known for part in parts) >= upto
    assert [part.done + part.known for part in parts] == [4, 3, 4]
    for asset, scenes in (("image", IMAGES), ("image_before", BEFORE), ("sar", SAR)):
        assert_known(catalog, asset, pooled(scenes))
    assert not list(catalog.path.glob(".statistics*"))


# ---- parts


def halves(scene, labels) -> list[Part]:
    """An image as its upper 18 rows and the rest."""
    del labels
    height, width = scene.grid.shape_hw
    return [Part("/up", 0, 0, 18, width), Part("/down", 18, 0, height - 18, width)]


def test_parts_have_the_figures_of_the_same_pixels_where_the_grid_is_the_same(tif, tmp_path):
    tif("images/a.tif", IMAGES["t0"])
    tif("before/a.tif", BEFORE["t0"])
    pairs = {"before": tmp_path / "before"}
    catalog = index([tmp_path / "images"], tmp_path / "c", pairs=pairs, parts=halves).catalog
    assert_known(catalog, "before", BEFORE["t0"].reshape(2, -1))
    for id, rows in (("a/up", slice(0, 18)), ("a/down", slice(18, None))):
        found = catalog.where(f"id = '{id}'").statistics_of("before")
        pixels = BEFORE["t0"][:, rows].reshape(2, -1).astype(np.float64)
        np.testing.assert_allclose(found.mean, pixels.mean(axis=1), rtol=1e-13)


@pytest.mark.parametrize("crs", ["EPSG:32637", "EPSG:4326"])
def test_parts_have_the_figures_of_the_pixels_whose_centres_lie_on_them(crs, tif, tmp_path):
    image = tif("images/a.tif", IMAGES["t0"])
    if crs == "EPSG:4326":
        west, south, east, north = (38.9999, 27.1184, 39.0006, 27.1226)
        transform = Affine((east - west) / 70, 0, west, 0, (south - north) / 300, north)
        dem = RNG.normal(300, 9, (1, 300, 70))
    else:  # pixels of 3 m, which no row of the image agrees with
        transform = Affine(3, 0, 499_990, 0, -3, 3_000_010)
        dem = RNG.normal(300, 9, (1, 20, 20))
    tif("dem/a.tif", dem.astype(np.float32), crs=crs, transform=transform)
    pairs = {"dem": tmp_path / "dem"}
    catalog = index([image], tmp_path / "c", pairs=pairs, parts=halves).catalog
    rows, columns = np.indices(dem.shape[1:]) + 0.5
    x, y = transform @ (columns.ravel(), rows.ravel())
    for id, north, south in (("a/up", 3_000_000, 2_999_991), ("a/down", 2_999_991, 2_999_980)):
        bounds = (500_000, south, 500_025, north)
        if crs == "EPSG:4326":
            to_degrees = Transformer.from_crs("EPSG:32637", crs, always_xy=True)
            bounds = to_degrees.transform_bounds(*bounds)
        inside = (x > bounds[0]) & (x < bounds[2]) & (y > bounds[1]) & (y < bounds[3])
        assert inside.sum() > 10
        found = catalog.where(f"id = '{id}'").statistics_of("dem")
        pixels = dem.astype(np.float32).astype(np.float64).ravel()[inside]
        assert found.valid == inside.sum()
        assert found.mean[0] == pytest.approx(pixels.mean(), rel=1e-12)


@given(
    cut=st.integers(1, 39),
    pixel_m=st.floats(0.2, 4),
    west=st.floats(-30, 0),
    north=st.floats(0, 30),
)
def test_neighbouring_parts_share_no_pixel_of_a_finer_or_coarser_raster(cut, pixel_m, west, north):
    utm, half = CRS(32637), Affine(0.5, 0, 0, 0, -0.5, 0)
    other = Grid(utm, Affine(pixel_m, 0, west, 0, -pixel_m, north), 300, 300)
    whole = Grid(utm, half, 40, 50)

    def rows(grid: Grid) -> range:
        image, scene = object.__new__(Image), object.__new__(Scene)
        object.__setattr__(image, "grid", grid)
        scene.grid = other
        first, _, count, _ = ground_of(image, scene)
        return range(first, first + count)

    up, down, both = (
        set(rows(grid))
        for grid in (whole.part(0, 0, cut, 50), whole.part(cut, 0, 40 - cut, 50), whole)
    )
    height_up, height_down = cut * 0.5, (40 - cut) * 0.5
    assert up | down >= both
    if min(height_up, height_down) > pixel_m:  # each holds the centre of a pixel
        assert not up & down
        assert up | down == both


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # while writing
def test_one_without_georeference_is_measured_pixel_by_pixel(tif, tmp_path):
    tif("images/a.tif", IMAGES["t0"], crs=None)
    tif("before/a.tif", BEFORE["t0"], crs=None)
    pairs = {"before": tmp_path / "before"}
    words = {"pairs": pairs, "georeference": False, "parts": halves}
    catalog = index([tmp_path / "images"], tmp_path / "c", **words).catalog
    found = catalog.where("id = 'a/down'").statistics_of("before")
    pixels = BEFORE["t0"][:, 18:].reshape(2, -1).astype(np.float64)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=1), rtol=1e-13)


def test_a_pixel_larger_than_the_image_is_the_one_below_its_middle(tif, tmp_path):
    tif("images/a.tif", IMAGES["t0"])
    dem = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    coarse = Affine(90, 0, 499_920, 0, -90, 3_000_100)
    tif("dem/a.tif", dem, transform=coarse)
    catalog = index([tmp_path / "images"], tmp_path / "c", pairs={"dem": tmp_path / "dem"}).catalog
    found = catalog.statistics_of("dem")
    assert (found.valid, found.mean[0]) == (1, dem[0, 1, 1])


def test_one_that_lies_elsewhere_is_an_error(tif, tmp_path):
    for name in ("a", "b"):
        tif(f"images/{name}.tif", IMAGES["t0"])
        tif(f"sar/{name}.tif", SAR["t0"], transform=METRE)
    tif("sar/b.tif", SAR["t0"], transform=Affine(1, 0, 600_000, 0, -1, 3_000_000))
    found = index([tmp_path / "images"], tmp_path / "c", pairs={"sar": tmp_path / "sar"})
    ((file, reason),) = found.refused
    assert (file.name, found.added) == ("b.tif", 1)
    assert reason.startswith("sar: ")
    assert "shows nothing of the ground of b" in reason


# ---- asking


def test_sql_refuses_to_pool_what_does_not_belong_together(catalog):
    measure_catalog(catalog)
    joined = "FROM images JOIN statistics s USING (id)"
    with pytest.raises(
        CatalogError, match=r"image and image_before are pooled together(?s:.*)asset"
    ):
        catalog.sql(f"SELECT band, pooled_mean(s) {joined} WHERE asset <> 'sar' GROUP BY ALL")
    table = catalog.sql(
        "SELECT asset, position, pooled_mean(s) AS mean, pooled_std(s) AS std, "
        f"pooled_percentile(s, 50) AS half {joined} GROUP BY ALL ORDER BY ALL"
    )
    scenes = {"image": IMAGES, "image_before": BEFORE, "sar": SAR}
    assert len(table) == 5
    for row in table.to_pylist():
        pixels = pooled(scenes[row["asset"]])[row["position"]].astype(np.float64)
        assert row["mean"] == pytest.approx(pixels.mean(), rel=1e-12)
        assert row["std"] == pytest.approx(pixels.std(), rel=1e-12)


def test_what_is_not_measured_or_not_there_is_said(catalog):
    with pytest.raises(CatalogError, match=r"no rasters 'dem'(?s:.*)image, image_before, sar"):
        catalog.statistics_of("dem")
    with pytest.raises(CatalogError, match=r"4 of 4 rasters sar(?s:.*)gv-data measure"):
        catalog.statistics_of("sar")
    measure_catalog(catalog.where("id = 't0'"))
    with pytest.raises(CatalogError, match=r"2 of 3 rasters image_before"):
        catalog.statistics_of("image_before")
    with pytest.raises(CatalogError, match=r"no images at all(?s:.*)image_before IS NOT NULL"):
        catalog.where("id = 't3'").statistics_of("image_before")


def test_rasters_of_other_bands_are_not_pooled(folders, tif):
    tif("sar/t2.tif", np.concatenate([SAR["t2"], SAR["t2"]]), transform=METRE)
    pairs = {"sar": folders / "sar"}
    catalog = index([folders / "images"], folders / "c", pairs=pairs).catalog
    with pytest.raises(CatalogError, match="one set of bands is needed"):
        catalog.statistics_of("sar")
    assert catalog.where("id <> 't2'").statistics_of("sar").valid == 3 * 500


def test_commands_tell_each_apart(command, catalog):
    code, told, _ = command("measure", catalog.path)
    assert code == 0
    lines = [line.split() for line in told.splitlines()]
    assert ["3", "rasters", "image_before,", "0", "had", "not", "changed"] in lines
    assert ["4", "rasters", "sar,", "0", "had", "not", "changed"] in lines
    _, told, _ = command("info", catalog.path)
    values = [line for line in told.splitlines() if line.startswith("values")]
    ends = ["std, 4 images)", "std, image_before of 3 images)", "std, sar of 4 images)"]
    assert [line.partition("± ")[2].rpartition("± ")[2] for line in values] == ends
    assert f"{pooled(IMAGES)[0].mean():.4g} ± " in values[0]
    assert f"{pooled(SAR)[0].mean(dtype=np.float64):.4g} ± " in values[2]


def test_a_check_names_what_is_not_measured(catalog):
    texts = [f.text for f in check_catalog(catalog).checked.findings if "measured" in f.text]
    assert [text.partition(" (")[0] for text in texts] == [
        "4 images are not measured",
        "the image_before of 3 images is not measured",
        "the sar of 4 images is not measured",
    ]
