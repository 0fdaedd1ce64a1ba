"""Views of a catalog: right answers, nothing else to be read or written, moved and newer data."""

import json
import pickle
import shutil
from pathlib import Path

import duckdb
import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from affine import Affine

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.intake.indexing import index

RNG = np.random.default_rng(2)
IMAGES = {f"t{n}": RNG.integers(0, 256, (3, 40 + 20 * n, 50), dtype=np.uint8) for n in range(4)}
HOUSE = shapely.box(500_002, 2_999_990, 500_010, 2_999_998)


@pytest.fixture
def catalog(tif, vectors, tmp_path) -> Catalog:
    """Four images, two places; the first two also as seen by two datasets."""
    paths = {name: tif(f"{name}.tif", values) for name, values in IMAGES.items()}
    out, labels = tmp_path / "catalog", vectors("houses.gpkg", [HOUSE])
    index([paths["t0"], paths["t1"]], out, labels=labels, place="north")
    index([paths["t2"], paths["t3"]], out, place="south", append=True)
    return Catalog.open(out)


def ids(view: Catalog) -> list[str]:
    return [image.id for image in view.images]


def test_conditions_narrow_views_and_leave_the_first_alone(catalog):
    north = catalog.where("place = 'north'")
    low = north.where("height_px < 50 OR width_px < 0")
    assert ids(low) == ["north/t0"]
    assert ids(north) == ["north/t0", "north/t1"]
    assert len(catalog) == 4
    assert ids(catalog.where("split = 'train'")) == []
    with pytest.raises(AttributeError):
        catalog.conditions = ()


def test_bounds_are_those_of_the_images_of_the_view(catalog):
    every = gpd.read_parquet(catalog.path / "images.parquet").set_index("id").geometry
    assert np.allclose(catalog.bounds, every.total_bounds, atol=1e-6)
    assert np.allclose(catalog.where("id = 'north/t1'").bounds, every["north/t1"].bounds, atol=1e-6)
    assert catalog.where("place = 'nowhere'").bounds is None


def test_a_view_reads_no_file_before_it_is_asked(catalog, tmp_path):
    shutil.rmtree(tmp_path / "catalog")
    view = catalog.where("place = 'north'")
    with pytest.raises(CatalogError, match="cannot be read"):
        len(view)


def test_own_tables_can_be_named_in_sub_queries(catalog, tmp_path):
    (tmp_path / "listed.txt").write_text("t1.tif\nt3.tif\n")
    (tmp_path / "marks.csv").write_text("name,mark\nt0.tif,5\nt1.tif,2\n")
    listed = catalog.where("image IN (SELECT f0 FROM listed)", listed=tmp_path / "listed.txt")
    assert ids(listed) == ["north/t1", "south/t3"]
    good = "EXISTS (SELECT 1 FROM marks m WHERE m.name = images.image AND m.mark > 3)"
    assert ids(catalog.where(good, marks=str(tmp_path / "marks.csv"))) == ["north/t0"]
    assert ids(listed.where("image = (SELECT max(name) FROM marks)", marks=tmp_path / "marks.csv"))
    arrow = pa.table({"id": ["south/t2"]})
    pq.write_table(arrow, tmp_path / "t.parquet")
    for table in (arrow, tmp_path / "t.parquet"):
        assert ids(catalog.where("id IN (FROM chosen)", chosen=table)) == ["south/t2"]
    mean = "height_px > (SELECT avg(height_px) FROM images)"
    assert ids(catalog.where(mean)) == ["south/t2", "south/t3"]


def test_tables_that_cannot_be_read_or_named_are_refused(catalog, tmp_path):
    (tmp_path / "bad.parquet").write_text("none")
    for value, said in [
        (tmp_path / "none.csv", "is not there"),
        (tmp_path / "bad.parquet", "cannot be read as a table"),
    ]:
        with pytest.raises(CatalogError, match=said):
            catalog.where("true", listed=value)
    table = pa.table({"id": ["a"]})
    for name in ("images", "statistics", "a b"):
        with pytest.raises(CatalogError, match="cannot be called"):
            catalog.where("true", **{name: table})
    with pytest.raises(CatalogError, match="already"):
        catalog.where("true", t=table).where("true", t=pa.table({"id": ["b"]}))


