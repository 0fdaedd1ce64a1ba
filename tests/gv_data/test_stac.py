"""STAC out and in: what pystac and the schemas say of ours, what we believe of others'."""

import datetime as dt
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given as drawn
from hypothesis import strategies as st
from pyproj import Transformer
from shapely.geometry import mapping

from gv_data.catalog import Catalog
from gv_data.cli import FAMILY
from gv_data.errors import CatalogError
from gv_data.intake.image_row import Part
from gv_data.intake.indexing import index
from gv_data.stac.stac_columns import columns
from gv_data.stac.stac_export import export
from gv_data.stac.stac_import import import_stac
from gv_data.stac.stac_items import local
from gv_data.terminal.command import run

RNG = np.random.default_rng(11)
IMAGES = {f"t{n}": RNG.integers(1, 255, (3, 40 + 10 * n, 50), dtype=np.uint8) for n in range(3)}
HOUSES = [shapely.box(500_002, 2_999_990, 500_010, 2_999_998)]
BOX = mapping(shapely.box(0, 0, 1, 1))


@pytest.fixture
def catalog(tif, vectors, tmp_path) -> Catalog:
    """Three images with labels, in the folder ``data/photos`` of the temporary one."""
    for name, values in IMAGES.items():
        tif(f"data/photos/{name}.tif", values, nodata=0)
    labels = vectors("data/houses.gpkg", HOUSES)
    index([tmp_path / "data" / "photos"], tmp_path / "town", labels=labels, place="town")
    return Catalog.open(tmp_path / "town")


@pytest.fixture
def item(tmp_path) -> Callable[..., dict[str, Any]]:
    """Makes items as others write them; the file ``a.tif`` has another shape than they say."""
    (tmp_path / "others").mkdir()
    write_image(tmp_path / "others" / "a.tif")

    def make(name: str = "S2A", href: str = "./a.tif", **properties: object) -> dict[str, Any]:
        said = {"datetime": "2021-07-05T10:00:00Z", "proj:shape": [9, 9], "proj:code": "EPSG:4326"}
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name,
            "geometry": BOX,
            "bbox": [0, 0, 1, 1],
            "properties": said | properties,
            "links": [],
            "assets": {
                "visual": {"href": href, "type": "image/tiff", "roles": ["visual"]},
                "thumbnail": {"href": "b.png", "type": "image/png", "roles": ["thumbnail"]},
            },
        }

    return make


def write_image(path: Path) -> None:
    profile = {"driver": "GTiff", "dtype": "uint16", "crs": "EPSG:32637", "count": 1}
    place = Affine(10, 0, 300_000, 0, -10, 4_000_000)
    with rasterio.open(path, "w", height=20, width=30, transform=place, **profile) as file:
        file.write(np.arange(600, dtype=np.uint16).reshape(1, 20, 30))


