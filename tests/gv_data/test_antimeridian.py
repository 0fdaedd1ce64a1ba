"""Images across the antimeridian and around the poles, from their footprint to windows on them."""

import json

import duckdb
import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Geod, Transformer

from gv_data import antimeridian
from gv_data.catalog import Catalog
from gv_data.checks.table_rules import measure_shared_ground
from gv_data.errors import CatalogError
from gv_data.findings import Findings
from gv_data.grid import Grid, ends_at_the_antimeridian
from gv_data.intake.indexing import index
from gv_data.labels.labels import Labels
from gv_data.pictures.footprint_map import footprint_map
from gv_data.pictures.summary import summarise
from gv_data.splitting.ground_blocks import Clusters
from gv_data.splitting.grounds import Grounds
from gv_data.splitting.shared_ground import find_shared_ground
from gv_data.splitting.shares import Shares
from gv_data.splitting.splits import split_blocks
from gv_data.store.grids import Grids
from gv_data.vectors.geodesy import area_m2
from gv_data.windows.places import windows_around
from gv_data.windows.random_windows import RandomWindows

FIJI = CRS(32701)
"""UTM zone 1 south: the antimeridian lies some 315 km west of its central meridian."""

NORTH_POLE, SOUTH_POLE = CRS(3413), CRS(3031)
LINE_X, LINE_Y = Transformer.from_crs(4326, FIJI, always_xy=True).transform(180, -17)
GEOD = Geod(ellps="WGS84")


def square(x: float, y: float, side_m: float, *, crs: CRS = FIJI, px: int = 100) -> Grid:
    return Grid(crs, Affine(side_m / px, 0, x, 0, -side_m / px, y), px, px)


def oracle_m2(grid: Grid, points: int = 300) -> float:
    """Geodesic area by pyproj alone, sides drawn through many points."""
    height, width = grid.shape_hw
    along = np.linspace(0, 1, points, endpoint=False)
    rows = np.r_[0 * along, along * height, 0 * along + height, height - along * height]
    columns = np.r_[along * width, 0 * along + width, width - along * width, 0 * along]
    a, b, c, d, e, f = grid.transform[:6]
    x, y = a * columns + b * rows + c, d * columns + e * rows + f
    lon, lat = Transformer.from_crs(grid.crs, 4326, always_xy=True).transform(x, y)
    return abs(GEOD.polygon_area_perimeter(lon, lat)[0])


def footprint_m2(grid: Grid) -> float:
    return float(area_m2([grid.footprint()], "OGC:CRS84")[0])


@st.composite
def images(draw) -> Grid:
    """Images of any size in UTM zones and around the poles, many across the antimeridian."""
    zone = draw(st.sampled_from([32601, 32660, 32701, 32760, 32637, 3413, 3031]))
    if zone in (3413, 3031):
        away = 10 ** draw(st.floats(-5, 1.3))
        lat = 90 - away if zone == 3413 else away - 90
        lon = draw(st.floats(-180, 180))
    else:
        lat = draw(st.floats(-75, 80))
        lon = 39 if zone == 32637 else 180 + draw(st.floats(-0.3, 0.3))
    x, y = Transformer.from_crs(4326, zone, always_xy=True).transform(lon, lat)
    pixel = 10 ** draw(st.floats(-1.5, 2))
    height, width = draw(st.integers(1, 2000)), draw(st.integers(1, 2000))
    left, up = draw(st.floats(0, 1)) * pixel * width, draw(st.floats(0, 1)) * pixel * height
    return Grid(CRS(zone), Affine(pixel, 0, x - left, 0, -pixel, y + up), height, width)


@settings(deadline=None, max_examples=150)
@given(images())
def test_any_image_has_a_valid_outline_on_the_earth_of_its_geodesic_area(grid):
    outline = grid.footprint()
    west, south, east, north = outline.bounds
    assert outline.is_valid
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90
    assert footprint_m2(grid) == pytest.approx(oracle_m2(grid), rel=1e-3)
    if max(grid.shape_hw) * max(grid.pixel_m) < 30_000:  # the scale is that of the middle
        ground_m2 = grid.height_px * grid.width_px * grid.gsd_m**2
        assert footprint_m2(grid) == pytest.approx(ground_m2, rel=1e-3)


