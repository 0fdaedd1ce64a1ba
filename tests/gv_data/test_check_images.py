"""What a look at pixels says before training: void, labels on one side, labels beside the image."""

import math
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from gv_data.catalog import Catalog
from gv_data.checks import image_rules
from gv_data.checks.alignment import correlate
from gv_data.checks.check import Checked, check_training
from gv_data.grid import Grid
from gv_data.intake.indexing import index
from gv_data.labels.labels import Labels
from gv_data.rasters.raster import Scene
from gv_data.synthetic.layers import keep
from gv_data.vectors import vector


def check_views(train: Catalog, val: Catalog, *, gsd_m=0.3) -> Checked:
    """Check without hurry: test machines are slow."""
    return check_training(train, val, gsd_m=gsd_m, seconds=120)


def real(folder: Path, place: str, pattern: str) -> list[Path]:
    return sorted((folder / place).glob(pattern))


@pytest.mark.parametrize("value", [0, 255, 7])
def test_void_without_nodata_is_found(views, towns, tmp_path, value, rewrite, only, black_corner):
    def corner(pixels):
        cut = black_corner(pixels)
        return np.where((cut == 0).all(axis=0), value, cut).astype("uint8")

    bad = rewrite(towns["a"].image, tmp_path / "a.tif", corner)
    train, val = views(train=[(bad, towns["a"].buildings)])
    finding = only(check_views(train, val), "nodata")
    assert finding.level == "warning"
    assert f"17% of a.tif is {value} in all bands, joined to its edges" in finding.text
    assert f"--nodata {value}" in finding.hint


def test_void_marked_as_nodata_is_fine(views, towns, tmp_path, rewrite, black_corner):
    good = rewrite(towns["a"].image, tmp_path / "a.tif", black_corner, nodata=0)
    train, val = views(train=[(good, towns["a"].buildings)])
    assert "nodata" in check_views(train, val).passed


def test_a_dark_pond_inside_is_no_void(views, towns, tmp_path, rewrite):
    def pond(pixels):
        pixels[:, 20:90, 20:90] = 0  # inside one window, away from its edges
        return pixels

    image = rewrite(towns["a"].image, tmp_path / "a.tif", pond)
    train, val = views(train=[(image, towns["a"].buildings)])
    assert "nodata" in check_views(train, val).passed


@pytest.mark.parametrize("named", ["west", "east", "north", "south"])
def test_labels_on_one_side_only_are_found(views, towns, tmp_path, named, only):
    frame = vector.read(towns["a"].buildings)
    west, south, east, north = frame.total_bounds
    x, y = frame.centroid.x, frame.centroid.y
    kept = {
        "west": x > (west + east) / 2,
        "east": x < (west + east) / 2,
        "north": y < (south + north) / 2,
        "south": y > (south + north) / 2,
    }[named]
    half = tmp_path / "half.gpkg"
    vector.write(keep(frame, kept), half)
    train, val = views(train=[(towns["a"].image, half)])
    finding = only(check_views(train, val), "one-sided-labels")
    assert f"is the {named} half unlabelled?" in finding.text
    assert "--labelled-area" in finding.hint


def test_labels_on_one_side_are_fine_where_that_was_said(views, towns, tmp_path):
    frame = vector.read(towns["a"].buildings)
    west, south, east, north = frame.total_bounds
    area = shapely.box(west, south, (west + east) / 2, north)
    half, labelled = tmp_path / "half.gpkg", tmp_path / "area.gpkg"
    vector.write(keep(frame, frame.centroid.within(area)), half)
    vector.write(gpd.GeoDataFrame(geometry=[area], crs=frame.crs), labelled)
    out = tmp_path / "catalog"
    index([towns["a"].image], out, labels=half, labelled_area=labelled, place="train")
    index([towns["b"].image], out, labels=towns["b"].buildings, place="val", append=True)
    catalog = Catalog.open(out)
    checked = check_views(catalog.where("place = 'train'"), catalog.where("place = 'val'"))
    assert checked.findings == ()


def test_labels_on_one_side_are_fine_where_the_other_is_void(views, towns, tmp_path, rewrite):
    def cut(pixels):
        pixels = np.maximum(pixels, 1)
        pixels[:, :, 256:] = 0
        return pixels

    frame = vector.read(towns["a"].buildings)
    west, _, east, _ = frame.total_bounds
    half = tmp_path / "half.gpkg"
    vector.write(keep(frame, frame.centroid.x < (west + east) / 2), half)
    image = rewrite(towns["a"].image, tmp_path / "a.tif", cut, nodata=0)
    train, val = views(train=[(image, half)])
    assert "one-sided-labels" in check_views(train, val).passed


