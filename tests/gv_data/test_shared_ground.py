"""Ground that parts share, in square metres of the ellipsoid; and blocks of one size everywhere."""

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS, Geod, Transformer

from gv_data.errors import CatalogError
from gv_data.grid import Grid
from gv_data.splitting.ground_blocks import EARTH_RADIUS_M, cells_of
from gv_data.splitting.grounds import Grounds
from gv_data.splitting.shared_ground import find_shared_ground, finding

UTM = CRS(32637)


def square(x: float, y: float, side_m: float, *, crs: CRS = UTM, px: int = 100) -> Grid:
    return Grid(crs, Affine(side_m / px, 0, x, 0, -side_m / px, y), px, px)


def ground_m2(shape: shapely.Polygon, crs: CRS = UTM) -> float:
    """Geodesic area, its sides drawn through many points."""
    xy = shapely.get_coordinates(shapely.segmentize(shape, 10))
    lon, lat = Transformer.from_crs(crs, 4326, always_xy=True).transform(*xy.T)
    return abs(Geod(ellps="WGS84").polygon_area_perimeter(lon, lat)[0])


def moved(grid: Grid, crs: CRS) -> shapely.Polygon:
    """A grid's ground in another CRS, its sides drawn through many points."""
    shape = shapely.segmentize(shapely.box(*grid.bounds), 2)
    xy = Transformer.from_crs(grid.crs, crs, always_xy=True).transform(
        *shapely.get_coordinates(shape).T
    )
    return shapely.Polygon(np.stack(xy, axis=1))


def test_shared_ground_is_the_geodesic_area_of_what_both_show(catalog_of):
    grids = [
        square(500_000, 3_000_000, 1000),
        square(500_700, 3_000_400, 1000),  # 300 x 600 m of the first
        square(500_800, 3_000_300, 1000),  # 200 x 700 m, partly the same
        square(520_000, 3_000_000, 1000),
    ]
    catalog = catalog_of(grids, split=["train", "val", "val", "train"])
    (found,) = find_shared_ground(catalog)
    boxes = [shapely.box(*grid.bounds) for grid in grids]
    expected = ground_m2(boxes[0].intersection(boxes[1] | boxes[2]))
    assert found.parts == ("train", "val")
    assert found.area_m2 == pytest.approx(expected, rel=1e-5)
    assert found.images == (1, 2)
    assert found.examples == (("image000", "image001"), ("image000", "image002"))
    said = finding([found])
    assert said is not None
    assert "train and val share 2" in said.text
    assert "image000 + image001" in said.text
    assert said.rule == "shared-ground"


def test_ground_is_compared_across_crs(catalog_of):
    utm = square(500_000, 3_000_000, 500)
    x, y = Transformer.from_crs(UTM, 3857, always_xy=True).transform(500_250, 2_999_750)
    mercator = Grid(CRS(3857), Affine(1, 0, x, 0, -1, y), 600, 600)
    catalog = catalog_of([utm, mercator], split=["val", "test"])
    (found,) = find_shared_ground(catalog)
    ours, theirs = shapely.box(*utm.bounds), moved(mercator, UTM)
    assert found.area_m2 == pytest.approx(ground_m2(ours.intersection(theirs)), rel=1e-4)
    assert found.images == (1, 1)


@pytest.mark.parametrize(("shift_px", "shared"), [(100, False), (99.6, False), (99.4, True)])
def test_images_that_lap_by_less_than_half_a_pixel_only_touch(catalog_of, shift_px, shared):
    grids = [square(500_000, 3_000_000, 1000), square(500_000 + 10 * shift_px, 3_000_000, 1000)]
    assert bool(find_shared_ground(catalog_of(grids, split=["train", "val"]))) == shared


def test_images_of_one_ground_share_it_whatever_their_pixels_are(catalog_of):
    grid = square(500_000, 3_000_000, 1000)
    catalog = catalog_of([grid, grid.scaled(4, 4), grid], split=["train", "val", None])
    (found,) = find_shared_ground(catalog)
    assert found.area_m2 == pytest.approx(ground_m2(shapely.box(*grid.bounds)), rel=1e-6)


def test_tiles_of_different_sizes_side_by_side_share_nothing(catalog_of):
    large = square(500_000, 9_000_000, 30_000, px=3000)  # at 81 degrees north sides bend
    small = [square(530_000, 9_000_000 - 3000 * n, 3000, px=300) for n in range(10)]
    catalog = catalog_of([large, *small], split=["train", *["val"] * 10])
    assert find_shared_ground(catalog) == ()


def test_any_column_or_sql_names_the_parts(catalog_of):
    grid = square(500_000, 3_000_000, 1000)
    catalog = catalog_of([grid, grid], fold=[0, 1], place=["a", "a"])
    assert [one.parts for one in find_shared_ground(catalog, "fold")] == [(0, 1)]
    assert find_shared_ground(catalog, "place || 'x'") == ()
    assert finding(()) is None
    with pytest.raises(CatalogError, match="columns of images"):
        find_shared_ground(catalog, "fodl")


def test_pairs_within_a_distance_are_those_that_geodesics_find(catalog_of):
    rng = np.random.default_rng(4)
    spots = Transformer.from_crs(4326, 3857, always_xy=True).transform(
        30 + rng.uniform(0, 0.02, 60), 68 + rng.uniform(0, 0.01, 60)
    )
    grids = [square(x, y, 100, crs=CRS(3857)) for x, y in zip(*spots, strict=True)]
    grounds = Grounds.of(catalog_of(grids))
    found = {tuple(sorted(pair)) for pair in grounds.ground.argsort()[grounds.near(60)].tolist()}
    flat = CRS("+proj=aeqd +lat_0=68.005 +lon_0=30.01 +datum=WGS84")
    shapes = [moved(grid, flat) for grid in grids]
    distances = {
        (a, b): shapely.distance(shapes[a], shapes[b]) for a in range(60) for b in range(a + 1, 60)
    }
    assert 20 < len(found) < 600
    assert {pair for pair, metres in distances.items() if metres < 59.9} <= found
    assert found <= {pair for pair, metres in distances.items() if metres < 60.1}


@pytest.mark.parametrize("latitude", [-89, -60, 0.5, 47, 80])
def test_blocks_are_squares_of_one_size_at_any_latitude(latitude):
    side_m = 20_000.0
    step = np.degrees(side_m / EARTH_RADIUS_M) / 50
    lat = latitude + np.arange(-100, 100) * step
    lon = 12 + np.arange(-100, 100) * step / np.cos(np.radians(latitude))
    points = np.stack(np.meshgrid(lon, lat), axis=-1).reshape(-1, 2)
    cells = cells_of(points, side_m)
    _, cell, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    whole = [
        n for n in range(len(counts))
        if not np.isin(points[cell == n], [lon[[0, -1]], lat[[0, -1]]]).any()
    ]  # fmt: skip
    assert len(whole) >= 2
    weight = np.cos(np.radians(points[:, 1])) / np.cos(np.radians(latitude))
    areas = [weight[cell == n].sum() * (side_m / 50) ** 2 for n in whole]
    assert areas == pytest.approx([side_m**2] * len(whole), rel=0.05)


def test_the_first_block_east_of_the_antimeridian_follows_the_last_one_west_of_it():
    (last,), (first,) = (cells_of(np.array([[lon, 10.0]]), 5000.0) for lon in (179.99, -179.99))
    assert (first[1], first[0]) == (0, last[0])
    around = 2 * np.pi * EARTH_RADIUS_M * np.cos(np.radians(10)) / 5000
    assert last[1] == pytest.approx(around - 1, abs=2)
