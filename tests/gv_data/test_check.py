import math
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import CRS

from gv_data import image_rules, vector
from gv_data.alignment import correlate
from gv_data.catalog import Catalog
from gv_data.check import Checked, check_scene, check_training
from gv_data.grid import Grid
from gv_data.indexing import index
from gv_data.labels import Labels
from gv_data.raster import Scene
from gv_data.splits import blocks
from gv_data.synthetic.files import save
from gv_data.synthetic.layers import keep
from gv_data.synthetic.town import town
from gv_data.values import Values

RULES = {
    "training-labels",
    "validation-labels",
    "unlabelled-images",
    "changed-images",
    "bands",
    "values",
    "gsd",
    "shared-ground",
    "readable",
    "nodata",
    "one-sided-labels",
    "shifted-labels",
}
BUILDINGS = Path(__file__).parents[3] / "shared" / "data" / "buildings"


@pytest.fixture(scope="module")
def towns(tmp_path_factory):
    """Two towns on other ground, red, green and blue."""
    folder = tmp_path_factory.mktemp("towns")
    return {
        name: save(town(seed, size_px=512), folder, nir=False, stem=name)
        for seed, name in ((3, "a"), (4, "b"))
    }


@pytest.fixture
def views(tmp_path, towns):
    """Training and validation views of some images and their labels."""

    def make(train=None, val=None, **settings) -> tuple[Catalog, Catalog]:
        parts = {"train": train or [towns["a"]], "val": val or [towns["b"]]}
        out = tmp_path / "catalog"
        for split, files in parts.items():
            for n, (image, labels, *_) in enumerate(map(pair, files)):
                index([image], out, labels=labels, place=f"{split}{n}", append=True, **settings)
        catalog = Catalog.open(out)
        return catalog.where("place LIKE 'train%'"), catalog.where("place LIKE 'val%'")

    return make


def pair(files) -> tuple[Path, Path | None]:
    return files if isinstance(files, tuple) else (files.image, files.buildings)


def rewrite(image: Path, out: Path, change=lambda pixels: pixels, **settings) -> Path:
    """A copy of an image with other pixels or another profile."""
    with rasterio.open(image) as file:
        pixels, profile = change(file.read()), file.profile
    profile |= {"dtype": pixels.dtype, "count": len(pixels)} | settings
    if pixels.dtype.kind == "f":
        profile["predictor"] = 1
    with rasterio.open(out, "w", **profile) as file:
        file.write(pixels)
    return out


def moved(labels: Path, out: Path, east_m: float, north_m: float) -> Path:
    frame = vector.read(labels)
    vector.write(frame.set_geometry(frame.translate(east_m, north_m)), out)
    return out


def check_views(train: Catalog, val: Catalog, *, gsd_m=0.3) -> Checked:
    """Check without hurry: test machines are slow."""
    return check_training(train, val, gsd_m=gsd_m, seconds=120)


def only(checked: Checked, rule: str):
    """The one finding of a rule, which must be the only finding."""
    assert [finding.rule for finding in checked.findings] == [rule]
    assert rule not in checked.passed
    return checked.findings[0]


def test_good_towns_pass_every_rule(views):
    train, val = views()
    checked = check_views(train, val)
    assert checked.findings == ()
    assert set(checked.passed) == RULES
    assert checked.images == 2


def test_a_part_without_labels_fails(views, towns):
    train, val = views(val=[(towns["b"].image, None)])
    finding = only(check_views(train, val), "validation-labels")
    assert finding.level == "failure"
    assert "the validation part has no labels: none on 1 image" in finding.text
    assert "--labels" in finding.hint
    finding = only(check_views(val, train), "training-labels")
    assert finding.level == "failure"


def test_an_empty_view_fails_and_does_not_raise(views):
    train, val = views()
    checked = check_views(train, val.where("false"))
    assert "validation-labels" in {f.rule for f in checked.findings if f.level == "failure"}


def test_training_images_without_labels_are_counted(views, towns, tmp_path):
    other = save(town(7, size_px=256), tmp_path, nir=False)
    train, val = views(train=[towns["a"], (other.image, None)])
    finding = only(check_views(train, val), "unlabelled-images")
    assert finding.level == "warning"
    assert "1 of 2 training images hold no label" in finding.text
    assert "count as empty ground" in finding.text


