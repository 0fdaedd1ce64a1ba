"""Statistics brought up to date: what is new or changed is measured, nothing known is lost."""

import shutil
import signal
import subprocess
import sys
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError, DataError
from gv_data.intake.indexing import index
from gv_data.measure.catalog_statistics import measure_catalog

RNG = np.random.default_rng(9)
SCENES = {f"t{n}": RNG.integers(0, 256, (2, 40, 50 + n), dtype=np.uint8) for n in range(6)}


@pytest.fixture
def catalog(tif, tmp_path) -> Catalog:
    """Six images that nobody has measured."""
    files = [tif(f"images/{name}.tif", values) for name, values in SCENES.items()]
    return index(files, tmp_path / "c", measured=False).catalog


def mean(catalog: Catalog) -> np.ndarray:
    return Catalog.open(catalog.path).statistics.mean


def expected(scenes: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([v.reshape(2, -1) for v in scenes.values()], axis=1).mean(axis=1)


def test_what_is_not_measured_is_said_with_the_way_out(catalog):
    with pytest.raises(Exception, match=r"6 of 6 images(?s:.*)gv-data measure"):
        _ = catalog.statistics


@pytest.mark.parametrize("workers", [1, 3])
def test_all_are_measured_once(workers, catalog):
    first = measure_catalog(catalog, workers=workers)
    assert (first.images.done, first.images.known, first.failed) == (6, 0, {})
    np.testing.assert_allclose(mean(catalog), expected(SCENES), rtol=1e-13)
    again = measure_catalog(catalog, workers=workers)
    assert (again.images.done, again.images.known) == (0, 6)
    assert not list(catalog.path.glob(".statistics*"))


def test_a_view_is_measured_alone_and_the_rest_stays(catalog):
    measure_catalog(catalog.where("id IN ('t0', 't1')"))
    rest = measure_catalog(catalog)
    assert (rest.images.done, rest.images.known) == (4, 2)
    np.testing.assert_allclose(mean(catalog), expected(SCENES), rtol=1e-13)


def test_changed_files_are_measured_again(catalog, tif):
    measure_catalog(catalog)
    changed = SCENES | {"t3": 255 - SCENES["t3"]}
    tif("images/t3.tif", changed["t3"])
    done = measure_catalog(catalog)
    assert (done.images.done, done.images.known) == (1, 5)
    np.testing.assert_allclose(mean(catalog), expected(changed), rtol=1e-13)


def test_a_broken_image_is_recorded_and_the_rest_goes_on(catalog, tmp_path):
    broken, gone = tmp_path / "images" / "t2.tif", tmp_path / "images" / "t4.tif"
    broken.write_bytes(broken.read_bytes()[:500])
    gone.unlink()
    done = measure_catalog(catalog)
    assert done.images.done == 4
    assert done.failed.keys() == {"t2", "t4"}
    now = Catalog.open(catalog.path)
    assert len(now) == 4
    errors = dict(zip(*now.sql("SELECT id, error FROM errors").to_pydict().values(), strict=True))
    assert "is not there" in errors["t4"]
    good = {name: values for name, values in SCENES.items() if name not in errors}
    np.testing.assert_allclose(mean(now), expected(good), rtol=1e-13)


def test_rows_of_images_no_longer_listed_are_dropped(catalog):
    measure_catalog(catalog)
    from gv_data.intake.catalog_rows import remove

    remove(catalog.where("id = 't5'"))
    now = Catalog.open(catalog.path)
    assert now.sql("SELECT count(DISTINCT id) AS n FROM statistics")["n"].to_pylist() == [5]


SLOW = """
import sys
from typing import Any
import time
from pathlib import Path
from gv_data.measure import catalog_statistics
from gv_data.catalog import Catalog

plain = catalog_statistics.measure

def slow(*asked):
    found = plain(*asked)
    time.sleep(0.3)
    return found

def track(ids, total):
    for id in ids:
        print(id, flush=True)
        yield id

catalog_statistics.measure = slow
catalog_statistics.measure_catalog(Catalog.open(Path(sys.argv[1])), workers=1, track=track)
"""


@pytest.mark.robust
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_loses_at_most_the_image_in_progress(number, catalog):
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(catalog.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout
    with child, child.stdout:
        acknowledged = {child.stdout.readline().strip() for _ in range(3)}
        child.send_signal(number)
    done = measure_catalog(catalog)
    assert done.images.known >= len(acknowledged) == 3
    assert done.images.done + done.images.known == 6
    np.testing.assert_allclose(mean(catalog), expected(SCENES), rtol=1e-13)


def measured_by_a_command(catalog: Catalog) -> subprocess.CompletedProcess[str]:
    """What ``gv-data measure`` does in a process of its own."""
    script = "import sys; from gv_data.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", script, "measure", str(catalog.path)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.robust
@pytest.mark.parametrize("free", [0, 250_000, 600_000])
def test_a_full_disk_keeps_the_tables_and_what_is_measured(free, tif, tmp_path, full_disk):
    scenes = {f"t{n}": RNG.integers(0, 65536, (2, 60, 70)).astype(np.uint16) for n in range(8)}
    files = [tif(f"images/{name}.tif", values) for name, values in scenes.items()]
    catalog = index(files, full_disk / "c", measured=False).catalog
    before = {file.name: file.read_bytes() for file in catalog.path.iterdir()}
    filler = full_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(full_disk).free - free))
    told = measured_by_a_command(catalog)
    assert told.returncode == 2
    assert [line for line in told.stderr.splitlines() if "error" in line.lower()] == [
        f"error: no space left in {catalog.path}: free the disk and run again; what is done is kept"
    ]
    after = {file.name: file for file in catalog.path.iterdir()}
    assert {name: after.pop(name).read_bytes() for name in before} == before
    assert all(name.endswith(".arrows") for name in after)  # what was measured until then
    filler.unlink()
    done = measure_catalog(Catalog.open(catalog.path))
    assert (done.images.taken_over > 0) == bool(after)
    assert done.images.done + done.images.known == 8
    np.testing.assert_allclose(mean(catalog), expected(scenes), rtol=1e-13)
    assert {file.name for file in catalog.path.iterdir()} == before.keys()


