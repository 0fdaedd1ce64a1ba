"""Towns from a seed: exact truth, the same everywhere, and not solved by colour."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.enums import ColorInterp
from rasterio.features import rasterize

from gv_data.synthetic.files import save
from gv_data.synthetic.layers import keep
from gv_data.synthetic.mosaic import TOWN_PX, write_mosaic
from gv_data.synthetic.relief import raise_relief, roof_surfaces, shadows
from gv_data.synthetic.render import reflectance
from gv_data.synthetic.town import Town, photograph, streams, town

DENSITIES = ("suburb", "terrace", "informal", "mixed")


@pytest.fixture(scope="module")
def mixed() -> Town:
    return town(3, size_px=640)


@pytest.fixture(scope="module")
def by_density() -> dict[str, Town]:
    return {density: town(11, size_px=512, density=density) for density in DENSITIES}


def truth(made: Town) -> np.ndarray:
    """Buildings as GDAL burns them."""
    shape = made.image.shape[1:]
    return rasterize(made.buildings.geometry, out_shape=shape, transform=made.transform) > 0


def iou(found: np.ndarray, true: np.ndarray) -> float:
    return (found & true).sum() / (found | true).sum()


def test_two_processes_make_the_same_town():
    code = (
        "import hashlib; from gv_data.synthetic.town import town; t = town(5, size_px=256)\n"
        "parts = t.image.tobytes(), t.height_m.tobytes(), t.buildings.to_wkb().to_csv().encode()\n"
        "print(hashlib.sha256(b''.join(parts)).hexdigest())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert len(runs[0].stdout.strip()) == 64
    assert runs[0].stdout == runs[1].stdout


def test_seeds_differ_in_pixels_and_never_share_ground():
    towns = [town(seed, size_px=128) for seed in (0, 1, 2, 249, 250, 251)]
    assert len({hashlib.sha256(made.image.tobytes()).digest() for made in towns}) == len(towns)
    for one, other in combinations(towns, 2):
        assert one.setting.footprint.disjoint(other.setting.footprint)


def test_buildings_burnt_on_the_grid_are_exactly_the_roofs_painted(mixed):
    relief = raise_relief(mixed.setting, mixed.layers)
    black = mixed.layers.buildings.assign(red=0.0, green=0.0, blue=0.0, nir=0.0)
    painted = [
        reflectance(mixed.setting, layers, relief, streams(mixed.seed)["ground"])
        for layers in (mixed.layers, replace(mixed.layers, buildings=black))
    ]
    changed, true = (painted[0] != painted[1]).any(axis=0), truth(mixed)
    assert not (changed & ~true).any()
    assert (changed & true).sum() > 0.98 * true.sum()  # roof lights have their own colour
    np.testing.assert_array_equal(relief.roofs.pixel, np.flatnonzero(true))


def test_buildings_end_at_the_image_and_are_valid(mixed):
    footprint = mixed.setting.footprint
    assert mixed.buildings.is_valid.all()
    assert (mixed.buildings.geom_type == "Polygon").all()
    assert mixed.buildings.within(footprint.buffer(1e-6)).all()
    assert mixed.buildings.intersects(footprint.boundary).any()
    assert mixed.buildings["id"].is_unique
    assert mixed.buildings.crs == mixed.crs
    assert mixed.crs.to_epsg() == 32737


@pytest.mark.parametrize("density", DENSITIES)
def test_houses_do_not_overlap_each_other_or_the_carriageway(by_density, density):
    made = by_density[density]
    houses = made.buildings.geometry.to_numpy()
    one, other = shapely.STRtree(houses).query(houses, predicate="intersects")
    pairs = one < other
    shared = shapely.intersection(houses[one[pairs]], houses[other[pairs]])
    assert shapely.area(shared).max(initial=0) < 1e-4
    street = shapely.union_all(shapely.buffer(made.roads.geometry, made.roads["width_m"] / 2))
    assert shapely.area(shapely.intersection(houses, street)).max() < 0.1


def test_houses_touch_in_dense_quarters_and_stand_apart_in_the_suburb(by_density):
    touching = {}
    for density, made in by_density.items():
        houses = made.buildings.geometry.to_numpy()
        one, other = shapely.STRtree(houses).query(houses, predicate="dwithin", distance=1e-6)
        touching[density] = len(np.unique(one[one != other])) / len(houses)
    assert touching["suburb"] < 0.1
    assert touching["terrace"] > 0.5
    assert touching["informal"] > 0.5


def test_the_denser_the_quarter_the_more_houses(by_density):
    count = {density: len(made.buildings) for density, made in by_density.items()}
    assert count["suburb"] < count["terrace"] < count["informal"]


def test_roads_are_a_graph_whose_edges_meet_only_at_nodes(mixed):
    roads, nodes = mixed.roads, mixed.layers.nodes.geometry.to_numpy()
    lines = roads.geometry.to_numpy()
    for end, name in ((0, "u"), (-1, "v")):
        distance = shapely.distance(shapely.get_point(lines, end), nodes[roads[name]])
        assert distance.max() < 1e-3
    assert shapely.STRtree(lines).query(lines, predicate="crosses").size == 0
    assert np.bincount(np.concatenate([roads["u"], roads["v"]])).max() >= 3
    assert shapely.within(lines, mixed.setting.footprint.buffer(1e-6)).all()


def test_parcels_have_neither_gaps_nor_overlaps(mixed):
    assert shapely.coverage_is_valid(mixed.layers.parcels.geometry.to_numpy(), gap_width=0.5)


def test_a_gabled_roof_rises_to_its_ridge_and_no_roof_rises_above_its_height(mixed):
    buildings = mixed.layers.buildings
    roofs = roof_surfaces(mixed.setting, buildings)
    top = buildings["height_m"].to_numpy()[roofs.row]
    eave = buildings["eave_m"].to_numpy()[roofs.row]
    flat = (buildings["roof"] == "flat").to_numpy()[roofs.row]
    assert (roofs.height_m >= eave - 1e-4).all()
    assert (roofs.height_m <= top + np.where(flat, 0.31, 0.01)).all()  # flat ones have parapets

    simple = (buildings["roof"] == "gable") & (buildings["wing_side"] == 0)
    pixels = simple.to_numpy()[roofs.row] & (roofs.edge_m > 0)
    table = buildings.iloc[roofs.row[pixels]]
    fall = np.tan(np.deg2rad(table["pitch_deg"].to_numpy()))
    expected = table["height_m"].to_numpy() - fall * np.abs(roofs.across_m[pixels])
    np.testing.assert_allclose(roofs.height_m[pixels], expected, atol=1e-3)


def test_slopes_are_the_gradient_of_the_heights(mixed):
    roofs = roof_surfaces(mixed.setting, mixed.layers.buildings)
    height, row = np.full(mixed.height_m.shape, np.nan), np.full(mixed.height_m.shape, -1)
    height.ravel()[roofs.pixel], row.ravel()[roofs.pixel] = roofs.height_m, roofs.row
    south, east = np.gradient(height, mixed.setting.gsd_m)
    around = np.stack([np.roll(row, shift, axis) for shift in (-1, 1) for axis in (0, 1)])
    inner = (around == row).all(axis=0).ravel()[roofs.pixel]
    error = np.hypot(
        east.ravel()[roofs.pixel] - roofs.slope_east,
        -south.ravel()[roofs.pixel] - roofs.slope_north,
    )[inner]
    assert (error < 0.02).mean() > 0.8  # ridges, valleys and rims have two slopes in a pixel
    assert np.median(error) < 1e-3


def test_heights_are_roofs_where_roofs_are_and_low_on_streets(mixed):
    roofs = truth(mixed)
    assert mixed.height_m.dtype == np.float32
    assert mixed.height_m[roofs].min() >= 2.0
    middle = rasterize(
        mixed.roads.geometry, out_shape=roofs.shape, transform=mixed.transform
    ).astype(bool)
    assert np.median(mixed.height_m[middle]) == 0


@pytest.mark.parametrize(("azimuth", "elevation"), [(0, 45), (77, 30), (201, 55), (315, 40)])
def test_shadows_agree_with_walking_from_every_pixel_to_the_sun(azimuth, elevation):
    rng = np.random.default_rng(4)
    height = np.where(rng.random((24, 31)) < 0.06, rng.uniform(1, 6, (24, 31)), 0).astype(
        np.float32
    )
    down, right = -np.cos(np.deg2rad(azimuth)), np.sin(np.deg2rad(azimuth))
    longest = max(abs(down), abs(right))
    expected = np.zeros(height.shape, bool)
    for row in range(24):
        for column in range(31):
            for step in range(1, 40):
                y = row + round(step * down / longest)
                x = column + round(step * right / longest)
                if not (0 <= y < 24 and 0 <= x < 31):
                    break
                rise = 0.5 * step / longest * np.tan(np.deg2rad(elevation))
                expected[row, column] |= height[y, x] > height[row, column] + rise
    found = shadows(height, 0.5, azimuth, elevation)
    assert (found != expected).mean() < 0.003  # rays that graze an edge
    assert expected.any()


def test_a_shadow_is_as_long_as_height_over_tangent():
    height = np.zeros((60, 60), np.float32)
    height[40:44, 20:40] = 6.0
    shadow = shadows(height, 0.3, 180, 50)  # the sun in the south: shadows fall north
    assert shadow[:40, 30].sum() * 0.3 == pytest.approx(6 / np.tan(np.deg2rad(50)), abs=0.3)
    assert not shadow[44:, :].any()


def test_the_same_layers_give_the_same_picture_and_a_missing_house_changes_only_its_place(mixed):
    def taken(buildings: gpd.GeoDataFrame) -> np.ndarray:
        rng = streams(mixed.seed)
        layers = replace(mixed.layers, buildings=buildings)
        return photograph(mixed.setting, layers, ground=rng["ground"], noise=rng["noise"])[0]

    buildings = mixed.layers.buildings
    np.testing.assert_array_equal(taken(buildings), mixed.image)
    middle = mixed.setting.footprint.centroid
    gone = buildings.distance(middle).idxmin()
    change = np.abs(taken(buildings.drop(index=gone)).astype(int) - mixed.image).max(axis=0)
    rows, columns = np.nonzero(change > 30)
    x, y = rasterio.transform.xy(mixed.transform, rows, columns)
    reach = buildings.loc[gone, "height_m"] / np.tan(np.deg2rad(mixed.setting.sun_elevation_deg))
    place = buildings.geometry[gone].buffer(reach + 2)
    assert len(rows) > 20
    assert shapely.contains_xy(place, x, y).all()


def test_a_coarser_camera_sees_the_same_town():
    fine, coarse = town(9, size_px=256, gsd_m=0.3), town(9, size_px=128, gsd_m=0.6)
    assert shapely.equals(fine.buildings.geometry, coarse.buildings.geometry).all()
    small = fine.image.reshape(4, 128, 2, 128, 2).mean(axis=(2, 4))
    assert np.corrcoef(small[0].ravel(), coarse.image[0].ravel())[0, 1] > 0.7


def test_no_threshold_and_no_colour_table_finds_the_buildings():
    """Of a band or index: the best one with the truth in hand; of colours: fitted elsewhere."""
    known = [town(100 + n, size_px=512, density=DENSITIES[n % 4]) for n in range(8)]
    unseen = [town(200 + n, size_px=512, density=DENSITIES[n % 4]) for n in range(8)]
    scores = {name: [] for name in (*indices(unseen[0].image), "colour table")}
    seen, roof = np.zeros(4096), np.zeros(4096)
    for made in known:
        colour = colours(made.image)
        seen += np.bincount(colour.ravel(), minlength=4096)
        roof += np.bincount(colour.ravel(), truth(made).ravel(), 4096)
    for made in unseen:
        true = truth(made)
        for name, values in indices(made.image).items():
            scores[name].append(best_threshold(values, true))
        table = roof / np.maximum(seen, 1) > 0.4
        scores["colour table"].append(iou(table[colours(made.image)], true))
    worst = {name: float(np.mean(values)) for name, values in scores.items()}
    assert max(worst.values()) < 0.55, worst


def indices(image: np.ndarray) -> dict[str, np.ndarray]:
    """Bands and indices, as 0 to 255."""
    red, green, blue, nir = image.astype(float)
    high, low = image[:3].max(axis=0).astype(float), image[:3].min(axis=0).astype(float)
    return {
        "red": red,
        "green": green,
        "blue": blue,
        "nir": nir,
        "brightness": (red + green + blue) / 3,
        "saturation": 255 * (high - low) / (high + 1),
        "ndvi": 127.5 * (1 + (nir - red) / (nir + red + 1)),
        "greenness": 127.5 + (2 * green - red - blue) / 4,
        "redness": 127.5 + (red - blue) / 2,
    }


def best_threshold(values: np.ndarray, true: np.ndarray) -> float:
    """IoU of the best of all thresholds, from above or below."""
    level = np.clip(values, 0, 255).astype(int).ravel()
    inside = np.bincount(level, true.ravel(), 256).cumsum()
    picked = np.bincount(level, minlength=256).cumsum()
    total = true.sum()
    below = inside / (picked + total - inside)
    rest, hit = picked[-1] - picked, total - inside
    return max(below.max(), (hit / (rest + total - hit)).max())


def colours(image: np.ndarray) -> np.ndarray:
    """Index of the colour, 16 steps a channel."""
    red, green, blue = (image[:3] >> 4).astype(int)
    return (red * 16 + green) * 16 + blue


@pytest.mark.parametrize("labels", ["gpkg", "parquet"])
@pytest.mark.parametrize("nir", [True, False])
def test_saved_towns_read_back_as_they_were(mixed, tmp_path, labels, nir):
    files = save(mixed, tmp_path / "new", nir=nir, labels=labels)
    with rasterio.open(files.image) as image:
        np.testing.assert_array_equal(image.read(), mixed.image[: 4 if nir else 3])
        assert image.crs.to_epsg() == 32737
        assert image.transform == mixed.transform
        assert image.descriptions == ("red", "green", "blue", "nir")[: image.count]
        assert image.colorinterp[:3] == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        assert ColorInterp.alpha not in image.colorinterp
        assert image.nodata is None
    read = gpd.read_parquet if labels == "parquet" else gpd.read_file
    for path, table in ((files.buildings, mixed.buildings), (files.roads, mixed.roads)):
        back = read(path)
        assert back.crs == table.crs
        assert shapely.equals(back.geometry.to_numpy(), table.geometry.to_numpy()).all()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(
        path.name for path in (files.image, files.buildings, files.roads)
    )


def test_a_mosaic_is_made_of_mirrored_towns_and_covers_all_of_its_size(tmp_path):
    path = tmp_path / "large.tif"
    write_mosaic(path, 5, size_px=1500, towns=2)
    made = [town(5 + n).image[:3] for n in range(2)]
    with rasterio.open(path) as image:
        assert image.shape == (1500, 1500)
        assert image.crs.to_epsg() == 32737
        assert image.res == (0.3, 0.3)
        assert image.read().any(axis=0).all()
        corner = image.read()[:, :TOWN_PX, :TOWN_PX]
    mirrored = (one[:, ::down, ::right] for one in made for down in (1, -1) for right in (1, -1))
    assert any(np.array_equal(corner, one) for one in mirrored)


def test_a_crs_that_is_no_utm_zone_and_a_town_too_wide_are_refused():
    with pytest.raises(ValueError, match="EPSG:3857"):
        town(1, epsg=3857)
    with pytest.raises(ValueError, match="mosaic"):
        town(1, size_px=8000)


def test_a_town_without_houses_can_be_painted(mixed):
    nothing = np.zeros(len(mixed.layers.buildings), bool)
    layers = replace(mixed.layers, buildings=keep(mixed.layers.buildings, nothing))
    rng = streams(mixed.seed)
    image, relief = photograph(mixed.setting, layers, ground=rng["ground"], noise=rng["noise"])
    assert image.shape == mixed.image.shape
    assert len(relief.roofs.pixel) == 0
