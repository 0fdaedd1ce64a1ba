"""What is said of a scene before a model maps it."""

import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from gv_data.checks.check import Checked, check_scene
from gv_data.checks.values import Values
from gv_data.rasters.raster import Scene


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


def coloured(pixels):
    """Vegetation as a satellite sees it: near infrared far brighter than red."""
    grey = pixels.mean(axis=0)
    return np.stack([grey * f for f in (0.3, 0.35, 0.2, 1.0)]).astype("uint8")


def real(folder: Path, place: str, pattern: str) -> list[Path]:
    return sorted((folder / place).glob(pattern))


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
def test_values_in_another_scale_fail_with_the_factor(
    towns, tmp_path, change, looks, back, rewrite, only
):
    scaled = rewrite(towns["b"].image, tmp_path / "b.tif", change)
    finding = only(check(scaled, package_of(towns["a"].image)), "values")
    assert finding.level == "failure"
    assert "red trained" in finding.text
    assert "here" in finding.text
    assert f"-a_scale {back:.4g}" in finding.hint
    if back > 1:
        assert looks in finding.text


def test_reflectance_times_ten_thousand_is_recognised(towns, tmp_path, rewrite, only):
    def reflect(pixels):
        return (pixels / 800).astype("float32")

    trained = package_of(rewrite(towns["a"].image, tmp_path / "a.tif", reflect))
    numbers = rewrite(
        towns["b"].image, tmp_path / "b.tif", lambda p: (p / 800 * 10_000).astype("uint16")
    )
    finding = only(check(numbers, trained), "values")
    assert "look like reflectance x 10,000" in finding.text
    assert "-a_scale 0.0001" in finding.hint


def test_a_scale_written_in_the_file_is_applied(towns, tmp_path, rewrite):
    trained = package_of(towns["a"].image)
    scaled = rewrite(towns["b"].image, tmp_path / "b.tif", lambda p: p.astype("uint16") * 100)
    with rasterio.open(scaled, "r+") as file:
        file.scales = (0.01,) * 3
    assert check(scaled, trained).findings == ()


def test_means_far_off_fail_without_a_factor(towns, tmp_path, rewrite, only):
    far = rewrite(towns["b"].image, tmp_path / "b.tif", lambda p: p.astype("uint16") + 3000)
    finding = only(check(far, package_of(towns["a"].image)), "values")
    assert finding.level == "failure"
    assert "--no-check" in finding.hint


def test_another_band_order_is_found_with_both_orders(towns, tmp_path, rewrite, only):
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


def test_bands_are_found_by_name_whatever_their_order(towns, tmp_path, rewrite):
    named = rewrite(towns["b"].image, tmp_path / "b.tif", lambda p: p[::-1], photometric=None)
    with rasterio.open(named, "r+") as file:
        file.descriptions = ("blue", "green", "red")
    assert check(named, package_of(towns["a"].image)).findings == ()


def test_too_few_or_other_bands_fail(towns, tmp_path, rewrite, only):
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
def test_a_scene_at_another_gsd(towns, gsd_m, level, only):
    checked = check(towns["b"].image, package_of(towns["a"].image), gsd_m=gsd_m)
    if level is None:
        assert "gsd" in checked.passed
    else:
        finding = only(checked, "gsd")
        assert finding.level == level
        assert "0.3 m a pixel" in finding.text
        assert "metres on the ground" in finding.text


def test_void_in_a_scene_is_a_warning(towns, tmp_path, rewrite, only, black_corner):
    bad = rewrite(towns["b"].image, tmp_path / "b.tif", black_corner)
    assert only(check(bad, package_of(towns["a"].image)), "nodata").level == "warning"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_scene_without_place_fails_unless_that_is_wanted(towns, tmp_path, rewrite, only):
    lost = rewrite(towns["b"].image, tmp_path / "b.tif", crs=None, transform=Affine.identity())
    trained = package_of(towns["a"].image)
    finding = only(check(lost, trained), "georeference")
    assert finding.level == "failure"
    assert "b.tif has no CRS or transform" in finding.text
    assert "--no-georeference" in finding.hint
    assert check(lost, trained, georeference=False).findings == ()


def test_a_scene_without_a_valid_pixel_passes_without_a_verdict_on_values(towns, tmp_path, rewrite):
    empty = rewrite(towns["b"].image, tmp_path / "b.tif", np.zeros_like, nodata=0)
    checked = check(empty, package_of(towns["a"].image))
    assert checked.findings == ()
    assert "values" not in checked.passed


def test_a_scene_whose_pixels_are_broken_is_a_finding(towns, tmp_path, rewrite, only):
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


@pytest.mark.real_data
def test_real_scenes_of_other_places_look_ordinary(real_buildings):
    scenes = [*real(real_buildings, "zanzibar", "*.tif"), *real(real_buildings, "banepa", "*.tif")]
    tiles = real(real_buildings, "banepa_tiles", "images/*.tif")
    for trained in (scenes[0], scenes[-1], tiles[1]):
        package = package_of(trained)
        for path in [*scenes, *tiles[::6]]:
            rules = {finding.rule for finding in check(path, package).findings}
            assert rules <= {"gsd", "nodata"}