@settings(deadline=None, max_examples=50)
@given(st.floats(-75, 80), st.floats(-2.5, 2.5), st.floats(0.1, 60), st.integers(1, 2000))
def test_outlines_that_cross_nothing_are_made_of_points_along_the_sides(lat, place, pixel, px):
    x, y = Transformer.from_crs(4326, 32637, always_xy=True).transform(39 + place, lat)
    grid = Grid(CRS(32637), Affine(pixel, 0, x, 0, -pixel, y), px, px)
    outline = grid.footprint()
    assert isinstance(outline, shapely.Polygon)
    rows, columns = (
        np.linspace(0, px, 2 + min(15, int(px * side_m / 10_000)))[:-1] for side_m in grid.pixel_m
    )
    ring = [
        *((column, 0) for column in columns),
        *((px, row) for row in rows),
        *((px - column, px) for column in columns),
        *((0, px - row) for row in rows),
    ]
    across, down = np.transpose([*ring, ring[0]])
    to_degrees = Transformer.from_crs(32637, 4326, always_xy=True)
    expected = to_degrees.transform(x + pixel * across, y - pixel * down)
    np.testing.assert_allclose(np.transpose(expected), outline.exterior.coords, rtol=1e-13)


@pytest.mark.parametrize("px", [2, 512, 10_980])
def test_an_image_across_the_line_is_as_large_as_the_same_one_10_degrees_further_west(px):
    there, here = (
        CRS(f"+proj=tmerc +lon_0={lon} +k=0.9996 +x_0=500000 +datum=WGS84") for lon in (-177, 173)
    )
    x, y = Transformer.from_crs(4326, there, always_xy=True).transform(180, -17)
    transform = Affine(10, 0, x - 5 * px, 0, -10, y + 5 * px)
    across, plain = Grid(there, transform, px, px), Grid(here, transform, px, px)
    west, east = sorted(across.footprint().geoms, key=lambda part: part.bounds[0], reverse=True)
    assert (west.bounds[2], east.bounds[0]) == (180, -180)
    assert footprint_m2(across) == pytest.approx(footprint_m2(plain), rel=1e-6)
    moved = shapely.union_all([west, shapely.transform(east, lambda xy: np.add(xy, (360, 0)))])
    assert moved.bounds == pytest.approx(np.add(plain.footprint().bounds, [10, 0, 10, 0]), abs=1e-7)
    sides = across.lonlat_bounds()
    assert (sides[0], sides[2]) == (west.bounds[0], east.bounds[2])
    assert sides[0] > sides[2]


def test_the_cut_lies_where_the_sides_cross_the_line():
    grid = square(LINE_X - 40_000, LINE_Y, 100_000)
    back = Transformer.from_crs(4326, FIJI, always_xy=True)
    on_the_line = [xy for xy in shapely.get_coordinates(grid.footprint()) if abs(xy[0]) == 180]
    assert len(on_the_line) >= 4
    _, y = back.transform(*np.transpose(on_the_line))
    _, south, _, north = grid.bounds
    np.testing.assert_allclose(np.minimum(abs(y - south), abs(y - north)), 0, atol=1e-4)


@pytest.mark.parametrize(("x", "other"), [(0.0, 1.0), (-1.0, -1.0)])
def test_a_side_on_the_line_cuts_nothing(x, other):
    crs = CRS("+proj=tmerc +lon_0=180 +k=0.9996 +x_0=0 +datum=WGS84")
    outline = square(1000 * x, -2e6, 1000, crs=crs).footprint()
    assert isinstance(outline, shapely.Polygon)
    assert outline.bounds[0 if other > 0 else 2] == -180 * other