def test_shared_ground_fails_with_its_area_and_the_pairs(views, towns, tmp_path):
    twin = rewrite(towns["a"].image, tmp_path / "twin.tif")
    train, val = views(val=[(twin, towns["a"].buildings)])
    finding = only(check_views(train, val), "shared-ground")
    assert finding.level == "failure"
    area = float(finding.text.split(" m2")[0].replace(",", ""))
    assert area == pytest.approx((512 * 0.3) ** 2, rel=0.01)
    assert "val0/twin + train0/a" in finding.text


def test_half_of_the_ground_shared_in_another_crs_is_found(views, towns, tmp_path):
    with rasterio.open(towns["a"].image) as file:
        west, south, east, north = rasterio.warp.transform_bounds(
            file.crs, "EPSG:4326", *file.bounds
        )
    half = rasterio.transform.from_bounds(
        (west + east) / 2, south, east + (east - west) / 2, north, 512, 512
    )
    moved_image = rewrite(towns["b"].image, tmp_path / "c.tif", crs="EPSG:4326", transform=half)
    train, val = views(val=[(moved_image, towns["a"].buildings)])
    checked = check_views(train, val)
    finding = next(f for f in checked.findings if f.rule == "shared-ground")
    assert "(50%)" in finding.text


def test_blocks_of_one_image_share_no_ground(tmp_path, towns):
    files = towns["a"]
    out = tmp_path / "c"
    catalog = index([files.image], out, labels=files.buildings, parts=blocks).catalog
    train, val = catalog.where("split = 'train'"), catalog.where("split = 'val'")
    checked = check_views(train, val)
    assert checked.findings == ()
    assert checked.images == 1


@pytest.mark.parametrize(
    ("gsd_m", "level"),
    [(0.15, None), (1.0, None), (0.1, "warning"), (1.3, "warning"), (0.06, "failure")],
)
def test_gsd_is_judged_on_the_ground(views, gsd_m, level):
    checked = check_views(*views(), gsd_m=gsd_m)
    if level is None:
        assert "gsd" in checked.passed
    else:
        finding = only(checked, "gsd")
        assert finding.level == level
        assert f"0.3 m a pixel on the ground, training is at {gsd_m:g} m" in finding.text
        assert "1 more" in finding.text


def black_corner(pixels):
    rows, columns = np.indices(pixels.shape[1:])
    return np.where(rows + columns < 300, 0, np.maximum(pixels, 1)).astype(pixels.dtype)


@pytest.mark.parametrize("value", [0, 255, 7])
def test_void_without_nodata_is_found(views, towns, tmp_path, value):
    def corner(pixels):
        cut = black_corner(pixels)
        return np.where((cut == 0).all(axis=0), value, cut).astype("uint8")

    bad = rewrite(towns["a"].image, tmp_path / "a.tif", corner)
    train, val = views(train=[(bad, towns["a"].buildings)])
    finding = only(check_views(train, val), "nodata")
    assert finding.level == "warning"
    assert f"17% of a.tif is {value} in all bands, joined to its edges" in finding.text
    assert f"--nodata {value}" in finding.hint


def test_void_marked_as_nodata_is_fine(views, towns, tmp_path):
    good = rewrite(towns["a"].image, tmp_path / "a.tif", black_corner, nodata=0)
    train, val = views(train=[(good, towns["a"].buildings)])
    assert "nodata" in check_views(train, val).passed


def test_a_dark_pond_inside_is_no_void(views, towns, tmp_path):
    def pond(pixels):
        pixels[:, 20:90, 20:90] = 0  # inside one window, away from its edges
        return pixels

    image = rewrite(towns["a"].image, tmp_path / "a.tif", pond)
    train, val = views(train=[(image, towns["a"].buildings)])
    assert "nodata" in check_views(train, val).passed


@pytest.mark.parametrize("named", ["west", "east", "north", "south"])
def test_labels_on_one_side_only_are_found(views, towns, tmp_path, named):
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


def test_labels_on_one_side_are_fine_where_the_other_is_void(views, towns, tmp_path):
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


def test_shifted_labels_are_found_with_the_way_back(views, towns, tmp_path):
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


def test_validation_in_another_scale_is_found(views, towns, tmp_path):
    image = rewrite(
        towns["b"].image, tmp_path / "b.tif", lambda pixels: (pixels / 255).astype("float32")
    )
    train, val = views(val=[(image, towns["b"].buildings)])
    finding = only(check_views(train, val), "values")
    assert "x 255 they would fit" in finding.text
    assert "red training" in finding.text


