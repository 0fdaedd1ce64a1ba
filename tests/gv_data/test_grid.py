import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Geod, Transformer

from gv_data.errors import RasterError
from gv_data.grid import Grid
from gv_data.store.grids import Grids

MERCATOR = CRS("EPSG:3857")
UTM = CRS("EPSG:32637")


def mercator_at(lat: float, pixel: float = 0.15, size: int = 400) -> Grid:
    x, y = Transformer.from_crs("EPSG:4326", MERCATOR, always_xy=True).transform(85.5, lat)
    half = size * pixel / 2
    return Grid(MERCATOR, Affine(pixel, 0, x - half, 0, -pixel, y + half), size, size)


def geodesic_m(grid: Grid, from_rc: tuple[float, float], to_rc: tuple[float, float]) -> float:
    """Metres between two (row, column), by pyproj alone."""
    points = [grid.transform @ (column, row) for row, column in (from_rc, to_rc)]
    moved = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform
    (lon0, lat0), (lon1, lat1) = (moved(*point) for point in points)
    return Geod(ellps="WGS84").line_length([lon0, lon1], [lat0, lat1])


def test_a_mercator_pixel_of_15_cm_is_13_cm_at_27_degrees_north():
    grid = mercator_at(27.0)
    assert round(grid.gsd_m, 2) == 0.13
    height, width = (geodesic_m(grid, (200, 200), end) for end in ((201, 200), (200, 201)))
    assert grid.gsd_m == pytest.approx((height * width) ** 0.5, rel=1e-5)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(["EPSG:32637", "EPSG:3857", "EPSG:4326", "EPSG:3035"]),
    st.floats(-0.9, 0.9),
    st.floats(35, 62),
)
def test_pixel_sides_are_geodesic_lengths(crs, place, lat):
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(39 + place, lat)
    across, down = (2e-6, 3e-6) if crs == "EPSG:4326" else (0.2, 0.3)
    grid = Grid(CRS(crs), Affine(across, 0, x, 0, -down, y), 300, 200)
    height = geodesic_m(grid, (100, 100), (200, 100)) / 100
    width = geodesic_m(grid, (150, 50), (150, 150)) / 100
    assert grid.pixel_m == pytest.approx((height, width), rel=1e-5)


def test_a_utm_pixel_carries_the_scale_of_its_zone():
    grid = Grid(UTM, Affine(0.5, 0, 499_975, 0, -0.5, 3_000_025), 100, 100)
    assert grid.gsd_m == pytest.approx(0.5 / 0.9996, rel=1e-6)  # at the central meridian


@pytest.mark.parametrize("size", [(1, 1), (3, 1000), (1000, 3)])
def test_thin_grids_and_large_pixels_have_a_size_too(size):
    grid = Grid(CRS("EPSG:4326"), Affine(1, 0, 10, 0, -1, 88), *size).part(0, 0, 2, 2)
    assert np.isfinite(grid.gsd_m)


@settings(deadline=None)
@given(st.floats(0.01, 40), st.integers(1, 3000), st.integers(1, 3000))
def test_another_gsd_covers_exactly_the_same_bounds(gsd_m, height, width):
    grid = Grid(UTM, Affine(0.5, 0, 500_000, 0, -0.5, 3_000_000), height, width)
    other = grid.at_gsd(gsd_m)
    assert other.bounds == pytest.approx(grid.bounds, abs=1e-6)
    for side_m, size in zip(other.pixel_m, other.shape_hw, strict=True):
        assert size == 1 or abs(side_m / gsd_m - 1) <= 0.51 / (size - 0.5)


def test_an_aspect_of_unequal_degrees_becomes_square_metres():
    grid = Grid(CRS("EPSG:4326"), Affine(1e-6, 0, 39.2, 0, -1e-6, 60.0), 1000, 1000)
    height_m, width_m = grid.at_gsd(0.25).pixel_m
    assert height_m == pytest.approx(0.25, rel=2e-3)
    assert width_m == pytest.approx(0.25, rel=5e-3)


def test_none_keeps_the_pixels():
    grid = mercator_at(0)
    assert grid.at_gsd(None) is grid


@pytest.mark.parametrize("gsd_m", [0, -1, float("nan"), float("inf")])
def test_an_impossible_gsd_is_refused(gsd_m):
    with pytest.raises(RasterError, match="above 0 m"):
        mercator_at(0).at_gsd(gsd_m)


@given(st.integers(-50, 50), st.integers(-50, 50), st.sampled_from([-0.5, 0.5]))
def test_the_window_of_a_part_is_where_it_was_cut(row, column, down):
    grid = Grid(UTM, Affine(0.5, 0, 500_000, 0, down, 3_000_000), 100, 80)
    part = grid.part(row, column, 20, 30)
    assert grid.rows_columns(part.bounds) == pytest.approx((row, column, row + 20, column + 30))


def test_bounds_in_degrees_agree_with_pyproj():
    grid = Grid(UTM, Affine(0.5, 0, 600_000, 0, -0.5, 5_000_000), 2000, 3000)
    oracle = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform_bounds(*grid.bounds)
    assert grid.lonlat_bounds() == pytest.approx(oracle, abs=1e-8)