@pytest.mark.robust
def test_a_disk_that_fills_at_any_moment_of_indexing_leaves_a_way_on(tif, tmp_path, full_disk):
    for name, values in SCENES.items():
        tif(f"images/{name}.tif", values)
        tif(f"before/{name}.tif", values // 2)
    filler, places = full_disk / "filler", set()
    for free in (*range(0, 60_000, 8192), 500_000):
        out = full_disk / f"c{free}"
        filler.write_bytes(bytes(shutil.disk_usage(full_disk).free - free))
        words = [tmp_path / "images"], out
        pairs = {"image_before": tmp_path / "before"}
        try:
            index(*words, pairs=pairs)
            place = said = "none"
        except (DataError, OSError) as error:
            said = str(error).lower()
            place = "while measuring" if "gv-data measure" in said else "before that"
        assert said == "none" or "no space left" in said
        places.add(place)
        filler.unlink()
        assert not list(out.glob("*.part*")) + list(out.glob(".*.part*"))
        if place == "before that":
            index(*words, pairs=pairs)
        elif place == "while measuring":
            measure_catalog(Catalog.open(out))
        np.testing.assert_allclose(mean(Catalog.open(out)), expected(SCENES), rtol=1e-13)
        halves = {name: values // 2 for name, values in SCENES.items()}
        found = Catalog.open(out).statistics_of("image_before")
        np.testing.assert_allclose(found.mean, expected(halves), rtol=1e-13)
        shutil.rmtree(out)
    assert places == {"before that", "while measuring", "none"}


def test_two_at_once_lose_nothing(catalog):
    script = (
        "import sys; from gv_data.catalog import Catalog; "
        "from gv_data.measure.catalog_statistics import measure_catalog; "
        "measure_catalog(Catalog.open(sys.argv[1]).where(sys.argv[2]))"
    )
    halves = ("id < 't3'", "id >= 't3'")
    children = [
        subprocess.Popen([sys.executable, "-c", script, str(catalog.path), half]) for half in halves
    ]
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    assert measure_catalog(catalog).images.known == 6
    np.testing.assert_allclose(mean(catalog), expected(SCENES), rtol=1e-13)


def test_classes_are_counted_as_numpy_counts_them(catalog, tif, tmp_path):
    masks = {name: RNG.integers(0, 3, values.shape[1:]).astype(np.uint8) for name, values in
             SCENES.items()}  # fmt: skip
    for name, mask in masks.items():
        tif(f"masks/{name}.tif", mask[None])
    words: dict[str, Any] = {
        "masks": tmp_path / "masks",
        "classes": ("ground", "roof", "road"),
        "ignore": (2,),
    }
    with pytest.raises(CatalogError, match="a class and ignored"):
        index([tmp_path / "images"], tmp_path / "m", **words, mask_values=(0, 1, 2))
    words |= {"classes": ("ground", "roof"), "mask_values": (0, 1)}
    found = index([tmp_path / "images"], tmp_path / "m", **words).catalog
    counts = {n: sum((mask == n).sum() for mask in masks.values()) for n in range(2)}
    table = found.sql("SELECT class, sum(pixels)::INT AS n FROM labels GROUP BY ALL ORDER BY ALL")
    assert table["n"].to_pylist() == [counts[0], counts[1]]
    total = counts[0] + counts[1]
    assert found.class_weights == pytest.approx(
        {"ground": total / 2 / counts[0], "roof": total / 2 / counts[1]}
    )
    area = found.sql("SELECT sum(area_m2) AS a FROM labels WHERE class = 'roof'")["a"][0].as_py()
    assert area == pytest.approx(counts[1] * 0.25, rel=2e-3)


def test_polygons_are_counted_by_class_and_again_when_they_change(tif, tmp_path):
    image = tif("one/a.tif", RNG.integers(1, 255, (1, 100, 100), dtype=np.uint8))
    boxes = [shapely.box(500_000 + x, 2_999_990, 500_004 + x, 3_000_000) for x in (0, 10, 20)]
    frame = gpd.GeoDataFrame({"kind": ["a", "b", "a"]}, geometry=boxes, crs="EPSG:32637")
    frame.to_file(tmp_path / "roofs.geojson")
    words: dict[str, Any] = {"labels": tmp_path / "roofs.geojson", "label_column": "kind"}
    catalog = index([image], tmp_path / "p", **words).catalog
    query = "SELECT class, pixels, objects FROM labels ORDER BY number"
    rows = [tuple(row.values()) for row in catalog.sql(query).to_pylist()]
    assert rows == [("background", 10_000 - 3 * 160, None), ("a", 320, 2), ("b", 160, 1)]
    frame.iloc[:2].to_file(tmp_path / "roofs.geojson")
    done = measure_catalog(catalog)
    assert (done.images.done, done.labels.done) == (0, 1)
    rows = [tuple(row.values()) for row in catalog.sql(query).to_pylist()]
    assert rows[1:] == [("a", 160, 1), ("b", 160, 1)]


def test_weights_without_counts_are_refused(catalog):
    with pytest.raises(CatalogError, match=r"no label is counted(?s:.*)gv-data measure"):
        _ = catalog.class_weights