@pytest.mark.parametrize(
    "condition",
    [
        "1=1; DROP TABLE images",
        "id > 1) OR (1=1",
        "true ORDER BY id",
        "true GROUP BY id",
        "true; --",
        "",
        "SELECT 1",
        "true) UNION (SELECT * FROM images",
        "true /*",
        "id =",
    ],
)
def test_what_is_not_one_expression_is_refused_at_once(catalog, condition):
    with pytest.raises(CatalogError, match="condition"):
        catalog.where(condition)


def test_comments_at_the_end_of_a_condition_hide_nothing(catalog):
    view = catalog.where("place = 'north' --").where("height_px > 50")
    assert ids(view) == ["north/t1"]


def test_an_unknown_column_is_answered_with_those_there_are(catalog):
    with pytest.raises(CatalogError) as refused:
        len(catalog.where("gsd < 1"))
    assert '"gsd" not found' in str(refused.value)
    assert "columns of images: id, image" in str(refused.value)
    assert "gsd_m" in str(refused.value)


ATTACKS = [
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM read_json('{secret}')",
    "SELECT * FROM read_parquet('{catalog}/images.parquet')",
    "SELECT * FROM parquet_metadata('{catalog}/images.parquet')",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM '/dev/stdin'",
    "SELECT * FROM '{folder}/../{folder}/secret.csv'",
    "SELECT * FROM 'http://127.0.0.1:9/x.parquet'",
    "SELECT * FROM 's3://bucket/x.parquet'",
    "SELECT * FROM glob('{folder}/*')",
    "COPY (SELECT 1) TO '{written}'",
    "COPY images TO '{catalog}/images.parquet' (USE_TMP_FILE false)",
    "COPY images FROM '{secret}'",
    "EXPORT DATABASE '{written}'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{written}'",
    "ATTACH 'http://127.0.0.1:9/x.db' AS x",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{secret}'",
    "CREATE SECRET (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "CREATE PERSISTENT SECRET (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "SET enable_external_access=true",
    "RESET enable_external_access",
    "PRAGMA enable_external_access",
    "SET GLOBAL allowed_paths=['{secret}']",
    "PRAGMA profiling_output='{written}'",
    "CALL enable_logging(storage='file', storage_config={{'path': '{written}'}})",
    "INSERT INTO images SELECT * FROM images",
    "UPDATE images SET place = 'x'",
    "DELETE FROM images",
    "WITH x AS (DELETE FROM images RETURNING *) SELECT * FROM x",
    "SELECT 1; SELECT 2",
    "SELECT * FROM ATTACKS",  # a variable of the caller
]


@pytest.mark.parametrize("query", ATTACKS)
def test_sql_cannot_reach_files_the_network_or_settings(catalog, tmp_path, query):
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    places = {
        "secret": tmp_path / "secret.csv",
        "catalog": tmp_path / "catalog",
        "folder": tmp_path,
        "written": tmp_path / "written",
    }
    with pytest.raises(CatalogError):
        catalog.sql(query.format(**places))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert len(catalog.where("true")) == 4


def test_a_condition_cannot_reach_files_either(catalog, tmp_path):
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    view = catalog.where(f"1 IN (SELECT a FROM read_csv('{tmp_path / 'secret.csv'}'))")
    with pytest.raises(CatalogError, match=r"[Pp]ermission|disabled"):
        len(view)


def test_a_query_without_an_answer_is_refused_and_changes_nothing(catalog):
    with pytest.raises(CatalogError, match="ask with SELECT"):
        catalog.sql("CREATE VIEW x AS SELECT 1")
    assert len(catalog.sql("SELECT * FROM images")) == 4


def test_moments_of_a_view_are_those_of_its_pixels(catalog):
    view = catalog.where("place = 'south'")
    pixels = np.concatenate([IMAGES[name].reshape(3, -1) for name in ("t2", "t3")], axis=1)
    np.testing.assert_allclose(view.statistics.mean, pixels.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(view.statistics.std, pixels.std(axis=1), rtol=1e-12)
    sql = view.sql(
        "SELECT band, sum(valid * mean) / sum(valid) AS mean, min(minimum) AS low, max(maximum) "
        "AS high FROM statistics JOIN images USING (id) GROUP BY band, position ORDER BY position"
    )
    np.testing.assert_allclose(sql["mean"], pixels.mean(axis=1))
    np.testing.assert_array_equal(sql["low"], pixels.min(axis=1))
    np.testing.assert_array_equal(sql["high"], pixels.max(axis=1))


def test_views_with_other_bands_or_no_image_have_no_moments(catalog, tif):
    index([tif("grey.tif", IMAGES["t0"][:1])], catalog.path, append=True)
    mixed = Catalog.open(catalog.path)
    with pytest.raises(CatalogError, match=r"holds gray and red\+green\+blue"):
        _ = mixed.statistics
    assert mixed.where("len(bands) = 3").bands == ("red", "green", "blue")
    with pytest.raises(CatalogError, match="holds no images at all"):
        _ = mixed.where("false").statistics


def test_a_view_opened_before_an_append_still_answers(catalog, tif):
    view = catalog.where("place = 'north'")
    index([tif("t9.tif", IMAGES["t0"])], catalog.path, append=True, place="west")
    assert len(view.images) == 2
    assert view.statistics.valid == 50 * (40 + 60)


def test_other_tools_read_the_table_as_geoparquet(catalog):
    path = catalog.path / "images.parquet"
    frame = gpd.read_parquet(path)
    with duckdb.connect() as connection:
        kinds = connection.sql(f"SELECT DISTINCT typeof(geometry) FROM '{path}'").fetchall()
    assert "GEOMETRY" in kinds[0][0]
    assert catalog.sql("SELECT typeof(geometry) t FROM images")["t"][0].as_py() == (
        "GEOMETRY('OGC:CRS84')"
    )
    for image in catalog.images:
        footprint = frame.set_index("id").geometry[image.id]
        assert footprint.equals(image.grid.footprint())
    boxes = pq.read_table(path, columns=["bbox"])["bbox"].to_pylist()
    assert [tuple(box.values()) for box in boxes] == [g.bounds for g in frame.geometry]


@pytest.mark.skipif(
    "Parquet" not in pyogrio.list_drivers(), reason="pyogrio's GDAL is built without Parquet"
)
def test_gdal_reads_the_table(catalog):
    assert len(pyogrio.read_dataframe(catalog.path / "images.parquet")) == 4


def test_a_newer_layout_is_refused(catalog):
    file = catalog.path / "catalog.json"
    file.write_text(json.dumps({**catalog.description, "schema": 99}))
    with pytest.raises(CatalogError, match=r"layout 99, this gv-data reads up to 2.*\n.*uv add"):
        Catalog.open(catalog.path)


def test_damaged_and_missing_catalogs_are_said(catalog, tmp_path):
    with pytest.raises(CatalogError, match="is not a catalog"):
        Catalog.open(tmp_path)
    table = catalog.path / "images.parquet"
    data = bytearray(table.read_bytes())
    data[40] ^= 1
    table.write_bytes(data)
    with pytest.raises(CatalogError, match=r"images\.parquet cannot be read"):
        len(Catalog.open(catalog.path))
    (catalog.path / "catalog.json").write_text("{")
    with pytest.raises(CatalogError, match=r"catalog\.json cannot be read"):
        Catalog.open(catalog.path)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "out/passwd"])