def test_a_band_with_one_value_everywhere_fails(views, towns, tmp_path):
    def flat_blue(pixels):
        pixels[2] = 255
        return pixels

    image = rewrite(towns["a"].image, tmp_path / "a.tif", flat_blue)
    train, val = views(train=[(image, towns["a"].buildings)])
    finding = only(check_views(train, val), "values")
    assert finding.level == "failure"
    assert "band blue of the training images has one value everywhere" in finding.text


def test_other_bands_in_validation_fail(views, towns, tmp_path):
    image = rewrite(
        towns["b"].image, tmp_path / "b.tif", lambda pixels: pixels[:1], photometric="minisblack"
    )
    train, val = views(val=[(image, towns["b"].buildings)])
    finding = only(check_views(train, val), "bands")
    assert finding.level == "failure"
    assert "training images have red, green, blue, validation images gray" in finding.text


def test_an_image_that_cannot_be_read_is_a_finding(views, towns, tmp_path):
    image = rewrite(towns["b"].image, tmp_path / "b.tif")
    train, val = views(val=[(image, towns["b"].buildings)])
    image.write_bytes(image.read_bytes()[:40_000])
    findings = {finding.rule: finding for finding in check_views(train, val).findings}
    assert set(findings) == {"readable", "changed-images"}
    assert findings["readable"].level == "failure"
    assert "b.tif" in findings["readable"].text
    image.unlink()
    assert "is not there" in only(check_views(train, val), "readable").text


def test_labels_that_are_gone_are_a_finding(views, towns, tmp_path):
    labels = moved(towns["b"].buildings, tmp_path / "b.gpkg", 0, 0)
    train, val = views(val=[(towns["b"].image, labels)])
    labels.unlink()
    assert "b.gpkg" in only(check_views(train, val), "readable").text


def test_time_bounds_the_images_that_are_looked_at(views, towns, tmp_path):
    images = [rewrite(towns["a"].image, tmp_path / f"{n}.tif") for n in range(12)]
    train, val = views(train=[(image, towns["a"].buildings) for image in images])
    checked = check_training(train, val, gsd_m=0.3, seconds=0)
    assert checked.images == 1
    checked = check_training(train, val, gsd_m=0.3, seconds=120)
    assert checked.images == 13


# ---- scenes


def package_of(path: Path) -> dict:
    """What a model trained on an image would say of its values."""
    with Scene(path) as scene:
        image, valid = scene.read()
        values = Values.of(image[:, valid])
        return {
            "bands": scene.bands,
            "gsd_m": 0.3,
            "mean": values.mean,
            "std": values.std,
            "p01": values.low,
            "p99": values.high,
            "seconds": 120,
        }


def check(path: Path, package: dict, **settings) -> Checked:
    with Scene(path) as scene:
        return check_scene(scene, **(package | settings))


def test_a_scene_of_another_town_passes_every_rule(towns):
    checked = check(towns["b"].image, package_of(towns["a"].image))
    assert checked.findings == ()
    assert set(checked.passed) == {
        "georeference",
        "gsd",
        "bands",
        "readable",
        "values",
        "band-order",
        "nodata",
    }
    assert checked.images == 1


@pytest.mark.parametrize(
    ("change", "looks", "back"),
    [
        (lambda p: (p / 255).astype("float32"), "values in 0..1", 255),
        (lambda p: p.astype("uint16") * 257, "values in 0..255", 1 / 255),
    ],
)
def test_values_in_another_scale_fail_with_the_factor(towns, tmp_path, change, looks, back):
    scaled = rewrite(towns["b"].image, tmp_path / "b.tif", change)
    finding = only(check(scaled, package_of(towns["a"].image)), "values")
    assert finding.level == "failure"
    assert "red trained" in finding.text
    assert "here" in finding.text
    assert f"-a_scale {back:.4g}" in finding.hint
    if back > 1:
        assert looks in finding.text


def test_reflectance_times_ten_thousand_is_recognised(towns, tmp_path):
    def reflect(pixels):
        return (pixels / 800).astype("float32")

    trained = package_of(rewrite(towns["a"].image, tmp_path / "a.tif", reflect))
    numbers = rewrite(
        towns["b"].image, tmp_path / "b.tif", lambda p: (p / 800 * 10_000).astype("uint16")
    )
    finding = only(check(numbers, trained), "values")
    assert "look like reflectance x 10,000" in finding.text
    assert "-a_scale 0.0001" in finding.hint


