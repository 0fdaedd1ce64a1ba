"""Rules over a whole catalog: each fires on the defect it is for, and no other rule does.

Every catalog here is the good one, with one thing planted in it.
"""

import datetime as dt
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
from affine import Affine
from scipy import ndimage

from gv_data import index
from gv_data.catalog import Catalog
from gv_data.checks.check import CatalogChecked, check_catalog
from gv_data.findings import Finding
from gv_data.measure.catalog_statistics import measure_catalog
from gv_data.store import table_files

SIDE = 64
PIXEL_M = 0.5
COUNT = 6


def texture(seed: int, bands: int = 3) -> np.ndarray:
    """A photo of nothing: neighbours are alike, nothing repeats, no value is 0 or 255."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 30, (16, 16))
    smooth = ndimage.zoom(coarse, SIDE / 16, order=1, mode="nearest", grid_mode=True)
    values = 128 + np.asarray(smooth) + rng.normal(0, 8, (bands, SIDE, SIDE))
    return np.clip(values, 1, 254).astype(np.uint8)


def place(n: int, east_m: float = 0) -> Affine:
    """The ground of an image: they lie side by side."""
    west = 500_000 + 2 * SIDE * PIXEL_M * n + east_m
    return Affine(PIXEL_M, 0, west, 0, -PIXEL_M, 3_000_000)


@pytest.fixture
def files(tif) -> Callable[..., list[Path]]:
    """Writes images; those that are given take the place of good ones."""

    def write(others: dict[int, np.ndarray] | None = None, **settings) -> list[Path]:
        made = (others or {}).get
        return [
            tif(f"images/{n}.tif", found if (found := made(n)) is not None else texture(n),
                **{"transform": place(n)} | settings)
            for n in range(COUNT)
        ]  # fmt: skip

    return write


@pytest.fixture
def roofs(vectors) -> Path:
    """A polygon on each image."""
    lefts = [place(n).c for n in range(COUNT)]
    return vectors("roofs.gpkg", [shapely.box(x + 3, 2_999_980, x + 12, 2_999_990) for x in lefts])


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "c"


@pytest.fixture
def good(files, roofs, out) -> Catalog:
    return index(files(), out, labels=roofs, place="town").catalog


def columns(catalog: Catalog, **named: Mapping[str, object]) -> Catalog:
    """Columns of one's own, by id."""
    rows = table_files.Rows.read(catalog.path)
    ids = rows.columns["id"].to_pylist()
    for name, values in named.items():
        rows = rows.with_column(name, pa.array([values.get(id) for id in ids]))
    table_files.write_images(catalog.path, rows)
    return Catalog.open(catalog.path)


def only(catalog: Catalog, **settings) -> Finding:
    """The one finding of a check, whose rule has then not passed."""
    checked = check_catalog(catalog, **settings).checked
    assert len(checked.findings) == 1, checked.findings
    assert checked.findings[0].rule not in checked.passed
    return checked.findings[0]


def found(checked: CatalogChecked) -> set[tuple[str, str]]:
    return {(finding.level, finding.rule) for finding in checked.checked.findings}


def test_a_good_catalog_passes_every_rule(good):
    good = columns(good, split={f"town/{n}": "train" if n < 4 else "val" for n in range(COUNT)})
    done = check_catalog(good, read_data=True)
    assert done.checked.findings == ()
    assert set(done.checked.passed) == {
        "missing-files", "changed-images", "refused-images", "readable", "unmeasured-images",
        "damaged-images",
        "empty-images", "constant-bands", "values", "band-order", "bands", "types", "crs", "gsd",
        "place", "changed-labels", "rare-classes", "unlabelled-images", "labels-outside",
        "shared-ground", "duplicates", "leaks", "nodata", "one-sided-labels", "shifted-labels",
    }  # fmt: skip
    assert (done.files, done.checked.images, done.alike.compared) == (COUNT + 1, COUNT, COUNT)
    again = check_catalog(good).hashes
    assert done.hashes
    assert again
    assert (done.hashes.done, again.done, again.known) == (COUNT, 0, COUNT)