@pytest.mark.parametrize(("crs", "pole"), [(NORTH_POLE, 90), (SOUTH_POLE, -90)])
def test_an_image_with_a_pole_in_it_reaches_all_around(crs, pole):
    outline = square(-300_000, 200_000, 1_000_000, crs=crs).footprint()
    assert isinstance(outline, shapely.Polygon)
    west, south, east, north = outline.bounds
    assert (west, east) == (-180, 180)
    assert pole in (south, north)
    assert footprint_m2(square(-300_000, 200_000, 1_000_000, crs=crs)) == pytest.approx(
        oracle_m2(square(-300_000, 200_000, 1_000_000, crs=crs)), rel=1e-4
    )


def test_tiles_that_meet_at_a_pole_share_nothing_and_hold_all_ground(catalog_of):
    tiles = [square(x, y, 100_000, crs=NORTH_POLE) for x in (-1e5, 0) for y in (0, 1e5)]
    around = square(-50_000, 50_000, 100_000, crs=NORTH_POLE)
    outlines = np.array([tile.footprint() for tile in tiles])
    assert shapely.is_valid(outlines).all()
    for a, b in zip(*np.triu_indices(4, 1), strict=True):
        assert area_m2([outlines[a] & outlines[b]], "OGC:CRS84")[0] < 1
    shared = area_m2(shapely.intersection(outlines, around.footprint()), "OGC:CRS84")
    quarters = [
        oracle_m2(square(x, y, 50_000, crs=NORTH_POLE)) for x in (-5e4, 0) for y in (0, 5e4)
    ]
    np.testing.assert_allclose(shared, quarters, rtol=1e-3)
    assert find_shared_ground(catalog_of(tiles, split=["train", "val", "val", "train"])) == ()
    (found,) = find_shared_ground(catalog_of([*tiles, around], split=["train"] * 4 + ["val"]))
    assert found.area_m2 == pytest.approx(oracle_m2(around), rel=1e-3)


def test_degrees_may_run_on_beyond_180_and_half_a_pixel_beyond_the_poles():
    degrees = CRS(4326)
    fiji = Grid(degrees, Affine(0.01, 0, 179, 0, -0.01, -16), 100, 200).footprint()
    expected = shapely.MultiPolygon(
        [shapely.box(179, -17, 180, -16), shapely.box(-180, -17, -179, -16)]
    )
    assert shapely.area(fiji ^ expected) < 1e-7
    beyond = Grid(degrees, Affine(0.1, 0, 190, 0, -0.1, 10), 10, 10).footprint()
    assert beyond.bounds == pytest.approx((-170, 9, -169, 10), abs=1e-8)
    world = Grid(degrees, Affine(0.25, 0, -0.125, 0, -0.25, 90.125), 721, 1440).footprint()
    assert world.is_valid
    assert world.area == pytest.approx(360 * 180, rel=1e-6)


def test_which_systems_end_at_the_antimeridian_is_known():
    ending = {code: ends_at_the_antimeridian(CRS(code)) for code in (4326, 3857, 6933, 4267)}
    assert set(ending.values()) == {True}
    running_on = (32601, 32660, 32701, 3413, 3031, 3338, 3832)
    assert not any(ends_at_the_antimeridian(CRS(code)) for code in running_on)
    assert not ends_at_the_antimeridian(None)


@given(st.lists(st.tuples(st.floats(-180, 179), st.floats(0.1, 90)), min_size=1, max_size=9))
def test_the_shortest_span_holds_all_and_leaves_out_the_widest_gap(drawn):
    spans = np.array([(west, min(west + width, 180)) for west, width in drawn])
    west, east = antimeridian.shortest(antimeridian.merged(spans))
    twice = np.concatenate([spans, spans + 360])
    union = shapely.get_parts(shapely.union_all(shapely.box(twice[:, 0], 0, twice[:, 1], 1)))
    sides = shapely.bounds(union)[:, [0, 2]]
    sides = sides[sides[:, 0].argsort()]
    widest = (sides[1:, 0] - sides[:-1, 1]).max(initial=0)
    width = east - west + (360 if west > east else 0)
    if widest > 1:
        assert width == pytest.approx(360 - widest)
        offset = (spans - west) % 360
        assert (np.minimum(offset, 360 - offset - 1e-9) <= width + 1e-9).all()
    else:
        assert width >= 358