def test_a_scale_written_in_the_file_is_applied(towns, tmp_path):
    trained = package_of(towns["a"].image)
    scaled = rewrite(towns["b"].image, tmp_path / "b.tif", lambda p: p.astype("uint16") * 100)
    with rasterio.open(scaled, "r+") as file:
        file.scales = (0.01,) * 3
    assert check(scaled, trained).findings == ()


def test_means_far_off_fail_without_a_factor(towns, tmp_path):
    far = rewrite(towns["b"].image, tmp_path / "b.tif", lambda p: p.astype("uint16") + 3000)
    finding = only(check(far, package_of(towns["a"].image)), "values")
    assert finding.level == "failure"
    assert "--no-check" in finding.hint


def coloured(pixels):
    """Vegetation as a satellite sees it: near infrared far brighter than red."""
    grey = pixels.mean(axis=0)
    return np.stack([grey * f for f in (0.3, 0.35, 0.2, 1.0)]).astype("uint8")


def test_another_band_order_is_found_with_both_orders(towns, tmp_path):
    settings = {"photometric": "minisblack"}
    trained = package_of(rewrite(towns["a"].image, tmp_path / "a.tif", coloured, **settings))
    swapped = rewrite(
        towns["b"].image, tmp_path / "b.tif", lambda p: coloured(p)[[3, 0, 1, 2]], **settings
    )
    trained["bands"] = ("red", "green", "blue", "nir")
    finding = only(check(swapped, trained), "band-order")
    assert finding.level == "failure"  # blue is over 5 standard deviations off
    assert "bands 1, 2, 3, 4 are taken as red, green, blue, nir" in finding.text
    assert "but bands 2, 3, 4, 1 look like them" in finding.text
    assert "-b 2 -b 3 -b 4 -b 1" in finding.hint
    slightly = rewrite(
        towns["b"].image, tmp_path / "c.tif", lambda p: coloured(p)[[2, 1, 0, 3]], **settings
    )
    assert only(check(slightly, trained), "band-order").level == "warning"


def test_bands_are_found_by_name_whatever_their_order(towns, tmp_path):
    named = rewrite(towns["b"].image, tmp_path / "b.tif", lambda p: p[::-1], photometric=None)
    with rasterio.open(named, "r+") as file:
        file.descriptions = ("blue", "green", "red")
    assert check(named, package_of(towns["a"].image)).findings == ()


def test_too_few_or_other_bands_fail(towns, tmp_path):
    trained = package_of(towns["a"].image)
    one = rewrite(towns["b"].image, tmp_path / "b.tif", lambda p: p[:1], photometric="minisblack")
    finding = only(check(one, trained), "bands")
    assert finding.level == "failure"
    assert "b.tif has 1 band (gray), the model wants 3 bands (red, green, blue)" in finding.text
    other = rewrite(towns["b"].image, tmp_path / "c.tif", photometric=None)
    with rasterio.open(other, "r+") as file:
        file.descriptions = ("nir", "red", "green")
    finding = only(check(other, trained), "bands")
    assert "3 bands (nir, red, green)" in finding.text


@pytest.mark.parametrize(
    ("gsd_m", "level"),
    [(0.15, None), (0.6, None), (0.1, "warning"), (0.06, "failure"), (1.3, "failure")],
)
def test_a_scene_at_another_gsd(towns, gsd_m, level):
    checked = check(towns["b"].image, package_of(towns["a"].image), gsd_m=gsd_m)
    if level is None:
        assert "gsd" in checked.passed
    else:
        finding = only(checked, "gsd")
        assert finding.level == level
        assert "0.3 m a pixel" in finding.text
        assert "metres on the ground" in finding.text


def test_void_in_a_scene_is_a_warning(towns, tmp_path):
    bad = rewrite(towns["b"].image, tmp_path / "b.tif", black_corner)
    assert only(check(bad, package_of(towns["a"].image)), "nodata").level == "warning"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_scene_without_place_fails_unless_that_is_wanted(towns, tmp_path):
    lost = rewrite(towns["b"].image, tmp_path / "b.tif", crs=None, transform=Affine.identity())
    trained = package_of(towns["a"].image)
    finding = only(check(lost, trained), "georeference")
    assert finding.level == "failure"
    assert "b.tif has no CRS or transform" in finding.text
    assert "--no-georeference" in finding.hint
    assert check(lost, trained, georeference=False).findings == ()