# ---- files


def test_images_that_are_gone_fail_and_the_rest_is_checked(good):
    (good.images[1].path).unlink()
    finding = only(good)
    assert (finding.level, finding.rule) == ("failure", "missing-files")
    assert finding.text == "1 of 6 images are gone (1.tif)"
    assert finding.examples == ("town/1",)
    assert "--where \"id IN ('town/1')\"" in finding.hint


def test_labels_that_are_gone_are_told_once(good, roofs):
    roofs.unlink()
    finding = only(good)
    assert finding.text == "labels of 6 of 6 images are gone (roofs.gpkg)"
    assert finding.examples == tuple(f"town/{n}" for n in range(COUNT))


def test_a_file_that_was_cut_is_changed_and_fails(good):
    file = good.images[2].path
    with rasterio.open(file, "r+") as opened:  # without compression the cut hits its pixels
        assert opened.compression is None
    file.write_bytes(file.read_bytes()[:-2000])
    done = check_catalog(good)
    assert found(done) == {("failure", "readable"), ("warning", "changed-images")}
    assert "2.tif is cut: it ends at" in done.checked.findings[0].text


def test_a_file_of_the_same_size_that_was_written_since_is_told(good):
    file = good.images[0].path
    os.utime(file, (1e9, 1e9))
    finding = only(good)
    assert (finding.level, finding.rule) == ("warning", "changed-images")
    assert "were written since they were indexed, or copied without their times" in finding.text
    assert "--update" in finding.hint
    assert finding.examples == (str(file),)


def damage(file: Path) -> None:
    """Overwrite the middle of a file, as a disk does: its size and time stay."""
    seen, content = file.stat(), bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    file.write_bytes(content)
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))


@pytest.mark.parametrize("compress", ["none", "deflate", "lzw"])
def test_damage_inside_images_is_found_by_reading_all(files, out, compress):
    catalog = index(files(compress=compress), out).catalog
    check_catalog(catalog)
    damage(catalog.images[3].path)
    assert ("failure", "damaged-images") not in found(check_catalog(catalog))
    finding = only(catalog, read_data=True)
    assert finding.level == "failure"
    if compress == "lzw":  # whose decoder notices
        assert (finding.rule, "3.tif cannot be decoded" in finding.text) == ("readable", True)
    else:
        assert (finding.rule, finding.examples) == ("damaged-images", ("3",))
        assert "hold other values than were measured" in finding.text


