"""Lines with a width as labels, against geodesics and shapely in UTM."""

import math
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio.features
import shapely
import shapely.affinity
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Geod

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError, VectorError
from gv_data.grid import Grid
from gv_data.intake.indexing import index
from gv_data.labels.labels import Labels
from gv_data.labels.lines import widen
from gv_data.stac.stac_import import import_stac
from gv_data.vectors.geodesy import area_m2

GEOD = Geod(ellps="WGS84")
IMAGE = np.random.default_rng(4).integers(1, 255, (3, 100, 120), dtype=np.uint8)
WEST, NORTH = 500_000, 3_000_000
ROADS = [
    shapely.LineString([(WEST + 2, NORTH - 10), (WEST + 40, NORTH - 12), (WEST + 55, NORTH - 45)]),
    shapely.MultiLineString(
        [
            [(WEST + 5, NORTH - 30), (WEST + 20, NORTH - 30)],
            [(WEST + 30, NORTH - 40), (WEST + 31, NORTH - 49)],
        ]
    ),
]
GRID = Grid(CRS("EPSG:32637"), Affine(0.5, 0, WEST, 0, -0.5, NORTH), 100, 120)


@pytest.fixture
def roads(tmp_path) -> Path:
    """Two roads, the second without a width of its own, and a house."""
    house = shapely.box(WEST + 45, NORTH - 8, WEST + 55, NORTH - 2)
    frame = gpd.GeoDataFrame(
        {"kind": ["road", "road", "house"], "width": ["4.0", "wide", None]},
        geometry=[*ROADS, house],
        crs="EPSG:32637",
    )
    frame.to_file(tmp_path / "roads.gpkg")
    return tmp_path / "roads.gpkg"


def burnt(shapes: list) -> np.ndarray:
    return rasterio.features.rasterize(shapes, out_shape=GRID.shape_hw, transform=GRID.transform)


@given(
    longitude=st.floats(-179, 179),
    latitude=st.floats(-75, 75) | st.just(60.0),
    azimuth=st.floats(0, 360),
    length_m=st.floats(100, 3000),
    width_m=st.floats(2, 40),
    crs=st.sampled_from(["EPSG:4326", "EPSG:3857"]),
)
@settings(max_examples=60, deadline=None)
def test_the_area_of_a_straight_line_is_length_by_width_and_a_circle(
    longitude, latitude, azimuth, length_m, width_m, crs
):
    end = GEOD.fwd(longitude, latitude, azimuth, length_m)[:2]
    lines = gpd.GeoSeries([shapely.LineString([(longitude, latitude), end])], crs="EPSG:4326")
    wide = widen(lines.to_crs(crs).to_numpy(), np.array([width_m]), CRS(crs))
    expected = length_m * width_m + math.pi * width_m**2 / 4
    assert area_m2(wide, crs)[0] == pytest.approx(expected, rel=1e-3)


def test_a_long_parallel_keeps_its_width_all_along():
    """At 60 degrees north, 10 km to the east, a straight side would be off by 3 m."""
    line = shapely.LineString([(10, 60), (10.18, 60)])
    (wide,) = widen(np.array([line], object), np.array([8.0]), CRS("EPSG:4326"))
    for x in np.linspace(10.001, 10.179, 25):
        across = shapely.intersection(wide, shapely.LineString([(x, 59.99), (x, 60.01)]))
        (_, south), (_, north) = across.coords
        assert GEOD.inv(x, south, x, north)[2] == pytest.approx(8, abs=0.02)
        assert GEOD.inv(x, south, x, 60)[2] == pytest.approx(4, abs=0.02)


def test_lines_in_many_places_get_the_width_each_has_alone():
    rng = np.random.default_rng(3)
    starts = np.stack([rng.uniform(-179, 179, 40), rng.uniform(-70, 70, 40)], axis=1)
    lines = shapely.linestrings(np.stack([starts, starts + np.array([0.001, 0.0005])], axis=1))
    widths = rng.uniform(3, 12, 40)
    areas = area_m2(widen(np.asarray(lines, object), widths, CRS("EPSG:4326")), "EPSG:4326")
    starts, ends = (shapely.get_coordinates(lines)[n::2].T for n in (0, 1))
    lengths = GEOD.inv(*starts, *ends)[2]
    np.testing.assert_allclose(areas, lengths * widths + np.pi * widths**2 / 4, rtol=1e-3)