@pytest.fixture
def fiji(catalog_of) -> Catalog:
    """A row of five tiles of 20 km, the third across the antimeridian."""
    grids = [square(LINE_X - 50_000 + 20_000 * n, LINE_Y, 20_000) for n in range(5)]
    return catalog_of(grids, split=["train", "train", "val", "train", "train"])


def test_other_readers_find_images_across_the_line(fiji):
    path = fiji.path / "images.parquet"
    frame = gpd.read_parquet(path).set_index("id")
    assert (
        list(frame.geom_type.sort_index()) == ["Polygon"] * 2 + ["MultiPolygon"] + ["Polygon"] * 2
    )
    table = pq.read_table(path, columns=["id", "bbox"]).to_pylist()
    (box,) = (row["bbox"] for row in table if row["id"] == "image002")
    assert (box["xmin"], box["xmax"]) == (-180, 180)
    south, north = box["ymin"], box["ymax"]
    for west, east, ids in (
        (179.99, 179.995, {"image002"}),
        (-179.995, -179.99, {"image002"}),
        (-179.8, -179.75, {"image002", "image003"}),
    ):
        found = gpd.read_parquet(path, bbox=(west, south, east, north))
        assert set(found["id"]) == ids
        with duckdb.connect() as session:
            rows = session.execute(
                "SELECT id FROM read_parquet(?) WHERE bbox.xmin <= ? AND bbox.xmax >= ?",
                [str(path), east, west],
            ).fetchall()
        assert {row[0] for row in rows} == ids
    geo = json.loads(pq.read_schema(path).metadata[b"geo"])["columns"]["geometry"]
    assert geo["geometry_types"] == ["MultiPolygon", "Polygon"]
    assert tuple(geo["bbox"]) == pytest.approx(fiji.bounds)


def test_the_box_around_a_catalog_is_the_smallest(fiji, catalog_of):
    west, south, east, north = fiji.bounds
    frame = gpd.read_parquet(fiji.path / "images.parquet").set_index("id")
    assert west == frame.loc["image000"].geometry.bounds[0]
    assert east == frame.loc["image004"].geometry.bounds[2]
    assert west > 179
    assert east < -179
    assert (south, north) == (frame.total_bounds[1], frame.total_bounds[3])
    sides = catalog_of([square(500_000, 3e6, 1000, crs=CRS(z)) for z in (32602, 32659)]).bounds
    assert sides == pytest.approx((171, 27.1, -171, 27.1), abs=0.1)
    usual = catalog_of([square(500_000, 3e6, 1000, crs=CRS(z)) for z in (32637, 32620)]).bounds
    assert usual == pytest.approx((-63, 27.1, 39, 27.1), abs=0.1)


def test_a_summary_counts_ground_on_both_sides(fiji):
    found = summarise(fiji)
    wanted = sum(oracle_m2(image.grid) for image in fiji.images)
    assert found.ground_m2 == pytest.approx(wanted, rel=1e-5)
    assert not found.overlapping


def test_neighbours_side_by_side_share_nothing_across_the_line(fiji):
    assert find_shared_ground(fiji) == ()
    grounds = Grounds.of(fiji)
    near = grounds.near(1000)
    assert [sorted(pair) for pair in grounds.ground.argsort()[near].tolist()] == [
        [0, 1], [1, 2], [2, 3], [3, 4]
    ]  # fmt: skip