def test_a_scene_without_a_valid_pixel_passes_without_a_verdict_on_values(towns, tmp_path):
    empty = rewrite(towns["b"].image, tmp_path / "b.tif", np.zeros_like, nodata=0)
    checked = check(empty, package_of(towns["a"].image))
    assert checked.findings == ()
    assert "values" not in checked.passed


def test_a_scene_whose_pixels_are_broken_is_a_finding(towns, tmp_path):
    broken = rewrite(towns["b"].image, tmp_path / "b.tif")
    content = bytearray(broken.read_bytes())
    content[20_000:300_000] = bytes(280_000)
    broken.write_bytes(content)
    checked = check(broken, package_of(towns["a"].image))
    assert only(checked, "readable").level == "failure"


def test_a_large_scene_is_checked_in_time(towns, tmp_path):
    large = tmp_path / "large.tif"
    with rasterio.open(towns["b"].image) as file:
        tile, profile = file.read(), file.profile
    profile |= {"height": 8192, "width": 8192}
    with rasterio.open(large, "w", **profile) as file:
        for row in range(0, 8192, 512):
            window = rasterio.windows.Window(0, row, 8192, 512)
            file.write(np.tile(tile, (1, 1, 16)), window=window)
    started = time.monotonic()
    assert check(large, package_of(towns["a"].image), seconds=4).findings == ()
    assert time.monotonic() - started < 5


# ---- real scenes: what is right must not be called wrong


def real(place: str, pattern: str) -> list[Path]:
    if not BUILDINGS.is_dir():
        pytest.skip(f"{BUILDINGS} is not there")
    return sorted((BUILDINGS / place).glob(pattern))


@pytest.mark.real_data
def test_shifts_are_found_on_real_labels_and_not_where_there_are_none():
    listed = {line.name for line in real("banepa_tiles", "images/*.tif")}
    whole = (BUILDINGS / "banepa_tiles" / "split_train_labelled.txt").read_text().split()
    scenes = [*real("zanzibar", "z19*.tif"), *real("banepa", "*.tif")]
    scenes += [BUILDINGS / "banepa_tiles" / "images" / name for name in whole if name in listed]
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


@pytest.mark.real_data
def test_the_real_recipe_trains_without_a_failure(tmp_path):
    out = tmp_path / "c"
    for place, images in (("zanzibar", ""), ("banepa_tiles", "images"), ("banepa", "")):
        real(place, "*")
        labels = BUILDINGS / place / "labels.geojson"
        index([BUILDINGS / place / images], out, labels=labels, place=place, append=True)
    catalog = Catalog.open(out)
    train = catalog.where("place IN ('zanzibar', 'banepa_tiles')")
    checked = check_training(train, catalog.where("place = 'banepa'"), gsd_m=0.15, seconds=30)
    assert {finding.level for finding in checked.findings} == {"warning"}
    assert {finding.rule for finding in checked.findings} <= {
        "unlabelled-images",  # the tiles to predict
        "nodata",  # four tiles at the edge of the mosaic are partly white
    }


@pytest.mark.real_data
def test_real_scenes_of_other_places_look_ordinary():
    scenes = [*real("zanzibar", "*.tif"), *real("banepa", "*.tif")]
    tiles = real("banepa_tiles", "images/*.tif")
    for trained in (scenes[0], scenes[-1], tiles[1]):
        package = package_of(trained)
        for path in [*scenes, *tiles[::6]]:
            rules = {finding.rule for finding in check(path, package).findings}
            assert rules <= {"gsd", "nodata"}


def test_an_image_written_anew_after_indexing_is_told(views, towns, tmp_path):
    copy = save(town(3, size_px=256), tmp_path / "own", nir=False, stem="copy")
    train, val = views(train=[copy])
    assert "changed-images" in check_training(train, val, gsd_m=0.3).passed
    save(town(3, size_px=320), tmp_path / "own", nir=False, stem="copy")
    (finding,) = (
        finding
        for finding in check_training(train, val, gsd_m=0.3).findings
        if finding.rule == "changed-images"
    )
    assert finding.level == "warning"
    assert "1 of 2 images" in finding.text
    assert "copy.tif" in finding.text