def test_what_lies_where_a_crs_ends_becomes_nothing():
    far, near = shapely.linestrings([[(0, 1e9), (1, 1e9)], [(4e6, 3e6), (4.001e6, 3e6)]])
    lost, kept = widen(np.array([far, near]), np.array([5.0, 5.0]), CRS("EPSG:3035"))
    assert lost.is_empty
    assert not kept.is_empty


def test_roads_are_burnt_as_rasterio_burns_buffers_in_utm(roads, tif, tmp_path):
    words: dict[str, Any] = {"label_column": "kind", "line_width_m": 6.0}
    found = index([tif("a.tif", IMAGE)], tmp_path / "c", labels=roads, **words)
    assert (found.objects, found.dropped, found.lines) == (3, 0, 0)
    sample = found.catalog.dataset()[0]
    house = shapely.box(WEST + 45, NORTH - 8, WEST + 55, NORTH - 2)
    # in UTM near its meridian a metre is 0.9996 of one on the map
    buffers = shapely.buffer(ROADS, 3.0 * 0.9996, quad_segs=16)
    expected = burnt([(shape, 2) for shape in buffers] + [(house, 1)])
    assert found.catalog.sources[0].classes == ("house", "road")
    assert np.count_nonzero(sample["mask"].numpy() != expected) <= 2  # centres on an outline
    assert (sample["mask"] == 2).sum() > 1000


def test_a_column_says_the_width_and_the_default_the_rest(roads, tif, tmp_path):
    image = tif("a.tif", IMAGE)
    both = index([image], tmp_path / "c", labels=roads, line_width_column="width", line_width_m=2.0)
    shapes = Labels.of(both.catalog.images[0]).shapes
    lengths = np.array([one.length for one in ROADS])
    expected = lengths * [4, 2] + [math.pi * 4, 2 * math.pi]
    np.testing.assert_allclose(shapes.area[:2] / 0.9996**2, expected, rtol=5e-3)
    alone = index([image], tmp_path / "d", labels=roads, line_width_column="width")
    assert (alone.objects, alone.dropped, alone.lines) == (2, 1, 1)


def test_lines_without_a_width_are_counted_with_the_way_out(roads, tif, tmp_path, command):
    image = tif("a.tif", IMAGE)
    code, told, _ = command("index", image, "--labels", roads, "--out", tmp_path / "c")
    assert code == 0
    assert "2 left out because they are no polygons (2 are lines: --line-width M)" in told
    gpd.GeoDataFrame(geometry=ROADS, crs="EPSG:32637").to_file(tmp_path / "only.gpkg")
    with pytest.raises(VectorError, match="its 2 lines have no width\n  try: --line-width M"):
        index([image], tmp_path / "d", labels=tmp_path / "only.gpkg")
    words = ("index", image, "--labels", tmp_path / "only.gpkg", "--line-width", 6)
    code, told, _ = command(*words, "--out", tmp_path / "d")
    assert code == 0
    assert "2 on images" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"line_width_m": 0.0}, "a width above 0 m, got 0"),
        ({"line_width_m": math.nan}, "a width above 0 m, got nan"),
        ({"line_width_m": -3.0}, "a width above 0 m, got -3"),
        ({"line_width_column": "breadth"}, "no column 'breadth', it has: kind, width"),
        ({"line_width_column": "kind"}, "holds no line that the width could be of"),
    ],
)
def test_widths_that_make_no_sense_are_refused(words, said, roads, tif, tmp_path):
    with pytest.raises((CatalogError, VectorError), match=said):
        index([tif("a.tif", IMAGE)], tmp_path / "c", labels=roads, **words)


def test_a_width_without_any_line_or_labels_is_refused(tif, vectors, tmp_path):
    image = tif("a.tif", IMAGE)
    house = vectors("house.gpkg", [shapely.box(WEST + 5, NORTH - 8, WEST + 15, NORTH - 2)])
    with pytest.raises(CatalogError, match="holds no line that the width could be of"):
        index([image], tmp_path / "c", labels=house, line_width_m=3.0)
    with pytest.raises(CatalogError, match="need labels"):
        index([image], tmp_path / "c", line_width_m=3.0)