@pytest.mark.parametrize(("shift_m", "shared"), [(0, True), (19_000, True), (20_000, False)])
def test_shared_ground_is_found_across_the_line_in_one_utm_zone(catalog_of, shift_m, shared):
    grids = [square(LINE_X - 10_000 + x, LINE_Y, 20_000) for x in (0, shift_m)]
    found = find_shared_ground(catalog_of(grids, split=["train", "val"]))
    assert bool(found) == shared
    if shared:
        strip = Grid(FIJI, Affine(100, 0, LINE_X - 10_000 + shift_m, 0, -100, LINE_Y), 200, 1)
        strip = strip.part(0, 0, 200, 200 - shift_m // 100)
        assert found[0].area_m2 == pytest.approx(oracle_m2(strip), rel=1e-4)


def test_shared_ground_is_found_across_the_line_between_zones(catalog_of):
    here = square(LINE_X - 10_000, LINE_Y, 20_000)
    x, y = Transformer.from_crs(4326, 32760, always_xy=True).transform(179.99, -17.05)
    there = square(x, y, 5_000, crs=CRS(32760))  # wholly inside, itself across the line
    (found,) = find_shared_ground(catalog_of([here, there], split=["train", "val"]))
    assert found.area_m2 == pytest.approx(oracle_m2(there), rel=1e-4)


@pytest.mark.parametrize("code", [4326, 3857])
def test_coordinates_that_end_at_the_line_are_compared_on_both_sides(catalog_of, code):
    unit = 1.0 if code == 4326 else 20037508.342789244 / 180
    pixel = 0.01 * unit
    grids = [
        Grid(CRS(code), Affine(pixel, 0, west * unit, 0, -pixel, 0), 100, 100)
        for west in (179.5, -180.0, -179.5, 178.5)
    ]
    catalog = catalog_of(grids, split=["train", "val", "b", "c"])
    found = {one.parts: one.area_m2 for one in find_shared_ground(catalog)}
    half = oracle_m2(Grid(CRS(code), Affine(pixel, 0, -180 * unit, 0, -pixel, 0), 100, 50))
    assert found == {
        ("train", "val"): pytest.approx(half, rel=1e-6),
        ("b", "val"): pytest.approx(half, rel=1e-6),
    }


def test_a_cluster_across_the_line_is_no_longer_than_its_images(fiji):
    grounds = Grounds.of(fiji)
    clusters = Clusters.of(grounds, np.array([(0, 1), (1, 2), (2, 3), (3, 4)]))
    np.testing.assert_allclose(clusters.length_m, 20_000, rtol=0.03)
    np.testing.assert_allclose(clusters.cluster_m, 100_000, rtol=0.03)


def test_blocks_keep_their_buffer_across_the_line(catalog_of):
    rng = np.random.default_rng(3)
    places = rng.uniform(-40_000, 40_000, (300, 2))
    grids = [square(LINE_X + x, LINE_Y + y, 1000) for x, y in places]
    shares = Shares.holdout(val=0.4, test=0)
    parts = split_blocks(catalog_of(grids), shares, buffer_m=3000, block_m=10_000, seed=1).parts
    boxes = shapely.box(*np.array([grid.bounds for grid in grids]).T)
    train, val = (shapely.union_all(boxes[parts == part]) for part in (0, 1))
    assert min((parts == part).sum() for part in (0, 1)) > 20
    assert shapely.distance(train, val) > 3000 * 0.995  # the scale of the zone
    across = shapely.box(LINE_X - 2000, LINE_Y - 1e5, LINE_X + 2000, LINE_Y + 1e5)
    assert min((parts[shapely.intersects(boxes, across)] == part).sum() for part in (0, 1)) > 0


def test_the_map_shows_both_sides_in_one_view(fiji, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    add = Axes.add_collection
    monkeypatch.setattr(
        Axes, "add_collection", lambda axes, what: (drawn.append(axes), add(axes, what))
    )
    assert footprint_map(fiji, tmp_path / "map.png") == 5
    west, east = drawn[0].get_xlim()
    assert 179 < west < 180 < east < 181
    corners = np.concatenate(
        [path.vertices for what in drawn[0].collections for path in what.get_paths()]
    )
    assert (corners[:, 0].min(), corners[:, 0].max()) == pytest.approx(
        (fiji.bounds[0], fiji.bounds[2] + 360)
    )
    names = [label.get_text() for label in drawn[0].get_xticklabels()]
    assert any(name.endswith("W") for name in names)
    assert any(name.endswith("E") for name in names)


@pytest.fixture
def scene(tif):
    """An image of 60 x 60 px of 10 m across the line, and its ground."""
    transform = Affine(10, 0, LINE_X - 300, 0, -10, LINE_Y + 300)
    values = np.random.default_rng(1).integers(1, 255, (3, 60, 60), dtype=np.uint8)
    return tif("in/fiji.tif", values, crs="EPSG:32701", transform=transform)


@pytest.fixture
def houses(vectors):
    """Polygons in degrees: one west of the line, one east of it, one drawn across."""
    west = shapely.box(179.9985, -17.0005, 179.9990, -17.0)
    east = shapely.box(-179.9990, -17.0005, -179.9985, -17.0)
    across = shapely.MultiPolygon(
        [
            shapely.box(179.9998, -16.999, 180, -16.9985),
            shapely.box(-180, -16.999, -179.9998, -16.9985),
        ]
    )
    return vectors("houses.gpkg", [west, east, across], crs="EPSG:4326")


def test_labels_on_both_sides_are_found_where_they_lie(scene, houses, tmp_path):
    done = index([scene], tmp_path / "c", labels=houses)
    assert (done.objects, done.outside) == (3, 0)
    (image,) = done.catalog.images
    truth = Labels.of(image).on(image.grid)
    to_image = Transformer.from_crs(4326, FIJI, always_xy=True)
    for number, (lon, lat) in enumerate(
        [
            (179.99875, -17.00025),
            (-179.99875, -17.00025),
            (179.9999, -16.99875),
            (-179.9999, -16.99875),
        ]
    ):
        column, row = image.grid.pixels(np.array([to_image.transform(lon, lat)]))[0]
        assert truth.instances[int(row), int(column)] == min(number, 2) + 1
    share = (truth.instances > 0).mean() * 3600 * image.grid.gsd_m**2
    wanted = area_m2(gpd.read_file(houses).geometry.to_numpy(), "EPSG:4326").sum()
    assert share == pytest.approx(wanted, rel=0.15)


def test_labels_beside_an_image_across_the_line_are_told_where_they_lie(scene, vectors, tmp_path):
    far = vectors("far.gpkg", [shapely.box(179.0, -17.0, 179.001, -16.999)], crs="EPSG:4326")
    with pytest.raises(CatalogError, match="do not overlap") as told:
        index([scene], tmp_path / "c", labels=far)
    assert "image   179.99" in str(told.value)
    assert ".. -179.99" in str(told.value)


def test_windows_lie_around_places_on_both_sides(scene, tmp_path):
    catalog = index([scene], tmp_path / "c").catalog
    places = gpd.GeoSeries(shapely.points([(179.9985, -17.0), (-179.9985, -17.0)]), crs=4326)
    grids = catalog.dataset(labels=False).grids
    windows, numbers = windows_around(grids, places, window_px=8)
    assert numbers.tolist() == [0, 1]
    centres = (windows.bounds[:, :2] + windows.bounds[:, 2:]) / 2
    wanted = np.stack(Transformer.from_crs(4326, FIJI, always_xy=True).transform(
        [179.9985, -179.9985], [-17.0, -17.0]
    ), axis=1)  # fmt: skip
    assert np.abs(centres - wanted).max() <= 10


def test_windows_are_drawn_evenly_beside_an_image_across_the_line(catalog_of):
    grids = [
        square(LINE_X - 10_000, LINE_Y, 20_000),
        square(500_000, LINE_Y, 20_000, crs=CRS(32737)),  # Africa, at the same latitude
    ]
    dataset = catalog_of(grids).dataset(labels=False)
    sampler = RandomWindows(dataset, window_px=10, length=2000, seed=0)
    windows = sampler.windows()
    assert np.bincount(windows.rows) / 2000 == pytest.approx([0.5, 0.5], abs=0.04)
    frame = windows.frame(dataset.grids, dataset.catalog.images.ids)
    on_the_first = frame[windows.rows == 0]
    crossing = on_the_first.geom_type == "MultiPolygon"
    assert 0 < crossing.sum() < len(on_the_first)
    wanted = (10 * dataset.grids.gsd_m[0]) ** 2
    found = area_m2(on_the_first.geometry.to_numpy(), "EPSG:4326")
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


def test_the_check_of_training_finds_ground_shared_across_the_line(catalog_of):
    grids = [square(LINE_X - 10_000 + x, LINE_Y, 20_000) for x in (0, 10_000, 30_000)]
    catalog = catalog_of(grids, split=["train", "val", "train"])
    findings = Findings(60)
    measure_shared_ground(
        findings, catalog.where("split = 'train'"), catalog.where("split = 'val'")
    )
    (found,) = findings.close(0).findings
    assert "(50%) are training ground too, on 1 and 1 images: image001 + image000" in found.text
    area_km2 = float(found.text.split(" m2")[0].replace(",", "")) / 1e6
    half = Grid(FIJI, Affine(100, 0, LINE_X, 0, -100, LINE_Y), 200, 100)
    assert area_km2 == pytest.approx(oracle_m2(half) / 1e6, rel=1e-4)


def test_rings_are_cut_as_footprints_are():
    grids = [square(LINE_X - 500, LINE_Y, 1000), square(500_000, 3e6, 1000, crs=CRS(32637))]
    rings = Grids.of(grids).outlines_lonlat()
    for outline, grid in zip(antimeridian.polygons(rings), grids, strict=True):
        assert shapely.area(outline ^ grid.footprint()) < 1e-9
    whole = antimeridian.rejoined(antimeridian.polygons(rings))
    assert shapely.get_num_geometries(whole).tolist() == [1, 1]
    assert whole[0].bounds[2] > 180


@pytest.mark.parametrize("west", [179.998, -180.002])
@pytest.mark.parametrize("form", ["cut", "east", "west"])
def test_labels_at_180_are_drawn_whole_on_an_image_in_degrees(tif, vectors, tmp_path, west, form):
    """Whichever of their longitudes the image and the polygon have."""
    turn = {"cut": 0, "east": 0, "west": -360}[form]
    box = shapely.box(179.9990 + turn, -17.003, 180.0010 + turn, -17.001)
    cut = [
        shapely.box(179.999, -17.003, 180, -17.001),
        shapely.box(-180, -17.003, -179.999, -17.001),
    ]
    house = shapely.MultiPolygon(cut) if form == "cut" else box
    far = shapely.box(10, -17.003, 10.002, -17.001)
    file = vectors("houses.gpkg", [far, house], crs="EPSG:4326")
    image = tif(
        "in/a.tif",
        np.random.default_rng(1).integers(1, 255, (1, 400, 400), dtype=np.uint8),
        crs="EPSG:4326",
        transform=Affine(1e-5, 0, west, 0, -1e-5, -17),
    )
    done = index([image], tmp_path / "c", labels=file)
    assert (done.objects, done.outside) == (1, 1)
    expected = np.zeros((400, 400), int)
    expected[100:300, 100:300] = 1
    drawn = done.catalog.dataset()[0]["mask"].numpy()
    assert np.count_nonzero(drawn != expected) <= 800  # centres on an outline, by rounding
    assert drawn[150:250, 150:250].all()
    assert drawn.sum() == pytest.approx(40_000, rel=0.01)
    _, _, centres = done.catalog.dataset().objects()
    assert centres[0] == pytest.approx([west + 0.002, -17.002], abs=1e-9)


def test_a_polygon_beyond_180_is_found_on_an_image_on_the_other_side(tif, vectors, tmp_path):
    file = vectors("far.gpkg", [shapely.box(180.001, -17.003, 180.002, -17.001)], crs="EPSG:4326")
    image = tif(
        "in/a.tif",
        np.ones((1, 400, 400), np.uint8),
        crs="EPSG:4326",
        transform=Affine(1e-5, 0, -180, 0, -1e-5, -17),
    )
    drawn = index([image], tmp_path / "c", labels=file).catalog.dataset()[0]["mask"].numpy()
    rows, columns = np.nonzero(drawn)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (100, 299, 100, 199)