def write(path: Path, data: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def rows(catalog: Catalog) -> list[dict[str, Any]]:
    """The images but for where their collection came from."""
    table = catalog.sql("SELECT * REPLACE (ST_AsWKB(geometry) AS geometry) FROM images ORDER BY id")
    names = [name for name in table.column_names if name not in ("collection", "source")]
    return table.select(names).to_pylist()


def statistics(catalog: Catalog) -> list[dict[str, Any]]:
    return catalog.sql("SELECT * FROM statistics ORDER BY id, position").to_pylist()


def errors(catalog: Catalog) -> dict[str, str]:
    table = catalog.sql("SELECT id, error FROM errors ORDER BY id")
    return dict(zip(table["id"].to_pylist(), table["error"].to_pylist(), strict=True))


@pytest.fixture(scope="module")
def complaints() -> Callable[[dict[str, Any]], list[str]]:
    """What the schemas of STAC 1.1 that pystac ships have against an item or a collection."""
    pytest.importorskip("pystac", reason="the schemas of STAC come with pystac")
    from jsonschema import Draft7Validator
    from pystac.validation.local_validator import get_local_schema_cache
    from referencing import Registry, Resource

    schemas = get_local_schema_cache()
    known = [(uri, Resource.from_contents(schema)) for uri, schema in schemas.items()]
    registry = Registry().with_resources(known)

    def judge(data: dict[str, Any]) -> list[str]:
        kind = {"Feature": "item", "Collection": "collection"}[data["type"]]
        uri = f"https://schemas.stacspec.org/v1.1.0/{kind}-spec/json-schema/{kind}.json"
        validator = Draft7Validator(
            schemas[uri], registry=registry, format_checker=Draft7Validator.FORMAT_CHECKER
        )
        return [error.message for error in validator.iter_errors(data)]

    assert judge({"type": "Feature", "id": "no item"})
    return judge


def test_pystac_and_the_schemas_accept_a_static_catalog(catalog, complaints, tmp_path):
    pystac = pytest.importorskip("pystac")
    done = catalog.to_stac(tmp_path / "stac", licence="CC-BY-4.0")
    assert (done.items, done.undated) == (3, 3)
    assert complaints(json.loads(done.path.read_text())) == []
    collection = pystac.Collection.from_file(str(done.path))
    assert (collection.id, collection.license) == ("town", "CC-BY-4.0")
    assert collection.extent.spatial.bboxes[0] == pytest.approx(catalog.bounds)
    assert collection.extent.temporal.intervals == [[None, None]]
    items = {item.id: item for item in collection.get_items()}
    assert sorted(items) == ["town/t0", "town/t1", "town/t2"]
    for name, item in items.items():
        assert complaints(json.loads(Path(item.get_self_href()).read_text())) == []
        assert item.get_collection() is collection
        asset = item.assets["image"]
        file = Path(asset.get_absolute_href())
        with rasterio.open(file) as scene:
            assert item.ext.proj.shape == list(scene.shape)
            assert item.ext.proj.transform == list(scene.transform)[:6]
            assert item.ext.proj.code == "EPSG:32637"
        assert asset.ext.file.size == file.stat().st_size
        bands = asset.extra_fields["bands"]
        assert [band["eo:common_name"] for band in bands] == ["red", "green", "blue"]
        values = IMAGES[name.removeprefix("town/")].reshape(3, -1)
        for key, wanted in (
            *(("mean", values.mean(axis=1)), ("stddev", values.std(axis=1))),
            *(("minimum", values.min(axis=1)), ("maximum", values.max(axis=1))),
        ):
            found = [band["statistics"][key] for band in bands]
            np.testing.assert_allclose(found, wanted, rtol=1e-12)
        shape = shapely.geometry.shape(item.geometry)
        assert shape.exterior.is_ccw  # RFC 7946
        assert Path(item.assets["vectors"].get_absolute_href()).is_file()


def test_stac_geoparquet_geopandas_and_duckdb_read_the_table(catalog, complaints, tmp_path):
    stac_geoparquet = pytest.importorskip("stac_geoparquet.arrow")
    out = tmp_path / "data" / "town.parquet"
    export(catalog, out)
    table = pq.read_table(out)
    items = list(stac_geoparquet.stac_table_to_items(table))
    assert [complaints(item) for item in items] == [[], [], []]
    assert [item["assets"]["image"]["href"] for item in items] == [
        f"photos/{name}.tif" for name in IMAGES
    ]
    described = json.loads(table.schema.metadata[b"stac-geoparquet"])
    assert described["version"] == "1.1.0"
    assert complaints(described["collections"]["town"]) == []
    frame = gpd.read_parquet(out).set_index("id")
    before = gpd.read_parquet(catalog.path / "images.parquet").set_index("id")
    assert frame.crs == "OGC:CRS84"
    assert frame.geom_equals(before.loc[frame.index]).all()
    with duckdb.connect() as session:
        query = "SELECT id, assets.image.bands[1].statistics.mean FROM read_parquet(?) ORDER BY id"
        found = dict(session.execute(query, [str(out)]).fetchall())
    assert found == pytest.approx({f"town/{k}": v[0].mean() for k, v in IMAGES.items()})


@pytest.mark.parametrize("form", ["town.parquet", "stac", "stac/town.json"])
def test_what_was_exported_comes_back_the_same(form, catalog, tmp_path):
    done = catalog.to_stac(tmp_path / form)
    found = import_stac([done.path], tmp_path / "again", root=tmp_path)
    assert (found.added, found.refused) == (3, ())
    assert rows(found.catalog) == rows(catalog)
    assert statistics(found.catalog) == statistics(catalog)
    assert found.catalog.sources == catalog.sources
    assert found.catalog.images[0].vectors == catalog.images[0].vectors
    again = found.catalog.to_stac(tmp_path / f"again_{form}")
    once_more = import_stac([again.path], tmp_path / "twice", root=tmp_path)
    assert rows(once_more.catalog) == rows(catalog)


def test_images_across_the_antimeridian_are_items_that_schemas_accept_and_come_back(
    tif, complaints, tmp_path
):
    x, y = Transformer.from_crs(4326, 32701, always_xy=True).transform(180, -17)
    for n, start in enumerate((x - 700, x - 250, x + 200)):  # before it, across it, beyond it
        place = Affine(10, 0, start, 0, -10, y)
        tif(f"in/t{n}.tif", IMAGES["t0"], crs="EPSG:32701", transform=place)
    before = index([tmp_path / "in"], tmp_path / "c").catalog
    done = before.to_stac(tmp_path / "stac")
    described = json.loads(done.path.read_text())
    assert complaints(described) == []
    assert described["extent"]["spatial"]["bbox"] == [pytest.approx(before.bounds)]
    items = [json.loads(file.read_text()) for file in sorted(done.path.parent.glob("items/*"))]
    assert [complaints(item) for item in items] == [[], [], []]
    assert [item["geometry"]["type"] for item in items] == ["Polygon", "MultiPolygon", "Polygon"]
    assert [item["bbox"][0] > item["bbox"][2] for item in items] == [False, True, False]
    shape = shapely.geometry.shape(items[1]["geometry"])
    assert all(part.exterior.is_ccw for part in shape.geoms)  # RFC 7946
    west, east = sorted(shape.geoms, key=lambda part: -part.bounds[0])
    assert items[1]["bbox"] == [west.bounds[0], shape.bounds[1], east.bounds[2], shape.bounds[3]]
    before.to_stac(tmp_path / "c.parquet")
    for n, file in enumerate((done.path, tmp_path / "c.parquet")):
        found = import_stac([file], tmp_path / f"again{n}", root=tmp_path)
        assert found.refused == ()
        assert rows(found.catalog) == rows(before)
    footer = json.loads(pq.read_schema(tmp_path / "c.parquet").metadata[b"geo"])
    assert footer["columns"]["geometry"]["bbox"] == pytest.approx(before.bounds)


def test_parts_masks_and_what_files_do_not_say_come_back(tif, tmp_path):
    values = RNG.integers(0, 9, (2, 60, 80), dtype=np.uint8)
    image = tif("in/images/a b#1.tif", values)
    tif("in/masks/a b#1.tif", values[:1])
    tif("in/sar/a b#1.tif", values[:1].astype(np.float32))
    parts = [Part("#w", 0, 0, 60, 40, "train"), Part("#e", 10, 40, 50, 40, "val")]
    before = index(
        [image], tmp_path / "c", parts=lambda scene, labels: parts, nodata=8, scale=[0.5],
        bands=["red", "nir"], masks=tmp_path / "in" / "masks", classes=["ground", "roof"],
        mask_values=[3, 7], pairs={"sar": tmp_path / "in" / "sar"},
    ).catalog  # fmt: skip
    before.to_stac(tmp_path / "c.parquet")
    found = import_stac([tmp_path / "c.parquet"], tmp_path / "d", root=tmp_path)
    assert found.refused == ()
    assert found.catalog.sources == before.sources
    assert rows(found.catalog) == rows(before)
    assert statistics(found.catalog) == statistics(before)
    assert found.catalog.images[0].assets == {"sar": (tmp_path / "in/sar/a b#1.tif").resolve()}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_images_without_georeference_or_statistics_are_items_too(tif, complaints, tmp_path):
    image = tif("a.tif", np.full((1, 9, 9), np.nan, np.float32), crs=None, nodata=np.nan)
    before = index([image], tmp_path / "c", georeference=False, measured=False).catalog
    before.to_stac(tmp_path / "stac")
    (file,) = (tmp_path / "stac" / "items").iterdir()
    item = json.loads(file.read_text())
    assert complaints(item) == []
    assert (item["geometry"], item["assets"]["image"]["nodata"]) == (None, "nan")
    before.to_stac(tmp_path / "c.parquet")
    table = pq.read_table(tmp_path / "c.parquet")
    assert (table["geometry"].to_pylist(), table["bbox"].to_pylist()) == ([None], [None])
    for file in (tmp_path / "stac" / "collection.json", tmp_path / "c.parquet"):
        found = import_stac([file], tmp_path / f"from_{file.stem}", root=tmp_path, measured=False)
        assert [image.grid.crs for image in found.catalog.images] == [None]


def test_only_the_view_is_exported_and_nothing_is_overwritten(catalog, tmp_path):
    out = tmp_path / "some.parquet"
    assert catalog.where("height_px > 45").to_stac(out).items == 2
    with pytest.raises(FileExistsError):
        catalog.to_stac(out)
    assert catalog.to_stac(out, overwrite=True).items == 3
    with pytest.raises(FileExistsError):
        catalog.to_stac(tmp_path / "data")
    with pytest.raises(CatalogError, match="no image"):
        catalog.where("false").to_stac(tmp_path / "none.parquet")
    assert not (tmp_path / "none.parquet").exists()


def test_ids_that_are_no_file_names_get_files_of_their_own(tif, tmp_path):
    names = ["a_b", "a b", "a/b", "A b", "ä"]
    for name in names:
        tif(f"in/{name}.tif", IMAGES["t0"])
    done = index([tmp_path / "in"], tmp_path / "c", measured=False).catalog.to_stac(tmp_path / "s")
    files = list((tmp_path / "s" / "items").iterdir())
    assert len({file.name.lower() for file in files}) == 5
    found = import_stac([done.path], tmp_path / "d", root=tmp_path, measured=False)
    assert [image.id for image in found.catalog.images] == sorted(names)


def test_properties_of_others_become_columns_and_pixels_speak_for_themselves(item, tmp_path):
    found = import_stac(
        [
            write(
                tmp_path / "others" / "items.json",
                {
                    "type": "FeatureCollection",
                    "features": [
                        item("a", **{"eo:cloud_cover": 12.5, "platform": "s2a", "Place": "x"}),
                        item("b", **{"eo:cloud_cover": 80, "providers": [{"name": "ESA"}]}),
                        item("c", datetime=None, start_datetime="2020-01-01T00:00:00Z",
                             end_datetime="2020-12-31T00:00:00+01:00", platform=7),
                    ],
                },
            )
        ],
        tmp_path / "c",
    )  # fmt: skip
    assert found.added == 3
    (row,) = found.catalog.where('"eo:cloud_cover" < 20').images
    assert (row.id, row.grid.shape_hw, row.grid.crs) == ("a", (20, 30), "EPSG:32637")
    table = found.catalog.sql("SELECT * FROM images ORDER BY id")
    assert "proj:shape" not in table.column_names
    got = {name: table[name].to_pylist() for name in table.column_names}
    assert got["eo:cloud_cover"] == [12.5, 80, None]
    assert got["platform"] == ["s2a", None, "7"]
    assert got["providers"] == [None, '[{"name": "ESA"}]', None]
    assert (got["place"], got["stac_Place"]) == ([None] * 3, ["x", None, None])
    taken = dt.datetime(2021, 7, 5, 10, tzinfo=dt.UTC)
    year = [dt.datetime(2020, *day, tzinfo=dt.UTC) for day in ((1, 1), (12, 30, 23))]
    assert got["datetime"] == [taken, taken, None]
    assert (got["start"], got["end"]) == ([taken, taken, year[0]], [taken, taken, year[1]])
    assert got["start"][0].utcoffset() == dt.timedelta(0)


def test_dates_are_exported_as_they_were_imported(item, complaints, tmp_path):
    spans = {
        "moment": {"datetime": "2021-07-05T10:00:00.250000Z"},
        "span": {
            "datetime": None,
            "start_datetime": "2020-01-01T00:00:00Z",
            "end_datetime": "2020-12-31T00:00:00Z",
        },
    }
    spans["nominal"] = spans["span"] | {"datetime": "2020-06-01T00:00:00Z"}
    files = [
        write(tmp_path / "others" / f"{name}.json", item(name, **said))
        for name, said in spans.items()
    ]
    done = import_stac(files, tmp_path / "c").catalog.to_stac(tmp_path / "stac")
    assert done.undated == 0
    for name, said in spans.items():
        back = json.loads((tmp_path / "stac" / "items" / f"{name}.json").read_text())
        assert complaints(back) == []
        assert {k: v for k, v in back["properties"].items() if "datetime" in k} == said
    interval = json.loads(done.path.read_text())["extent"]["temporal"]["interval"]
    assert interval == [["2020-01-01T00:00:00Z", "2021-07-05T10:00:00.250000Z"]]


def test_which_asset_is_the_image_is_asked_where_it_is_not_plain(item, tmp_path):
    two = item("two")
    two["assets"]["red"] = {"href": "a.tif", "type": "image/tiff"}
    files = [write(tmp_path / "others" / "two.json", two)]
    with pytest.raises(CatalogError, match=r"visual, thumbnail, red.*--asset"):
        import_stac(files, tmp_path / "c")
    with pytest.raises(CatalogError, match="no asset 'green'; it has: visual"):
        import_stac(files, tmp_path / "c", asset="green")
    assert import_stac(files, tmp_path / "c", asset="red").added == 1


def test_the_command_records_missing_images_and_goes_on(item, tmp_path, capsys):
    write(tmp_path / "others" / "a.json", item("there"))
    write(tmp_path / "others" / "b.json", item("gone", href="gone.tif"))
    write(tmp_path / "others" / "c.json", item("late", datetime="soon"))
    words = ["stac", "import", *sorted(map(str, (tmp_path / "others").glob("*.json")))]
    code = run("gv-data", FAMILY, [*words, "--out", str(tmp_path / "c"), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert (code, answer["images"]) == (3, 1)
    assert {one["item"] for one in answer["refused"]} == {"gone", "late"}
    assert errors(Catalog.open(tmp_path / "c")) == {
        "gone": f"{tmp_path.resolve() / 'others' / 'gone.tif'} is not there",
        "late": "'soon' is no time",
    }
    assert run("gv-data", FAMILY, [*words, "--out", str(tmp_path / "c")]) == 2
    assert "--append" in capsys.readouterr().err
    assert run("gv-data", FAMILY, [*words, "--out", str(tmp_path / "c"), "--append"]) == 2
    assert "is in the catalog already" in capsys.readouterr().err
    words = ["stac", "export", str(tmp_path / "c"), str(tmp_path / "c.parquet")]
    assert run("gv-data", FAMILY, words) == 0
    assert "items      1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("href", "said"),
    [
        ("https://example.org/a.tif", "https: is not read"),
        ("s3://bucket/a.tif", "s3: is not read"),
        ("file:///etc/passwd", "file: is not read"),
        ("GTIFF_DIR:1:a.tif", "GTIFF_DIR: is not read"),
        ("/vsicurl/http://example.org/a.tif", "no path"),
        ("<VRTDataset/>", "no path"),
        ("~/a.tif", "no path"),
        ("..\\a.tif", "no path"),
        ("a.tif\n", "no path"),
        ("a%00.tif", "no path"),
        ("", "no path"),
        ("../secret.tif", "outside"),
        ("%2e%2e/secret.tif", "outside"),
        ("x/../../secret.tif", "outside"),
        ("link.tif", "outside"),
        ("/etc/hostname", "outside"),
        ("a" * 5000, "no path"),
    ],
)
def test_addresses_that_leave_the_folder_are_refused(href, said, item, tmp_path):
    write_image(tmp_path / "secret.tif")
    (tmp_path / "others" / "link.tif").symlink_to(tmp_path / "secret.tif")
    (tmp_path / "others" / "x").mkdir()
    features = [item("good"), item("bad", href=href)]
    given = write(
        tmp_path / "others" / "i.json", {"type": "FeatureCollection", "features": features}
    )
    found = import_stac([given], tmp_path / "c", measured=False)
    assert found.added == 1
    assert said in errors(found.catalog)["bad"]
    named = found.catalog.sql("SELECT image FROM errors")["image"].to_pylist()
    assert "secret" not in str(named)


@drawn(st.text(max_size=30))
def test_no_address_leads_out_of_the_root(text):
    root = Path(__file__).parent.resolve()
    with suppress(CatalogError):
        assert local(text, root / "a", root).is_relative_to(root)


def test_a_folder_that_holds_the_images_can_be_named(item, tmp_path):
    given = write(tmp_path / "items" / "a.json", item(href=str(tmp_path / "others" / "a.tif")))
    with pytest.raises(CatalogError, match="--root"):
        import_stac([given], tmp_path / "c")
    assert import_stac([given], tmp_path / "c", root=tmp_path / "others").added == 1


def nested_wkb(depth: int) -> bytes:
    return b"\x01\x07\0\0\0\x01\0\0\0" * depth + b"\x01\x07\0\0\0\0\0\0\0"


def test_nested_geometry_stops_nobody(item, tmp_path):
    deep = json.dumps(item()).replace(json.dumps(BOX), "[" * 200_000 + "]" * 200_000)
    (tmp_path / "others" / "deep.json").write_text(deep)
    with pytest.raises(CatalogError, match="nested"):
        import_stac([tmp_path / "others" / "deep.json"], tmp_path / "c")
    table = pa.table(
        {
            "id": ["a"],
            "geometry": [nested_wkb(200_000)],
            "assets": [{"image": {"href": "a.tif"}, "b": None}],
            "datetime": [dt.datetime(2020, 5, 1)],
            "flags": [[1, 2]],
        }
    )
    pq.write_table(table, tmp_path / "others" / "deep.parquet")
    found = import_stac([tmp_path / "others" / "deep.parquet"], tmp_path / "c")
    (row,) = found.catalog.sql("SELECT start, flags FROM images").to_pylist()
    assert row == {"start": dt.datetime(2020, 5, 1, tzinfo=dt.UTC), "flags": [1, 2]}


def test_links_are_followed_once_and_never_out_of_the_folder(item, tmp_path):
    folder = tmp_path / "others"
    write(folder / "sub" / "a.json", item("a", href="../a.tif"))
    write(tmp_path / "elsewhere.json", item("b"))
    links = ["./sub/collection.json", "../elsewhere.json", "http://example.org/x.json", "no.json"]
    write(
        folder / "catalog.json",
        {"type": "Catalog", "links": [{"rel": "child", "href": href} for href in links]},
    )
    back = [
        {"rel": "item", "href": "a.json"},
        {"rel": "child", "href": "../catalog.json"},
        {"rel": "item", "href": 5},
        "no link",
    ]
    write(folder / "sub" / "collection.json", {"type": "Collection", "links": back})
    found = import_stac([folder / "catalog.json"], tmp_path / "c")
    assert [image.id for image in found.catalog.images] == ["a"]
    reasons = "\n".join(reason for _, reason in found.refused)
    for said in ("elsewhere.json' lies outside", "http: is not read", "no.json cannot be read"):
        assert said in reasons
    assert len(found.refused) == 4


@pytest.mark.parametrize(
    "said",
    [
        "no json",
        "[" * 100_000,
        ["list"],
        {"root": "/"},
        {"scale": "2"},
        {"scale": [True]},
        {"offset": [float("nan")]},
        {"labels_crs": ["EPSG:1"]},
        {"assets": ['x" FROM images; --']},
        {"assets": ["error"]},
        {"mask_values": [1.5]},
        {"classes": ["a", "a"]},
    ],
)
def test_settings_that_are_none_are_refused(said, item, tmp_path):
    given = write(tmp_path / "others" / "a.json", item(**{"gv:source": said}))
    with pytest.raises(CatalogError, match=r"gv:source|classes have"):
        import_stac([given], tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_an_asset_that_no_item_has_is_an_empty_column(item, tmp_path):
    given = write(tmp_path / "others" / "a.json", item(**{"gv:source": {"assets": ["sar"]}}))
    (image,) = import_stac([given], tmp_path / "c").catalog.images
    assert image.assets == {}


def test_a_window_beyond_the_file_is_an_error(item, tmp_path):
    windows = {"good": [5, 5, 10, 20], "high": [0, 0, 21, 30], "low": [-1, 0, 5, 5]}
    files = [
        write(tmp_path / "others" / f"{name}.json", item(name, **{"gv:window": window}))
        for name, window in windows.items()
    ]
    found = import_stac(files, tmp_path / "c")
    (image,) = found.catalog.images
    assert (image.origin, image.grid.shape_hw) == ((5, 5), (10, 20))
    assert found.catalog.statistics.valid == 200
    assert set(errors(found.catalog)) == {"high", "low"}


def test_what_is_no_stac_is_refused_in_a_line(item, tmp_path):
    twice = {"type": "FeatureCollection", "features": [item("a"), item("a")]}
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "plain.parquet")
    (tmp_path / "cut.json").write_text('{"type": "Feat')
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    for given, said in (
        (write(tmp_path / "twice.json", twice), "two items are called a"),
        (write(tmp_path / "empty.json", {"type": "FeatureCollection"}), "no item"),
        (write(tmp_path / "other.json", {"type": "Topology"}), "is no STAC"),
        (write(tmp_path / "list.json", [1]), "is no STAC"),
        (tmp_path / "cut.json", "cannot be read as JSON"),
        (tmp_path / "gone.json", "cannot be read as JSON"),
        (tmp_path / "bad.parquet", "cannot be read as a table"),
        (tmp_path / "plain.parquet", "lacks id or assets"),
    ):
        with pytest.raises(CatalogError, match=said):
            import_stac([given], tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_stac_on_object_storage_is_refused_in_a_line(item, catalog, tmp_path):
    pytest.importorskip("upath", reason="the extra s3 is not installed")
    with pytest.raises(CatalogError, match="not on this disk"):
        catalog.to_stac("s3://bucket/town.parquet")
    with pytest.raises(CatalogError, match="not on this disk"):
        import_stac([Path("s3://bucket/town.parquet")], tmp_path / "c")


def test_malformed_items_are_told_and_the_rest_goes_on(item, tmp_path):
    bad = [{"type": "Feature"}, 5, item("a\nb"), item(""), item("x" * 501), item() | {"assets": []}]
    features = {"type": "FeatureCollection", "features": [item("good"), *bad]}
    found = import_stac([write(tmp_path / "others" / "i.json", features)], tmp_path / "c")
    assert (found.added, len(found.refused)) == (1, len(bad))


def test_columns_of_another_kind_are_refused_and_nothing_is_written(item, tmp_path):
    folder = tmp_path / "others"
    import_stac([write(folder / "a.json", item("a", level=1.5))], tmp_path / "c")
    before = (tmp_path / "c" / "images.parquet").read_bytes()
    given = write(folder / "b.json", item("b", level="high"))
    with pytest.raises(CatalogError, match="another --out"):
        import_stac([given], tmp_path / "c", append=True)
    assert (tmp_path / "c" / "images.parquet").read_bytes() == before
    given = write(folder / "b.json", item("b", level=2))
    found = import_stac([given], tmp_path / "c", append=True)
    assert [image.id for image in found.new.images] == ["b"]
    assert found.catalog.sql("SELECT level FROM images ORDER BY id")["level"].to_pylist() == [
        1.5,
        2,
    ]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
NAMES = st.text("aAbB:_", min_size=1, max_size=3) | st.sampled_from(["id", "Split", "proj:x"])


@drawn(st.lists(st.dictionaries(NAMES, VALUES, max_size=4), min_size=1, max_size=4))
def test_any_properties_become_columns_of_as_many_rows(properties):
    found = columns(properties, ["sar"])
    assert len({name.casefold() for name in found}) == len(found)
    assert not any(name.startswith("proj:") for name in found)
    for column in found.values():
        assert len(column) == len(properties)
        assert not pa.types.is_struct(column.type)


def test_an_export_that_moves_with_its_images_is_still_right(catalog, tmp_path):
    catalog.to_stac(tmp_path / "data" / "stac")
    shutil.move(tmp_path / "data", tmp_path / "moved")
    given = tmp_path / "moved" / "stac" / "collection.json"
    found = import_stac([given], tmp_path / "again", root=tmp_path / "moved")
    assert found.added == 3
    assert {image.path.parent.name for image in found.catalog.images} == {"photos"}
