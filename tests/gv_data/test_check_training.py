"""What a catalog says before training: each rule fires where it must, and only there."""

import pytest
import rasterio

from gv_data.catalog import Catalog
from gv_data.checks.check import Checked, check_catalog, check_training
from gv_data.intake.indexing import index
from gv_data.splitting.blocks import blocks
from gv_data.synthetic.files import save
from gv_data.synthetic.town import town

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


def check_views(train: Catalog, val: Catalog, *, gsd_m=0.3) -> Checked:
    """Check without hurry: test machines are slow."""
    return check_training(train, val, gsd_m=gsd_m, seconds=120)


def test_good_towns_pass_every_rule(views):
    train, val = views()
    checked = check_views(train, val)
    assert checked.findings == ()
    assert set(checked.passed) == RULES
    assert checked.images == 2


def test_a_part_without_labels_fails(views, towns, only):
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


def test_training_images_without_labels_are_counted(views, towns, tmp_path, only):
    other = save(town(7, size_px=256), tmp_path, nir=False)
    train, val = views(train=[towns["a"], (other.image, None)])
    finding = only(check_views(train, val), "unlabelled-images")
    assert finding.level == "warning"
    assert "1 of 2 training images hold no label" in finding.text
    assert "count as empty ground" in finding.text


def test_shared_ground_fails_with_its_area_and_the_pairs(views, towns, tmp_path, rewrite, only):
    twin = rewrite(towns["a"].image, tmp_path / "twin.tif")
    train, val = views(val=[(twin, towns["a"].buildings)])
    finding = only(check_views(train, val), "shared-ground")
    assert finding.level == "failure"
    area = float(finding.text.split(" m2")[0].replace(",", ""))
    assert area == pytest.approx((512 * 0.3) ** 2, rel=0.01)
    assert "val0/twin + train0/a" in finding.text


def test_half_of_the_ground_shared_in_another_crs_is_found(views, towns, tmp_path, rewrite):
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
def test_gsd_is_judged_on_the_ground(views, gsd_m, level, only):
    checked = check_views(*views(), gsd_m=gsd_m)
    if level is None:
        assert "gsd" in checked.passed
    else:
        finding = only(checked, "gsd")
        assert finding.level == level
        assert f"0.3 m a pixel on the ground, training is at {gsd_m:g} m" in finding.text
        assert "1 more" in finding.text


def test_validation_in_another_scale_is_found(views, towns, tmp_path, rewrite, only):
    image = rewrite(
        towns["b"].image, tmp_path / "b.tif", lambda pixels: (pixels / 255).astype("float32")
    )
    train, val = views(val=[(image, towns["b"].buildings)])
    finding = only(check_views(train, val), "values")
    assert "x 255 they would fit" in finding.text
    assert "red training" in finding.text


def test_a_band_with_one_value_everywhere_fails(views, towns, tmp_path, rewrite, only):
    def flat_blue(pixels):
        pixels[2] = 255
        return pixels

    image = rewrite(towns["a"].image, tmp_path / "a.tif", flat_blue)
    train, val = views(train=[(image, towns["a"].buildings)])
    finding = only(check_views(train, val), "values")
    assert finding.level == "failure"
    assert "band blue of the training images has one value everywhere" in finding.text


def test_other_bands_in_validation_fail(views, towns, tmp_path, rewrite, only):
    image = rewrite(
        towns["b"].image, tmp_path / "b.tif", lambda pixels: pixels[:1], photometric="minisblack"
    )
    train, val = views(val=[(image, towns["b"].buildings)])
    finding = only(check_views(train, val), "bands")
    assert finding.level == "failure"
    assert "training images have red, green, blue, validation images gray" in finding.text


def test_an_image_that_cannot_be_read_is_a_finding(views, towns, tmp_path, rewrite, only):
    image = rewrite(towns["b"].image, tmp_path / "b.tif")
    train, val = views(val=[(image, towns["b"].buildings)])
    image.write_bytes(image.read_bytes()[:40_000])
    findings = {finding.rule: finding for finding in check_views(train, val).findings}
    assert set(findings) == {"readable", "changed-images"}
    assert findings["readable"].level == "failure"
    assert "b.tif" in findings["readable"].text
    image.unlink()
    assert "is not there" in only(check_views(train, val), "readable").text


def test_labels_that_are_gone_are_a_finding(views, towns, tmp_path, moved, only):
    labels = moved(towns["b"].buildings, tmp_path / "b.gpkg", 0, 0)
    train, val = views(val=[(towns["b"].image, labels)])
    labels.unlink()
    assert "b.gpkg" in only(check_views(train, val), "readable").text


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


def test_time_bounds_the_images_that_are_looked_at(views, towns, tmp_path, rewrite):
    images = [rewrite(towns["a"].image, tmp_path / f"{n}.tif") for n in range(12)]
    train, val = views(train=[(image, towns["a"].buildings) for image in images])
    checked = check_training(train, val, gsd_m=0.3, seconds=0)
    assert checked.images == 1
    checked = check_training(train, val, gsd_m=0.3, seconds=120)
    assert checked.images == 13


@pytest.mark.real_data
def test_the_real_recipe_trains_without_a_failure(tmp_path, real_buildings):
    out = tmp_path / "c"
    for place, images in (("zanzibar", ""), ("banepa_tiles", "images"), ("banepa", "")):
        labels = real_buildings / place / "labels.geojson"
        index([real_buildings / place / images], out, labels=labels, place=place, append=True)
    catalog = Catalog.open(out)
    train = catalog.where("place IN ('zanzibar', 'banepa_tiles')")
    checked = check_training(train, catalog.where("place = 'banepa'"), gsd_m=0.15, seconds=30)
    assert {finding.level for finding in checked.findings} == {"warning"}
    assert {finding.rule for finding in checked.findings} <= {
        "unlabelled-images",  # the tiles to predict
        "nodata",  # four tiles at the edge of the mosaic are partly white
    }
    whole = check_catalog(catalog).checked.findings
    assert {(finding.level, finding.rule) for finding in whole} == {
        ("warning", "unlabelled-images"),
        ("warning", "nodata"),
        ("note", "crs"),
        ("note", "labels-outside"),  # one, just beside
        ("note", "duplicates"),  # nested zooms of two areas
    }
    zooms = next(finding for finding in whole if finding.rule == "duplicates")
    assert len(zooms.examples) == 4
    assert all(id.startswith("zanzibar/z") for id in " + ".join(zooms.examples).split(" + "))
