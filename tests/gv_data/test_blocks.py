from functools import partial
from itertools import combinations
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import CRS, Geod, Transformer

from gv_data.errors import DataError
from gv_data.intake.indexing import index
from gv_data.labels.labels import Labels
from gv_data.rasters.raster import Scene
from gv_data.splitting.blocks import blocks

UTM = Affine(0.3, 0, 500_000, 0, -0.3, 9_300_000)
MERCATOR_60_N = Affine(0.6, 0, 1_000_000, 0, -0.6, 8_399_000)  # 0.3 m on the ground


def image(path: Path, shape_hw, *, transform=UTM, epsg=32737, empty=None) -> Path:
    """A grey image; pixels of the mask ``empty`` are nodata."""
    pixels = np.full((1, *shape_hw), 100, np.uint8)
    if empty is not None:
        pixels[:, empty] = 0
    height, width = shape_hw
    profile = {"count": 1, "height": height, "width": width, "dtype": "uint8", "nodata": 0}
    with rasterio.open(path, "w", crs=f"EPSG:{epsg}", transform=transform, **profile) as file:
        file.write(pixels)
    return path


def squares(rows_columns, *, transform=UTM, epsg=32737, side_px=20) -> gpd.GeoDataFrame:
    """Squares centred on some pixels."""
    half = side_px / 2
    boxes = []
    for row, column in rows_columns:
        x0, y0 = transform @ (column - half, row - half)
        x1, y1 = transform @ (column + half, row + half)
        boxes.append(shapely.box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
    return gpd.GeoDataFrame(geometry=boxes, crs=f"EPSG:{epsg}")


def rectangle(part) -> shapely.Polygon:
    return shapely.box(
        part.column, part.row, part.column + part.width_px, part.row + part.height_px
    )


def smallest_gap_m(train, val, scene: Scene) -> float:
    """Least geodesic distance between training and validation rectangles of a scene."""
    pairs = [shapely.shortest_line(rectangle(a), rectangle(b)) for a in train for b in val]
    t, pixels = scene.grid.transform, shapely.get_coordinates(pairs)
    x, y = (pixels * [t.a, t.e] + [t.c, t.f]).T
    to_degrees = Transformer.from_crs(scene.grid.crs, CRS("OGC:CRS84"), always_xy=True)
    lon, lat = to_degrees.transform(x, y)
    return min(Geod(ellps="WGS84").inv(lon[::2], lat[::2], lon[1::2], lat[1::2])[2])


def split_of(parts, name):
    return [part for part in parts if part.split == name]


def area(parts) -> int:
    return sum(part.height_px * part.width_px for part in parts)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    shape_hw=st.tuples(st.integers(260, 1100), st.integers(260, 1100)),
    val_share=st.floats(0.1, 0.4),
    buffer_m=st.floats(0, 12),
    block_m=st.floats(15, 80),
    seed=st.integers(0, 99),
    mercator=st.booleans(),
    objects=st.integers(0, 40),
)
def test_parts_keep_apart_inside_the_image_and_share_as_asked(
    tmp_path, shape_hw, val_share, buffer_m, block_m, seed, mercator, objects
):
    transform, epsg = (MERCATOR_60_N, 3857) if mercator else (UTM, 32737)
    path = image(tmp_path / "a.tif", shape_hw, transform=transform, epsg=epsg)
    spots = np.random.default_rng(seed).uniform((0, 0), shape_hw, (objects, 2))
    labels = (
        Labels.from_frame(path, squares(spots, transform=transform, epsg=epsg)) if objects else None
    )
    with Scene(path) as scene:
        cut = partial(
            blocks,
            scene,
            labels,
            block_m=block_m,
            val_share=val_share,
            buffer_m=buffer_m,
            seed=seed,
        )
        parts = cut()
        assert parts == cut()
        train, val = split_of(parts, "train"), split_of(parts, "val")
        assert train
        assert val
        assert len({part.name for part in parts}) == len(parts)
        for part in parts:
            assert part.row >= 0
            assert part.column >= 0
            assert part.row + part.height_px <= shape_hw[0]
            assert part.column + part.width_px <= shape_hw[1]
        for a, b in combinations(parts, 2):
            assert rectangle(a).intersection(rectangle(b)).area == 0
        assert smallest_gap_m(train, val, scene) >= buffer_m - 1e-6
    share = area(val) / (shape_hw[0] * shape_hw[1])
    assert abs(share - val_share) < 0.5 / 6 + 0.02  # half a block where there are few
    if objects > 10:
        inside = [any(rectangle(p).contains(shapely.Point(c, r)) for p in val) for r, c in spots]
        assert any(inside)