def test_the_footprint_of_a_large_scene_has_its_geodesic_area():
    grid = Grid(UTM, Affine(10, 0, 400_000, 0, -10, 5_100_000), 10_980, 10_980)
    side = np.linspace(0, 109_800, 200)
    ring = [(400_000 + x, 5_100_000) for x in side] + [(509_800, 5_100_000 - y) for y in side]
    ring += [(509_800 - x, 4_990_200) for x in side] + [(400_000, 4_990_200 + y) for y in side]
    moved = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform
    dense = shapely.Polygon([moved(x, y) for x, y in ring])
    area = [
        abs(Geod(ellps="WGS84").geometry_area_perimeter(s)[0]) for s in (grid.footprint(), dense)
    ]
    assert area[0] == pytest.approx(area[1], rel=2e-5)


def test_metres_taken_for_degrees_are_refused():
    grid = Grid(CRS("EPSG:4326"), Affine(1, 0, 500_000, 0, -1, 3_000_000), 10, 10)
    with pytest.raises(RasterError, match="does not lie on the Earth"):
        _ = grid.gsd_m


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (Affine(0.5, 0.1, 0, 0, -0.5, 0), "rotated"),
        (Affine(0, 0.5, 0, 0.5, 0, 0), "width and a height"),
        (Affine(float("nan"), 0, 0, 0, -1, 0), "width and a height"),
    ],
)
def test_grids_that_are_not_north_up_or_south_up_are_refused(transform, said):
    with pytest.raises(RasterError, match=said):
        Grid(UTM, transform, 10, 10)


def test_the_rounding_of_a_transform_is_no_rotation():
    assert Grid(UTM, Affine(0.5, 1e-9, 0, -1e-9, -0.5, 0), 1000, 1000).shape_hw == (1000, 1000)


def test_without_a_crs_there_is_no_size_on_the_ground():
    grid = Grid(None, Affine.identity(), 10, 10)
    for ask in (lambda: grid.gsd_m, grid.footprint, lambda: grid.at_gsd(1.0)):
        with pytest.raises(RasterError, match="without CRS"):
            ask()


def test_a_local_crs_is_refused_in_words():
    local = CRS('LOCAL_CS["site",UNIT["metre",1]]')
    with pytest.raises(RasterError, match="cannot be related to the Earth"):
        _ = Grid(local, Affine(1, 0, 0, 0, -1, 0), 10, 10).gsd_m


def grids_of_many_kinds() -> list[Grid]:
    rng = np.random.default_rng(0)
    corners = {
        "EPSG:32637": (5e5, 3e6, 0.5),
        "EPSG:3857": (9e6, 3e6, 0.3),
        "EPSG:4326": (10, 50, 1e-5),
        "EPSG:3035": (4e6, 3e6, 10),
    }
    grids = []
    for crs, (x, y, pixel) in corners.items():
        for _ in range(20):
            across, down = pixel * rng.uniform(0.5, 2, 2)
            lean = across * 1e-8
            x0, y0 = x + rng.uniform(-1, 1) * pixel * 1e5, y + rng.uniform(-1, 1) * pixel * 1e5
            transform = Affine(across, lean, x0, lean, down * rng.choice([-1, 1]), y0)
            grids.append(Grid(CRS(crs), transform, *map(int, rng.integers(1, 500, 2))))
    return grids


@pytest.mark.parametrize("gsd_m", [None, 0.7, 33.0])
def test_columns_of_grids_say_the_same_to_the_last_digit(gsd_m):
    grids = grids_of_many_kinds()
    columns = Grids.of(grids)
    assert list(columns) == grids
    np.testing.assert_array_equal(columns.bounds, [grid.bounds for grid in grids])
    np.testing.assert_array_equal(columns.pixel_m, [grid.pixel_m for grid in grids])
    np.testing.assert_array_equal(columns.gsd_m, [grid.gsd_m for grid in grids])
    assert list(columns.at_gsd(gsd_m)) == [grid.at_gsd(gsd_m) for grid in grids]


def test_columns_of_grids_have_the_same_parts_and_corners():
    grids = grids_of_many_kinds()
    columns = Grids.of(grids)
    rng = np.random.default_rng(1)
    first, shapes = rng.integers(-50, 50, (80, 2)), rng.integers(1, 60, (80, 2))
    expected = [
        grid.part(*map(int, at), *map(int, shape)).bounds
        for grid, at, shape in zip(grids, first, shapes, strict=True)
    ]
    np.testing.assert_array_equal(columns.parts(first, shapes), expected)
    xy = columns.bounds[:, :2]
    pixels = [grid.pixels(at[None])[0] for grid, at in zip(grids, xy, strict=True)]
    np.testing.assert_array_equal(columns.pixels(xy), pixels)
    for outline, grid in zip(columns.outlines_lonlat(), grids, strict=True):
        np.testing.assert_allclose(
            outline, shapely.get_coordinates(grid.footprint())[:4], rtol=1e-12
        )


def test_columns_of_grids_can_be_chosen_from():
    columns = Grids.of(grids_of_many_kinds())
    assert list(columns[10:13]) == list(columns)[10:13]
    assert list(columns[columns.crs == 2]) == list(columns)[40:60]
    systems = [crs for crs, _ in columns[np.array([70, 3, 71])].by_crs()]
    assert systems == [CRS("EPSG:32637"), CRS("EPSG:3035")]


def test_columns_of_grids_without_place_have_no_size():
    columns = Grids.of([*grids_of_many_kinds(), Grid(None, Affine.identity(), 5, 6)])
    assert columns.at_gsd(None) is columns
    with pytest.raises(RasterError, match="without CRS"):
        columns.at_gsd(1.0)
    with pytest.raises(RasterError, match="above 0 m"):
        columns.at_gsd(-1.0)
    assert np.isnan(columns.outlines_lonlat()[-1]).all()