def test_damage_inside_masks_and_pairs_is_found_by_reading_all(tif, files, out, tmp_path):
    for n in range(COUNT):
        tif(f"sar/{n}.tif", texture(50 + n, 1), transform=place(n), compress="lzw")
        tif(f"masks/{n}.tif", texture(70 + n, 1) // 128, transform=place(n))
    catalog = index(
        files(), out, masks=tmp_path / "masks", classes=("a", "b"), pairs={"sar": tmp_path / "sar"}
    ).catalog
    damage(tmp_path / "sar" / "1.tif")
    damage(tmp_path / "masks" / "2.tif")
    assert check_catalog(catalog).checked.findings == ()
    done = check_catalog(catalog, read_data=True)
    assert found(done) == {("failure", "damaged-images"), ("failure", "readable")}
    masks, pairs = done.checked.findings
    assert masks.text.endswith("the classes of 2.tif")
    assert "1.tif cannot be decoded" in pairs.text


def test_files_that_index_refused_are_not_forgotten(files, out, tmp_path):
    files()
    (tmp_path / "images" / "9.tif").write_bytes(b"no image at all")
    catalog = index([tmp_path / "images"], out).catalog
    finding = only(catalog)
    assert (finding.level, finding.rule, finding.examples) == ("warning", "refused-images", ("9",))
    assert check_catalog(catalog.where("true")).checked.findings == ()  # a view knows no errors


# ---- values


def test_images_that_are_not_measured_are_counted(files, roofs, out):
    catalog = index(files(), out, labels=roofs, measured=False).catalog
    images, labels = check_catalog(catalog).checked.findings
    assert images.text.startswith("6 images are not measured (0, 1, 2 and 3 more)")
    assert labels.text.startswith("the labels of 6 images are not counted")
    assert {f.hint for f in (images, labels)} == {f"gv-data measure {out}"}
    measure_catalog(catalog)
    assert check_catalog(catalog).checked.findings == ()


def test_an_image_in_another_scale_fails_with_the_factor(files, out):
    small = {2: (texture(2) / 255).astype(np.float32)}
    catalog = index(files(small), out, bands=("red", "green", "blue")).catalog
    failure, note = check_catalog(catalog).checked.findings
    assert (failure.level, failure.rule, failure.examples) == ("failure", "values", ("2",))
    assert "1 image of 6 have values of another scale than most: 2: red most " in failure.text
    assert "stored as float32, most as uint8; x 255 they would fit" in failure.text
    assert failure.hint.endswith("--scale 255")
    assert (note.level, note.rule) == ("note", "types")


def test_values_far_from_most_are_told_where_bands_have_names(files, out):
    bright = {2: texture(2).astype(np.uint16) * 90}
    catalog = index(files(bright), out, bands=("red", "green", "blue")).catalog
    assert found(check_catalog(catalog)) == {("warning", "values"), ("note", "types")}
    shutil.rmtree(out)
    catalog = index(files(bright), out, bands=("b1", "b2", "b3")).catalog  # may be anything
    assert found(check_catalog(catalog)) == {("note", "types")}


def test_bands_without_names_are_compared_within_one_call_to_index_only(tif, files, out):
    radar = [
        tif(f"radar/{n}.tif", (texture(n + 60, 1) / 20 - 15).astype(np.float32)) for n in range(3)
    ]
    index(files({n: texture(n, 1) for n in range(COUNT)}), out)
    catalog = index(radar, out, place="radar", append=True).catalog
    assert check_catalog(catalog).checked.findings == ()


def leafy(n: int) -> np.ndarray:
    """Red, green, blue and a near infrared that is far brighter."""
    grey = texture(n, 1)[0].astype(float)
    return np.stack([grey * f for f in (0.3, 0.35, 0.2, 1.0)]).astype(np.uint8)


def test_a_place_with_its_bands_in_another_order_is_told(files, tif, out):
    names = ("red", "green", "blue", "nir")
    right = files({n: leafy(n) for n in range(COUNT)}, photometric="minisblack")
    index(right, out, bands=names, place="a")
    swapped = [
        tif(f"b/{n}.tif", leafy(n + 30)[[3, 0, 1, 2]], photometric="minisblack") for n in range(2)
    ]
    catalog = index(swapped, out, bands=names, place="b", append=True).catalog
    finding = only(catalog)
    assert (finding.level, finding.rule) == ("warning", "band-order")
    assert "red, green, blue, nir look like nir, red, green, blue" in finding.text
    assert "--bands nir,red,green,blue" in finding.hint
    assert finding.examples == ("b/0", "b/1")


def test_a_band_that_says_nothing_in_any_image_fails(files, out):
    values = {n: np.concatenate([texture(n), np.full((1, SIDE, SIDE), 255, np.uint8)])
              for n in range(COUNT)}  # fmt: skip
    catalog = index(files(values, photometric="rgb", alpha="unspecified"), out).catalog
    finding = only(catalog)
    assert (finding.level, finding.rule) == ("failure", "constant-bands")
    assert "one value everywhere in all 6 images: an alpha" in finding.text


def test_a_band_that_was_not_recorded_is_told(files, out):
    values = texture(4)
    values[2] = 7
    finding = only(index(files({4: values}), out).catalog)
    assert (finding.level, finding.rule, finding.examples) == ("warning", "constant-bands", ("4",))
    assert "band blue of 1 of 6 images has one value everywhere" in finding.text


def test_images_that_hold_nothing_are_told(files, out):
    nothing = {1: np.full((3, SIDE, SIDE), 9, np.uint8), 2: np.zeros((3, SIDE, SIDE), np.uint8)}
    catalog = index(files(nothing, nodata=0), out, measured=False).catalog
    measure_catalog(catalog)
    done = check_catalog(catalog)
    empty = next(f for f in done.checked.findings if f.rule == "empty-images")
    assert (empty.level, empty.examples) == ("warning", ("1", "2"))
    assert done.alike.plain == 2


# ---- kinds


def test_bands_that_differ_within_one_call_to_index_are_a_warning(files, out):
    finding = only(index(files({5: texture(5, 1)}, photometric=None), out).catalog)
    assert (finding.level, finding.rule, finding.examples) == ("warning", "bands", ("5",))
    assert "2 sets of bands, which are not read together" in finding.text
    assert "(5, such as 0)" in finding.text
    assert """--where "bands = ['""" in finding.hint


def test_bands_that_differ_between_sensors_are_a_note(files, tif, out):
    index(files(), out)
    radar = [tif(f"r/{n}.tif", texture(40 + n, 1), transform=place(n)) for n in range(2)]
    catalog = index(radar, out, place="r", append=True).catalog
    assert found(check_catalog(catalog)) == {("note", "bands")}


def test_the_same_bands_in_two_orders_are_a_warning(files, tif, out):
    index(files(), out, bands=("red", "green", "blue"))
    other = [tif("b/0.tif", texture(40), transform=place(20))]
    catalog = index(other, out, bands=("blue", "green", "red"), place="b", append=True).catalog
    finding = only(catalog)
    assert (finding.level, finding.rule, finding.examples) == ("warning", "bands", ("b/0",))
    assert (
        "the same bands in 2 orders: red+green+blue (6, such as 0), blue+green+red" in finding.text
    )


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_images_that_lie_nowhere_beside_others_are_told(files, tif, out):
    lost = tif("lost.tif", texture(40), crs=None)
    catalog = index([*files(), lost], out, georeference=False).catalog
    finding = only(catalog)
    assert (finding.level, finding.rule, finding.examples) == ("warning", "crs", ("lost",))
    assert "1 of 7 images lie nowhere" in finding.text


def test_several_systems_are_a_note(files, tif, out):
    index(files(), out)
    other = tif("b.tif", texture(40), crs="EPSG:32636", transform=place(0))
    catalog = index([other], out, append=True).catalog
    finding = only(catalog)
    assert (finding.level, finding.rule, finding.hint) == ("note", "crs", "")
    assert "EPSG:32637 (6), EPSG:32636 (1)" in finding.text


@pytest.mark.parametrize(("times", "told"), [(3.9, False), (4.1, True), (1 / 4.1, True)])
def test_pixels_of_another_size_are_told_beyond_four_times(files, tif, out, times, told):
    index(files(), out)
    size = Affine(PIXEL_M * times, 0, 600_000, 0, -PIXEL_M * times, 3_000_000)
    other = tif("coarse.tif", texture(40), transform=size)
    catalog = index([other], out, append=True).catalog
    if not told:
        assert check_catalog(catalog).checked.findings == ()
        return
    finding = only(catalog)
    assert (finding.level, finding.rule, finding.examples) == ("warning", "gsd", ("coarse",))
    assert "most 0.5 m on the ground" in finding.text


def test_dates_that_only_some_lack_are_told_and_none_at_all_are_not(good):
    day = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
    dated = {f"town/{n}": day for n in range(COUNT - 1)}
    finding = only(columns(good, start=dated, end=dated))
    assert (finding.level, finding.rule, finding.examples) == ("warning", "dates", ("town/5",))
    everyone = dated | {"town/5": day}
    assert check_catalog(columns(good, start=everyone, end=everyone)).checked.findings == ()
    late = everyone | {"town/0": day + dt.timedelta(days=1)}
    finding = only(columns(good, start=late, end=everyone))
    assert (finding.level, finding.text) == ("failure", "1 image end before they begin (town/0)")


@pytest.mark.parametrize(("east_m", "told"), [(9_000, False), (200_000, True)])
def test_an_image_far_from_its_place_is_told(files, tif, out, east_m, told):
    stray = tif("stray.tif", texture(40), transform=place(0, east_m))
    catalog = index([*files(), stray], out, place="town").catalog
    if told:
        finding = only(catalog)
        assert (finding.level, finding.rule, finding.examples) == (
            "warning",
            "place",
            ("town/stray",),
        )
        assert "200 km from the middle of the others" in finding.text
    else:
        assert check_catalog(catalog).checked.findings == ()


def test_a_place_across_the_antimeridian_holds_together(tif, out):
    sides = [Affine(1e-5, 0, lon, 0, -1e-5, 5) for lon in (179.9985, 179.9992, -179.999, -179.998)]
    files = [
        tif(f"images/{n}.tif", texture(n), crs="EPSG:4326", transform=side)
        for n, side in enumerate(sides)
    ]
    catalog = index(files, out, place="island").catalog
    assert check_catalog(catalog).checked.findings == ()


# ---- labels


def test_images_without_labels_are_told_where_others_have_some(files, vectors, out):
    left = place(0).c
    one = vectors("one.gpkg", [shapely.box(left + 3, 2_999_980, left + 12, 2_999_990)])
    finding = only(index(files(), out, labels=one).catalog)
    assert (finding.level, finding.rule) == ("warning", "unlabelled-images")
    assert "5 of 6 images hold no label" in finding.text
    assert finding.examples == ("1", "2", "3", "4", "5")


def test_labels_outside_all_images_are_a_note(files, vectors, out):
    lefts = [*(place(n).c for n in range(COUNT)), 400_000]
    far = vectors("far.gpkg", [shapely.box(x + 3, 2_999_980, x + 12, 2_999_990) for x in lefts])
    catalog = index(files(), out, labels=far).catalog
    finding = only(catalog)
    assert (finding.level, finding.rule) == ("note", "labels-outside")
    assert finding.text == "1 of 7 labels of far.gpkg lie on no image"
    # images outside the view have labels too
    assert check_catalog(catalog.where("id = '0'")).checked.findings[0].text == finding.text


def test_labels_that_were_written_anew_are_told(good, roofs):
    os.utime(roofs, (1e9, 1e9))
    finding = only(good)
    assert (finding.level, finding.rule) == ("warning", "changed-labels")
    assert "labels of 6 of 6 images" in finding.text
    measure_catalog(good)
    assert check_catalog(good).checked.findings == ()


@pytest.fixture
def masked(files, tif, out, tmp_path) -> Callable[..., Catalog]:
    """A catalog with masks, half 0 and half 1; the last of them holds a further value."""

    def make(value: int, pixels: int, **settings) -> Catalog:
        for n in range(COUNT):
            mask = np.zeros((1, SIDE, SIDE), np.uint8)
            mask[0, SIDE // 2 :] = 1
            mask[0, 0, :pixels] = value if n == COUNT - 1 else 0
            tif(f"masks/{n}.tif", mask, transform=place(n))
        return index(files(), out, masks=tmp_path / "masks", **settings).catalog

    return make


def test_classes_without_names_are_a_note(masked):
    finding = only(masked(2, 60))
    assert (finding.level, finding.rule) == ("note", "class-names")
    assert "masks hold the 3 classes 0, 1, 2, which have no names" in finding.text


def test_values_of_masks_that_no_class_names_are_told(masked):
    finding = only(masked(9, 60, classes=("ground", "roof")))
    assert (finding.level, finding.rule, finding.examples) == ("warning", "mask-values", ("5.tif",))
    assert "masks hold 9, which no class names" in finding.text
    assert "--ignore 9" in finding.hint


def test_values_that_are_ignored_are_fine(masked):
    catalog = masked(9, 60, classes=("ground", "roof"), ignore=(9,))
    assert check_catalog(catalog).checked.findings == ()


@pytest.mark.parametrize(("pixels", "told"), [(20, True), (30, False)])
def test_classes_of_less_than_a_thousandth_are_told(masked, pixels, told):
    catalog = masked(2, pixels, classes=("ground", "roof", "pool"))
    if not told:  # 30 of 24,576
        assert check_catalog(catalog).checked.findings == ()
        return
    finding = only(catalog)
    assert (finding.level, finding.rule, finding.examples) == ("warning", "rare-classes", ("pool",))
    assert "of pool (0.00081, on 1 image)" in finding.text


def test_classes_that_never_occur_are_told(masked):
    finding = only(masked(0, 0, classes=("ground", "roof", "pol")))
    assert (finding.level, finding.rule, finding.examples) == ("warning", "rare-classes", ("pol",))
    assert "never occur" in finding.text


# ---- parts


def test_ground_shared_by_parts_fails(good):
    twice = {f"town/{n}": "train" if n else "val" for n in range(COUNT)}
    assert check_catalog(columns(good, split=twice)).checked.findings == ()
    index([good.images[1].path], good.path, place="again", append=True)
    catalog = columns(Catalog.open(good.path), split=twice | {"again/1": "val"})
    done = check_catalog(catalog.where("id <> 'town/5'"))
    assert found(done) == {
        ("failure", "shared-ground"),
        ("failure", "leaks"),
        ("warning", "unlabelled-images"),
    }
    shared = next(f for f in done.checked.findings if f.rule == "shared-ground")
    assert shared.examples == ("town/1 + again/1",) or shared.examples == ("again/1 + town/1",)


def test_a_copy_on_other_ground_is_a_duplicate_and_across_parts_a_leak(files, out):
    copy = np.clip(texture(1).astype(int) + 20, 1, 254).astype(np.uint8)
    catalog = index(files({4: copy}), out).catalog
    finding = only(catalog)
    assert (finding.level, finding.rule, finding.examples) == ("warning", "duplicates", ("1 + 4",))
    catalog = columns(catalog, part={str(n): "ab"[n > 3] for n in range(COUNT)})
    finding = only(catalog, column="part")
    assert (finding.level, finding.rule, finding.examples) == ("failure", "leaks", ("1 + 4",))
    assert "2 images of a and b look like images of the other part" in finding.text


def test_zooms_of_one_ground_are_a_note(files, tif, out):
    coarse = texture(0).reshape(3, SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4)).astype(np.uint8)
    zoom = tif("zoom.tif", coarse, transform=place(0) @ Affine.scale(2))
    finding = only(index([*files(), zoom], out).catalog)
    assert (finding.level, finding.rule, finding.examples) == ("note", "duplicates", ("0 + zoom",))


def test_a_mirrored_copy_is_found_when_asked_for(files, out):
    catalog = index(files({4: texture(1)[:, :, ::-1]}), out).catalog
    assert check_catalog(catalog).checked.findings == ()
    assert only(catalog, turns=True).examples == ("1 + 4",)


def test_a_catalog_that_cannot_be_written_to_is_checked_too(good, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    done = check_catalog(good)
    assert (done.hashes, done.checked.findings, done.alike.compared) == (None, (), 0)
    assert not (good.path / "hashes.parquet").exists()


def test_an_empty_view_finds_nothing(good):
    done = check_catalog(good.where("false"))
    assert (done.checked.findings, done.checked.images, done.files) == ((), 0, 0)
