"""Statistics brought up to date: what is new or changed is measured, nothing known is lost."""

import signal
import subprocess
import sys
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
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
    from gv_data.intake.indexing import remove

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
