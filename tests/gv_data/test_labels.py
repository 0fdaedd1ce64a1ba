import geopandas as gpd
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from pyproj import CRS

from gv_data.errors import VectorError
from gv_data.grid import Grid
from gv_data.labels.labels import Labels

UTM = CRS("EPSG:32637")
GRID = Grid(UTM, Affine(0.5, 0, 500_000, 0, -0.5, 3_000_000), 100, 120)
HOUSES = [
    shapely.box(500_005, 2_999_970, 500_015, 2_999_980),
    shapely.Polygon([(500_030, 2_999_990), (500_050, 2_999_985), (500_041.1, 2_999_960)]),
    shapely.box(500_500, 2_999_000, 500_510, 2_999_010),
]
BOW_TIE = shapely.Polygon([(500_020, 2_999_960), (500_030, 2_999_970), (500_030, 2_999_960),
                           (500_020, 2_999_970)])  # fmt: skip


def burnt(shapes: list) -> np.ndarray:
    return rasterio.features.rasterize(shapes, out_shape=GRID.shape_hw, transform=GRID.transform)


@pytest.mark.parametrize("crs", ["EPSG:32637", "EPSG:4326", "EPSG:3857"])
def test_labels_in_any_crs_are_burnt_as_rasterio_does(vectors, crs):
    path = vectors("houses.gpkg", gpd.GeoSeries(HOUSES, crs=UTM).to_crs(crs).to_list(), crs)
    labels = Labels.read(path)
    truth = labels.on(GRID)
    assert len(labels) == 3
    assert list(labels.touching(GRID)) == [0, 1]
    np.testing.assert_array_equal(truth.instances > 0, burnt(HOUSES) > 0)
    assert truth.labelled.all()
    assert sorted(np.unique(truth.instances)) == [0, 1, 2]


def test_self_crossing_outlines_are_mended_and_counted(vectors):
    labels = Labels.read(vectors("houses.gpkg", [*HOUSES, BOW_TIE]))
    assert (len(labels), labels.repaired) == (4, 1)
    triangles = shapely.make_valid(BOW_TIE)
    np.testing.assert_array_equal(labels.on(GRID).instances > 0, burnt([*HOUSES, triangles]) > 0)


def test_outside_the_labelled_area_nothing_is_known(vectors):
    area = shapely.box(500_000, 2_999_950, 500_020, 3_000_000)
    path = vectors("houses.gpkg", HOUSES)
    labels = Labels.read(path, labelled_area=vectors("area.geojson", [area]))
    np.testing.assert_array_equal(labels.on(GRID).labelled, burnt([area]) > 0)
    assert labels.reach(GRID)
    assert not labels.reach(GRID.part(0, 60, 20, 20))


def test_the_crs_can_be_said_and_x_and_y_swapped(vectors):
    right = Labels.read(vectors("right.gpkg", HOUSES)).on(GRID).instances
    unsaid = Labels.read(vectors("unsaid.gpkg", HOUSES, "EPSG:32636"), crs="EPSG:32637")
    np.testing.assert_array_equal(unsaid.on(GRID).instances, right)
    yx = [shapely.transform(house, lambda xy: xy[:, ::-1]) for house in HOUSES]
    swapped = Labels.read(vectors("swapped.gpkg", yx), swap_xy=True)
    np.testing.assert_array_equal(swapped.on(GRID).instances, right)


def test_labels_where_the_crs_of_the_image_ends_do_no_harm(vectors):
    here = gpd.GeoSeries(HOUSES, crs=UTM).to_crs("EPSG:4326").to_list()
    antipode = [shapely.box(-141.1, -27.2, -141.0, -27.1), shapely.box(-51, -1, -50.9, 1)]
    labels = Labels.read(vectors("world.gpkg", [*here, *antipode], "EPSG:4326"))
    assert list(labels.touching(GRID)) == [0, 1]


@pytest.mark.parametrize("shapes", [[], [shapely.Point(500_000, 3_000_000)], [None]])
def test_a_file_without_polygons_is_refused(vectors, shapes):
    path = vectors("empty.geojson", shapes, "EPSG:4326")
    with pytest.raises(VectorError, match=r"empty\.geojson"):
        Labels.read(path)


def test_labels_elsewhere_are_explained_with_both_extents(vectors):
    labels = Labels.read(vectors("houses.gpkg", HOUSES))
    told = labels.why_outside([(10, 50, 11, 51)])
    assert "10.0000 .. 11.0000 E, 50.0000 .. 51.0000 N" in told
    assert "39.0001 .. 39.0051 E, 27.1134 .. 27.1224 N" in told


def test_swapped_labels_and_the_wrong_crs_are_recognised(vectors):
    lonlat = gpd.GeoSeries(HOUSES, crs=UTM).to_crs("EPSG:4326").to_list()
    yx = [shapely.transform(house, lambda xy: xy[:, ::-1]) for house in lonlat]
    swapped = Labels.read(vectors("swapped.gpkg", yx, "EPSG:4326"))
    told = swapped.why_outside([GRID.lonlat_bounds()])
    assert "2 of 3 polygons would lie inside" in told
    assert "try: --swap-xy" in told
    mistaken = Labels.read(vectors("mistaken.gpkg", HOUSES, "EPSG:32636"))
    told = mistaken.why_outside([GRID.lonlat_bounds()], images_crs="EPSG:32637")
    assert "try: --labels-crs EPSG:32637" in told


def test_an_image_without_crs_can_hold_no_labels(vectors):
    labels = Labels.read(vectors("houses.gpkg", HOUSES))
    with pytest.raises(VectorError, match="without CRS"):
        labels.on(Grid(None, Affine.identity(), 10, 10))
