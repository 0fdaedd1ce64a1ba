"""From files to a catalog: what is kept, counted, refused, and what a kill leaves."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import CRS, Transformer

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError, DataError, VectorError
from gv_data.intake.image_row import Part
from gv_data.intake.indexing import index
from gv_data.rasters.raster import Scene

RNG = np.random.default_rng(1)
IMAGE = RNG.integers(1, 255, (3, 100, 120), dtype=np.uint8)
WEST, NORTH = 500_000, 3_000_000
HOUSES = [
    shapely.box(WEST + 5, NORTH - 30, WEST + 15, NORTH - 20),
    shapely.box(WEST + 20, NORTH - 30, WEST + 30, NORTH - 20),
    shapely.box(WEST + 500, NORTH - 30, WEST + 510, NORTH - 20),
]
BOW_TIE = shapely.Polygon([(WEST + 35, NORTH - 5), (WEST + 45, NORTH - 9), (WEST + 45, NORTH - 5),
                           (WEST + 35, NORTH - 9)])  # fmt: skip


def in_mercator(tif, name):
    """The same ground as the UTM images, roughly, in Web Mercator."""
    to_mercator = Transformer.from_crs("EPSG:32637", "EPSG:3857", always_xy=True)
    x, y = to_mercator.transform(WEST, NORTH)
    return tif(name, IMAGE, crs="EPSG:3857", transform=Affine(0.6, 0, x, 0, -0.6, y))


def test_a_row_says_what_rasterio_says(tif, vectors, tmp_path):
    path = tif("images/a.tif", IMAGE)
    found = index([path.parent], tmp_path / "c", labels=vectors("h.gpkg", HOUSES), place="here")
    (row,) = found.catalog.sql("SELECT * FROM images").to_pylist()
    with rasterio.open(path) as file:
        assert row["crs"] == file.crs.to_string()
        assert row["transform"] == list(file.transform)[:6]
        assert (row["height_px"], row["width_px"]) == file.shape
        assert row["dtype"] == file.dtypes[0]
        ring = rasterio.warp.transform_geom(file.crs, "OGC:CRS84", shapely.box(*file.bounds))
    assert (
        shapely.from_wkb(row["geometry"]).symmetric_difference(shapely.geometry.shape(ring)).area
        < 1e-12
    )
    assert row["id"] == "here/a"
    assert row["bands"] == ["red", "green", "blue"]
    assert row["objects"] == 2
    assert (found.added, found.objects, found.outside, found.unlabelled) == (1, 2, 1, 0)


def test_the_moments_are_those_of_the_valid_pixels(tif, tmp_path):
    values = RNG.normal(100, 20, (2, 700, 90)).astype(np.float32)
    values[:, :300, :40] = -9999
    index([tif("a.tif", values, nodata=-9999)], tmp_path / "c")
    moments = Catalog.open(tmp_path / "c").statistics
    pixels = values[:, values[0] != -9999].astype(np.float64)
    np.testing.assert_allclose(moments.mean, pixels.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(moments.std, pixels.std(axis=1), rtol=1e-10)
    assert (moments.valid, moments.invalid) == (pixels.shape[1], 300 * 40)


def test_images_in_several_crs_share_a_catalog_and_labels(tif, vectors, tmp_path):
    images = [tif("utm.tif", IMAGE), in_mercator(tif, "mercator.tif")]
    lonlat = gpd.GeoSeries(HOUSES, crs="EPSG:32637").to_crs("EPSG:4326").to_list()
    labels = vectors("houses.geojson", lonlat, "EPSG:4326")
    found = index(images, tmp_path / "c", labels=labels)
    rows = found.catalog.sql("SELECT crs, objects FROM images ORDER BY crs").to_pylist()
    assert rows == [{"crs": "EPSG:32637", "objects": 2}, {"crs": "EPSG:3857", "objects": 2}]
    assert (found.objects, found.outside) == (2, 1)


def test_self_crossing_labels_are_repaired_and_counted(tif, vectors, tmp_path):
    labels = vectors("houses.gpkg", [*HOUSES, BOW_TIE])
    found = index([tif("a.tif", IMAGE)], tmp_path / "c", labels=labels)
    assert (found.repaired, found.objects) == (1, 3)


def test_empty_labels_are_refused_and_nothing_is_written(tif, vectors, tmp_path):
    labels = vectors("empty.geojson", [], "EPSG:4326")
    with pytest.raises(VectorError, match=r"empty\.geojson"):
        index([tif("a.tif", IMAGE)], tmp_path / "c", labels=labels)
    assert not (tmp_path / "c").exists()


def test_labels_elsewhere_are_refused_with_the_way_out(tif, vectors, tmp_path):
    image, out = tif("a.tif", IMAGE), tmp_path / "c"
    with pytest.raises(CatalogError, match="do not overlap"):
        index([image], out, labels=vectors("far.gpkg", HOUSES[2:]))
    wrong = vectors("wrong.gpkg", HOUSES, "EPSG:32638")
    with pytest.raises(CatalogError, match="try: --labels-crs EPSG:32637"):
        index([image], out, labels=wrong)
    swapped = [shapely.transform(house, lambda xy: xy[:, ::-1]) for house in HOUSES]
    yx = vectors("yx.gpkg", swapped)
    with pytest.raises(CatalogError, match="try: --swap-xy"):
        index([image], out, labels=yx)
    assert not out.exists()
    assert index([image], out, labels=wrong, labels_crs="EPSG:32637").objects == 2
    index([image], out, labels=yx, swap_xy=True, place="other", append=True)
    assert [image.objects for image in Catalog.open(out).images] == [2, 2]


def test_broken_files_are_recorded_and_the_rest_goes_on(tif, tmp_path):
    good = tif("images/good.tif", IMAGE)
    cut = tif("images/cut.tif", IMAGE)
    cut.write_bytes(cut.read_bytes()[:-5000])
    (good.parent / "text.png").write_text("no image")
    (good.parent / "good.tif.aux.xml").write_text("<PAMDataset/>")
    (good.parent / ".hidden.tif").write_text("no image")
    tif("images/void.tif", np.zeros_like(IMAGE), nodata=0)
    found = index([good.parent], tmp_path / "c")
    assert [image.id for image in found.catalog.images] == ["good"]
    reasons = {path.name: reason for path, reason in found.refused}
    assert set(reasons) == {"cut.tif", "text.png", "void.tif"}
    assert "its index needs" in reasons["cut.tif"]
    assert "every pixel is nodata" in reasons["void.tif"]


def test_when_nothing_can_be_used_nothing_is_written(tmp_path):
    (tmp_path / "a.tif").write_text("no image")
    with pytest.raises(CatalogError, match="none of 1 images can be used"):
        index([tmp_path / "a.tif"], tmp_path / "c")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogError, match="no image in"):
        index([tmp_path / "empty"], tmp_path / "c")
    with pytest.raises(CatalogError, match="nowhere is not there"):
        index([tmp_path / "nowhere"], tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # while writing
def test_an_image_without_place_is_refused_unless_asked_for(tif, vectors, tmp_path):
    path = tif("a.tif", IMAGE, crs=None)
    with pytest.raises(CatalogError, match="no CRS or transform"):
        index([path], tmp_path / "c")
    with pytest.raises(CatalogError, match="no CRS or transform"):
        index([path], tmp_path / "c", labels=vectors("h.gpkg", HOUSES), georeference=False)
    found = index([path], tmp_path / "c", georeference=False)
    (image,) = found.catalog.images
    assert image.grid.crs is None
    assert found.catalog.sql("SELECT geometry, gsd_m FROM images").to_pylist() == [
        {"geometry": None, "gsd_m": None}
    ]


def test_the_same_name_twice_is_refused_before_anything_is_read(tif, tmp_path):
    one, two = tif("one/a.tif", IMAGE), tif("two/a.tif", IMAGE)
    with pytest.raises(CatalogError, match="two images would be called here/a"):
        index([one, two], tmp_path / "c", place="here")
    index([one.parent.parent], tmp_path / "c", place="here")
    ids = [image.id for image in Catalog.open(tmp_path / "c").images]
    assert ids == ["here/one/a", "here/two/a"]
    index([one], tmp_path / "c", append=True)
    with pytest.raises(CatalogError, match="two images would be called a"):
        index([two], tmp_path / "c", append=True)
    assert len(index([one, one.parent], tmp_path / "d").catalog) == 1


def test_appending_keeps_old_rows_and_columns_of_their_own(tif, tmp_path):
    out = tmp_path / "c"
    index([tif("a.tif", IMAGE)], out)
    frame = gpd.read_parquet(out / "images.parquet").assign(season=["dry"], flights=[3])
    frame.to_parquet(out / "images.parquet", write_covering_bbox=True, schema_version="1.1.0")
    before = Catalog.open(out)
    found = index([tif("b.tif", IMAGE // 2)], out, append=True, place="p")
    rows = found.catalog.sql("SELECT id, season, flights, place, split FROM images").to_pylist()
    assert rows == [
        {"id": "a", "season": "dry", "flights": 3, "place": None, "split": None},
        {"id": "p/b", "season": None, "flights": None, "place": "p", "split": None},
    ]
    assert [image.id for image in found.new.images] == ["p/b"]
    old, new = before.images[0], found.catalog.images[0]
    assert (old.path, old.grid) == (new.path, new.grid)
    both = found.catalog.statistics
    np.testing.assert_allclose(both.mean, (IMAGE.mean((1, 2)) + (IMAGE // 2).mean((1, 2))) / 2)


def test_an_existing_catalog_is_not_replaced(tif, tmp_path):
    path = tif("a.tif", IMAGE)
    index([path], tmp_path / "c")
    with pytest.raises(CatalogError, match="try: --append"):
        index([path], tmp_path / "c", place="other")


def test_settings_of_labels_without_labels_are_refused(tif, tmp_path):
    with pytest.raises(CatalogError, match="need labels"):
        index([tif("a.tif", IMAGE)], tmp_path / "c", labels_crs="EPSG:4326")


def test_a_labelled_area_that_meets_no_image_is_refused(tif, vectors, tmp_path):
    area = vectors("area.gpkg", [HOUSES[2]])
    with pytest.raises(CatalogError, match=r"area\.gpkg and the images do not overlap"):
        index(
            [tif("a.tif", IMAGE)],
            tmp_path / "c",
            labels=vectors("h.gpkg", HOUSES),
            labelled_area=area,
        )


def test_parts_become_rows_and_empty_ones_are_left_out(tif, vectors, tmp_path):
    values = IMAGE.copy()
    values[:, :50, :60] = 0

    def quarters(scene: Scene, _: object) -> list[Part]:
        assert scene.grid.shape_hw == (100, 120)
        return [
            Part(f"-{row}-{column}", row, column, 50, 60, "train")
            for row in (0, 50)
            for column in (0, 60)
        ]

    found = index(
        [tif("a.tif", values, nodata=0)],
        tmp_path / "c",
        labels=vectors("h.gpkg", HOUSES),
        parts=quarters,
    )
    assert [image.id for image in found.catalog.images] == ["a-0-60", "a-50-0", "a-50-60"]
    north_east, south_west, _ = found.catalog.images
    assert north_east.origin == (0, 60)
    assert north_east.grid.transform @ (0, 0) == (WEST + 30, NORTH)
    assert south_west.split == "train"
    moments = found.catalog.where("id = 'a-50-0'").statistics
    np.testing.assert_allclose(moments.mean, values[:, 50:, :60].mean(axis=(1, 2)))


def test_a_custom_crs_survives(tif, tmp_path):
    custom = CRS("+proj=laea +lat_0=27 +lon_0=39.1 +ellps=GRS80 +units=m")
    path = tif("a.tif", IMAGE, crs=custom.to_wkt(), transform=Affine(0.5, 0, 0, 0, -0.5, 0))
    index([path], tmp_path / "c")
    with Scene(path) as scene:
        assert Catalog.open(tmp_path / "c").images[0].grid == scene.grid


def test_the_tables_are_geoparquet_1_1_with_their_types(tif, tmp_path):
    index([tif("a.tif", IMAGE)], tmp_path / "c")
    path = tmp_path / "c" / "images.parquet"
    geo = json.loads(pq.read_metadata(path).metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    frame = gpd.read_parquet(path)
    assert frame.crs == CRS("OGC:CRS84")
    assert str(pq.read_schema(path).field("split").type) == "string"  # null in every row


KILLED = """
import sys
from pathlib import Path
from gv_data import atomic
from gv_data.intake import indexing
write = atomic.os.replace
left = int(sys.argv[3])
def replace(source, target):
    global left
    if left == 0:
        atomic.os._exit(9)
    left -= 1
    write(source, target)