def test_the_width_is_kept_by_the_catalog_and_by_stac(roads, tif, tmp_path):
    words: dict[str, Any] = {"line_width_m": 6.0, "line_width_column": "width"}
    there = index([tif("a.tif", IMAGE)], tmp_path / "c", labels=roads, **words).catalog
    expected = there.dataset()[0]["mask"]
    again = Catalog.open(tmp_path / "c")
    assert (again.sources[0].line_width_m, again.sources[0].line_width_column) == (6.0, "width")
    np.testing.assert_array_equal(again.dataset()[0]["mask"], expected)
    there.to_stac(tmp_path / "items.parquet")
    back = import_stac([tmp_path / "items.parquet"], tmp_path / "d", root=tmp_path).catalog
    assert back.sources[0].line_width_column == "width"
    np.testing.assert_array_equal(back.dataset()[0]["mask"], expected)


@pytest.mark.real_data
def test_real_roads_cover_their_length_by_their_width(tmp_path):
    data = Path(__file__).parents[3] / "shared" / "data" / "roads" / "vegas"
    if not data.is_dir():
        pytest.skip(f"{data} is not there")
    lines = data / "img0_roads.geojson"
    found = index([data / "img0_rgb.tif"], tmp_path / "c", labels=lines, line_width_m=8.0)
    (image,) = found.catalog.images
    frame = gpd.read_file(lines)
    zone = frame.estimate_utm_crs()
    utm = frame.to_crs(zone)
    tile = gpd.GeoSeries([shapely.box(*image.grid.bounds)], crs=image.grid.crs).to_crs(zone)
    covered = utm.buffer(4.0, quad_segs=16).union_all().intersection(tile.union_all())
    row = found.catalog.sql("SELECT area_m2, objects FROM labels WHERE number = 1").to_pylist()[0]
    assert row["area_m2"] == pytest.approx(covered.area, rel=2e-3)
    assert row["objects"] == found.objects == 38


def test_lines_without_length_are_dropped_and_counted(tif, vectors, tmp_path):
    point = ROADS[0].coords[0]
    dot = shapely.LineString([point, point])
    half = shapely.MultiLineString([ROADS[0], dot])
    path = vectors("roads.gpkg", [dot, ROADS[1], half])
    found = index([tif("a.tif", IMAGE)], tmp_path / "c", labels=path, line_width_m=6.0)
    assert (found.objects, found.dropped, found.lines) == (2, 1, 0)
    shapes = Labels.of(found.catalog.images[0]).shapes
    (alone,) = widen(np.array(ROADS[:1], object), np.array([6.0]), CRS("EPSG:32637"))
    assert shapes[1].symmetric_difference(alone).area < 1e-3
    only = vectors("dots.gpkg", [dot])
    with pytest.raises(VectorError, match="holds no polygon to learn from"):
        index([tif("a.tif", IMAGE)], tmp_path / "d", labels=only, line_width_m=6.0)


def test_widths_beyond_all_measure_are_refused(tmp_path):
    frame = gpd.GeoDataFrame({"width": [1e308, 5.0]}, geometry=ROADS, crs="EPSG:32637")
    frame.to_file(tmp_path / "roads.gpkg")
    with pytest.raises(VectorError, match=r"a line of 1e\+308 m in the column width"):
        Labels.read(tmp_path / "roads.gpkg", line_width_column="width")
    with pytest.raises(VectorError, match=r"got 1e\+308: the most is 100,000 m"):
        Labels.read(tmp_path / "roads.gpkg", line_width_m=1e308)


def test_a_line_beyond_the_pole_becomes_nothing():
    lines = np.array([shapely.LineString([(x, 95), (x + 1, 95)]) for x in (10, 500)], object)
    assert all(one.is_empty for one in widen(lines, np.array([5.0, 5.0]), CRS("EPSG:4326")))


@pytest.mark.parametrize("west", [179.999, -180.001])
def test_a_line_across_180_degrees_keeps_its_shape(west):
    line = shapely.LineString([(west, -17), (west + 0.002, -17)])
    (wide,) = widen(np.array([line], object), np.array([6.0]), CRS("EPSG:4326"))
    there = shapely.affinity.translate(line, 10 - west)
    (expected,) = widen(np.array([there], object), np.array([6.0]), CRS("EPSG:4326"))
    moved = shapely.affinity.translate(expected, west - 10)
    assert wide.is_valid
    assert wide.symmetric_difference(moved).area < 1e-4 * moved.area