def test_validation_has_about_its_share_of_crowded_labels(tmp_path):
    path = image(tmp_path / "a.tif", (2000, 2000))
    rng = np.random.default_rng(1)
    spots = np.r_[rng.normal(500, 150, (300, 2)), rng.uniform(0, 2000, (40, 2))]
    spots = spots[((spots > 0) & (spots < 2000)).all(axis=1)]
    labels = Labels.from_frame(path, squares(spots))
    with Scene(path) as scene:
        for seed in range(8):
            val = shapely.union_all(
                [rectangle(p) for p in split_of(blocks(scene, labels, seed=seed), "val")]
            )
            held = shapely.contains_xy(val, spots[:, 1], spots[:, 0]).mean()
            assert 0.07 < held < 0.25


def test_two_labels_go_one_to_each_side(tmp_path):
    path = image(tmp_path / "a.tif", (1200, 1200))
    labels = Labels.from_frame(path, squares([(100, 100), (1100, 1050)]))
    with Scene(path) as scene:
        for seed in range(10):
            parts = blocks(scene, labels, seed=seed)
            for split in ("train", "val"):
                ground = shapely.union_all([rectangle(p) for p in split_of(parts, split)])
                assert shapely.contains_xy(ground, [100, 1050], [100, 1100]).sum() == 1


def test_seeds_choose_other_blocks(tmp_path):
    path = image(tmp_path / "a.tif", (1200, 1200))
    with Scene(path) as scene:
        chosen = {tuple(split_of(blocks(scene, None, seed=seed), "val")) for seed in range(5)}
    assert len(chosen) > 1


def test_validation_lies_on_labelled_ground(tmp_path):
    path = image(tmp_path / "a.tif", (1200, 1200))
    area_frame = squares([(600, 300)], side_px=600)
    labels = Labels.from_frame(path, squares([(500, 200), (700, 400), (1100, 1100)]), area_frame)
    labelled = shapely.box(0, 300, 600, 900)  # columns, rows
    with Scene(path) as scene:
        for seed in range(5):
            for part in split_of(blocks(scene, labels, seed=seed), "val"):
                inside = rectangle(part).intersection(labelled).area / rectangle(part).area
                assert inside > 0.3


def test_a_rotated_image_has_no_validation_in_its_void(tmp_path):
    rows, columns = np.mgrid[:1000, :1000]
    empty = np.abs(rows - 500) + np.abs(columns - 500) > 500
    path = image(tmp_path / "a.tif", (1000, 1000), empty=empty)
    with Scene(path) as scene:
        for seed in range(5):
            for part in split_of(blocks(scene, None, seed=seed), "val"):
                window = empty[part.row :, part.column :][: part.height_px, : part.width_px]
                assert window.mean() < 0.6


def test_blocks_shrink_until_there_are_eight_of_them(tmp_path):
    path = image(tmp_path / "a.tif", (400, 400))  # 120 m
    with Scene(path) as scene:
        val = split_of(blocks(scene, None), "val")
    assert len(val) == 1
    assert area(val) < 400 * 400 / 8


def test_training_ground_is_merged_to_more_than_a_block(tmp_path):
    path = image(tmp_path / "a.tif", (2000, 2000))
    with Scene(path) as scene:
        train = split_of(blocks(scene, None), "train")
    assert max(part.height_px * part.width_px for part in train) > 4 * 200 * 200
    assert area(train) > 0.6 * 2000 * 2000


def test_a_tiny_image_is_refused_with_its_size_and_the_way_out(tmp_path):
    path = image(tmp_path / "tiny.tif", (50, 60))
    with Scene(path) as scene, pytest.raises(DataError) as error:
        blocks(scene, None)
    assert "tiny.tif is too small to split: 18 x 15 m" in str(error.value)
    assert "a second image, on other ground" in str(error.value)


@pytest.mark.parametrize("wrong", [{"val_share": 0}, {"val_share": 0.9}, {"block_m": -1}])
def test_settings_without_sense_are_refused(tmp_path, wrong):
    path = image(tmp_path / "a.tif", (400, 400))
    with Scene(path) as scene, pytest.raises(DataError, match="blocks need"):
        blocks(scene, None, **wrong)


def test_a_catalog_of_one_image_has_both_splits(tmp_path):
    path = image(tmp_path / "ortho.tif", (800, 800))
    roofs = tmp_path / "roofs.gpkg"
    squares(np.random.default_rng(0).uniform(20, 780, (60, 2))).to_file(roofs)
    catalog = index([path], tmp_path / "catalog", labels=roofs, parts=blocks).catalog
    rows = catalog.sql("SELECT split, sum(objects)::INT AS n FROM images GROUP BY ALL").to_pylist()
    assert {row["split"] for row in rows} == {"train", "val"}
    assert all(row["n"] > 0 for row in rows)
    assert "ortho-train-01" in {image.id for image in catalog.images}