def test_a_label_file_too_large_to_look_at_is_told_once(views, monkeypatch):
    catalogs = views()
    assert not check_views(*catalogs).findings
    monkeypatch.setattr(image_rules, "LABEL_BYTES_MAX", 1000)
    found = check_views(*catalogs).findings
    assert {finding.rule for finding in found} == {"shifted-labels"}
    assert {finding.level for finding in found} == {"warning"}
    assert "a.buildings.gpkg has " in found[0].text
    assert len({finding.text for finding in found}) == len(found)


def test_shifted_labels_are_found_with_the_way_back(views, towns, tmp_path, moved, only):
    shifted = moved(towns["a"].buildings, tmp_path / "shifted.gpkg", -1.9, -1.2)
    train, val = views(train=[(towns["a"].image, shifted)])
    finding = only(check_views(train, val), "shifted-labels")
    assert finding.level == "warning"
    words = finding.text.replace(",", "").split()
    assert finding.text.startswith("labels of a.tif fit best ")
    east_m, north_m = float(words[words.index("east") - 2]), float(words[words.index("north") - 2])
    assert math.hypot(east_m - 1.9, north_m - 1.2) < 0.4


@pytest.mark.parametrize("down", [-1, 1])
@pytest.mark.parametrize("across", [-1, 1])
def test_a_shift_is_named_rightly_however_the_rows_run(across, down):
    rng = np.random.default_rng(0)
    grid = Grid(CRS(32637), Affine(0.4 * across, 0, 5e5, 0, 0.4 * down, 3e6), 400, 400)
    image = np.zeros((1, 400, 400), np.float32)
    boxes = []
    for row, column in rng.integers(20, 360, (30, 2)):
        height, width = rng.integers(10, 30, 2)
        image[0, row : row + height, column : column + width] = rng.uniform(50, 200)
        corners = [grid.transform @ p for p in ((column, row), (column + width, row + height))]
        boxes.append(shapely.MultiPoint(corners).envelope)
    right = np.array(boxes, object)
    wrong = shapely.transform(right, lambda xy: xy + np.array([2.0, -3.2]))
    valid = np.ones((400, 400), bool)
    shift = correlate(image, valid, grid, wrong, 0.4).best()
    assert shift.east_m == pytest.approx(-2.0, abs=0.15)
    assert shift.north_m == pytest.approx(3.2, abs=0.15)
    assert shift.certain
    assert str(shift) == "2.0 m west, 3.2 m north"
    assert not correlate(image, valid, grid, right, 0.4).best().certain


@pytest.mark.real_data
def test_shifts_are_found_on_real_labels_and_not_where_there_are_none(real_buildings):
    listed = {line.name for line in real(real_buildings, "banepa_tiles", "images/*.tif")}
    whole = (real_buildings / "banepa_tiles" / "split_train_labelled.txt").read_text().split()
    scenes = [
        *real(real_buildings, "zanzibar", "z19*.tif"),
        *real(real_buildings, "banepa", "*.tif"),
    ]
    scenes += [
        real_buildings / "banepa_tiles" / "images" / name for name in whole if name in listed
    ]
    rng = np.random.default_rng(0)
    found = []
    for path in scenes:
        folder = path.parent.parent if path.parent.name == "images" else path.parent
        labels = Labels.read(folder / "labels.geojson")
        with Scene(path) as scene:
            grid = scene.grid.at_gsd(0.4)
            image, valid = scene.read(shape_hw=grid.shape_hw)
        right = labels.polygons(grid)
        assert not correlate(image, valid, grid, right, 0.4).best().certain
        angle = rng.uniform(0, 2 * np.pi)
        east_m, north_m = 2.5 * np.cos(angle), 2.5 * np.sin(angle)
        height_m, width_m = grid.pixel_m
        off = (-east_m / width_m * grid.transform.a, north_m / height_m * grid.transform.e)
        wrong = shapely.transform(right, lambda xy, off=off: xy + off)
        shift = correlate(image, valid, grid, wrong, 0.4).best()
        if shift.certain:
            assert math.hypot(shift.east_m - east_m, shift.north_m - north_m) < 0.6
        found.append(shift.certain)
    assert np.mean(found) > 0.75