atomic.os.replace = replace
indexing.index([Path(sys.argv[1])], Path(sys.argv[2]), append=True, place="killed")
"""


@pytest.mark.robust
@pytest.mark.parametrize("files", [0, 1, 2, 3])
def test_a_kill_between_the_files_keeps_a_catalog_that_answers(tif, tmp_path, files):
    out, image = tmp_path / "c", tif("a.tif", IMAGE)
    other = tif("b.tif", IMAGE // 3)
    index([image], out)
    mean = Catalog.open(out).statistics.mean
    told = subprocess.run([sys.executable, "-c", KILLED, other, out, str(files)], check=False)
    assert told.returncode == 9
    catalog = Catalog.open(out)
    assert [found.id for found in catalog.images] == ["a"]
    assert catalog.statistics.mean == pytest.approx(mean)
    again = index([other], out, append=True, place="killed")
    assert [found.id for found in again.catalog.images] == ["a", "killed/b"]
    assert [found.id for found in again.new.images] == ["killed/b"]
    assert again.catalog.statistics.valid == 2 * IMAGE[0].size
    assert len(again.catalog.sql("SELECT * FROM statistics")) == 6
    assert {file.name for file in out.iterdir()} == {
        ".lock", "catalog.json", "images.parquet", "labels.parquet", "statistics.parquet",
    }  # fmt: skip


@pytest.mark.robust
def test_a_full_disk_keeps_the_old_catalog(tif, full_disk):
    out = full_disk / "c"
    index([tif("a.tif", IMAGE)], out)
    filler = full_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(full_disk).free))
    with pytest.raises(DataError, match="no space left"):
        index([tif("b.tif", IMAGE)], out, append=True)
    filler.unlink()
    assert [image.id for image in Catalog.open(out).images] == ["a"]


@pytest.mark.real_data
def test_real_scenes_have_the_counts_of_their_description(tmp_path):
    data = Path(__file__).parents[3] / "shared" / "data" / "buildings"
    if not data.is_dir():
        pytest.skip(f"{data} is not there")
    found = {}
    for place, images in (("zanzibar", ""), ("banepa_tiles", "images"), ("banepa", "")):
        labels = data / place / "labels.geojson"
        folder = [data / place / images]
        found[place] = index(folder, tmp_path / "c", labels=labels, place=place, append=True)
    assert {place: (f.added, f.objects, f.outside) for place, f in found.items()} == {
        "zanzibar": (6, 201, 0),
        "banepa_tiles": (91, 1466, 0),
        "banepa": (2, 79, 1),
    }
    assert not any(f.refused for f in found.values())
    assert found["banepa_tiles"].unlabelled == 16  # the tiles to predict
    catalog = Catalog.open(tmp_path / "c")
    assert len(catalog) == 99
    gsd = {image.id: image.grid.gsd_m for image in catalog.images}
    assert gsd["banepa/z21_a"] == pytest.approx(0.066, abs=0.001)
    listed = {"listed": data / "banepa_tiles" / "split_train_labelled.txt"}
    own = catalog.where("image IN (SELECT 'images/' || f0 FROM listed)", **listed)
    assert len(own) == 48
    pixels = []
    for image in catalog.where("place = 'banepa'").images:
        with rasterio.open(image.path) as file:
            pixels.append(file.read()[:, file.dataset_mask() > 0].astype(np.float64))
    moments = catalog.where("place = 'banepa'").statistics
    everything = np.concatenate(pixels, axis=1)
    np.testing.assert_allclose(moments.mean, everything.mean(axis=1))
    np.testing.assert_allclose(moments.std, everything.std(axis=1))


def test_when_the_last_step_refuses_all_images_the_reason_is_told(tif, tmp_path, command):
    for name in ("a", "b"):
        tif(f"images/{name}.tif", IMAGE)
        far = Affine(0.5, 0, WEST + 9000, 0, -0.5, NORTH)
        tif(f"sar/{name}.tif", IMAGE, transform=far)
    words = ("--pair", f"sar={tmp_path / 'sar'}", "--out", tmp_path / "c")
    code, _, said = command("index", tmp_path / "images", *words)
    assert code == 2
    assert "none of 2 images can be used" in said
    assert "shows nothing of the ground of a" in said
    assert not list((tmp_path / "c").glob("[!.]*"))
    old = tif("old/z.tif", IMAGE)
    assert command("index", old, "--out", tmp_path / "c")[0] == 0
    for _ in range(2):  # what failed is tried again
        code, told, _ = command("index", tmp_path / "images", *words, "--update")
        assert code == 3
        assert "shows nothing of the ground of a" in told
    assert [image.id for image in Catalog.open(tmp_path / "c").images] == ["z"]
    assert len(Catalog.open(tmp_path / "c").sql("SELECT id FROM errors")) == 2