def test_paths_that_leave_the_root_are_refused(catalog, tmp_path, path):
    (tmp_path / "out").symlink_to("/etc")
    table = catalog.path / "images.parquet"
    frame = gpd.read_parquet(table)
    frame["image"] = path
    frame.to_parquet(table)
    with pytest.raises(CatalogError, match="outside its root"):
        _ = Catalog.open(catalog.path).images[0]


def test_moved_data_are_found_below_the_new_root(tif, tmp_path):
    for place in ("north", "south"):
        folder = tif(f"old/{place}/a.tif", IMAGES["t0"]).parent
        index([folder], tmp_path / "c", place=place, append=True)
    shutil.move(tmp_path / "old", tmp_path / "new")
    found = Catalog.open(tmp_path / "c", root=tmp_path / "new").images
    assert [image.path for image in found] == [
        tmp_path / "new" / place / "a.tif" for place in ("north", "south")
    ]
    assert all(image.path.is_file() for image in found)


def test_a_view_can_be_sent_to_another_process(catalog):
    view = catalog.where("place = 'north'")
    assert ids(pickle.loads(pickle.dumps(view))) == ids(view)


def test_ten_thousand_rows_open_quickly(catalog, tmp_path):
    frame = gpd.read_parquet(catalog.path / "images.parquet")
    many = frame.loc[frame.index.repeat(2500)].reset_index(drop=True)
    many["id"] = [f"{name}-{n}" for n, name in enumerate(many["id"])]
    many.to_parquet(catalog.path / "images.parquet")
    view = Catalog.open(Path(catalog.path)).where("place = 'north'")
    assert len(view) == 5000
    assert view.images[0].grid.transform == Affine(0.5, 0, 500_000, 0, -0.5, 3_000_000)
