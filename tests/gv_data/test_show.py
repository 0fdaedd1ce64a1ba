"""Pictures of a catalog: what is on them, and where."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.intake.indexing import index
from gv_data.pictures import sheet, thumbnails
from gv_data.pictures.areas import areas_of
from gv_data.pictures.contact_sheet import contact_sheet, evenly
from gv_data.pictures.footprint_map import footprint_map
from gv_data.pictures.thumbnails import LabelFiles, size_px, thumbnail

WEST, NORTH = 500_000, 3_000_000
CORNERS = np.zeros((3, 100, 100), np.uint8)
CORNERS[0, :50, :50], CORNERS[1, :50, 50:], CORNERS[2, 50:, :50] = 250, 250, 250
CORNERS[:, 50:, 50:] = 250
HOUSE = shapely.box(WEST + 10, NORTH - 20, WEST + 30, NORTH - 10)  # columns 20-60, rows 20-40
RED, GREEN, BLUE, WHITE = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)
SIDE, LEFT, TOP = 1584, 24, 100
"""A sheet of one image: its side and its corner."""


def picture(path):
    return imread(path)[..., :3]


def near(pixels, colour, tolerance=0.05):
    return np.abs(pixels - to_rgb(colour)).max(axis=-1) < tolerance


def extent(mask):
    """First and last row, first and last column."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return rows[0], rows[-1], columns[0], columns[-1]


@pytest.fixture
def catalog(tif, tmp_path):
    """Indexes images by place: ``catalog(town=[values, ...])``."""

    def make(labels=None, transform=None, crs="EPSG:32637", **places):
        for place, images in places.items():
            files = []
            for n, values in enumerate(images):
                shift = Affine.translation(WEST + 100 * n, NORTH) @ Affine.scale(0.5, -0.5)
                files.append(tif(f"{place}/{n}.tif", values, transform=transform or shift, crs=crs))
            index(files, tmp_path / "c", labels=labels, place=place, append=True,
                  georeference=crs is not None)  # fmt: skip
        return Catalog.open(tmp_path / "c")

    return make


@given(st.lists(st.sampled_from("abcd"), max_size=60), st.integers(1, 70))
def test_images_are_chosen_evenly_over_their_groups(groups, count):
    positions = evenly(groups, count)
    assert positions == sorted(set(positions))
    assert len(positions) == min(count, len(groups))
    taken, there = Counter(groups[n] for n in positions), Counter(groups)
    if count >= len(there):
        fewest = min((taken[g] for g in there if taken[g] < there[g]), default=max(count, 60))
        assert all(taken[group] <= fewest + 1 for group in there)
    else:
        assert max(taken.values()) == 1


def test_an_image_is_shown_in_its_colours_with_its_labels_around_what_they_mean(
    catalog, vectors, tmp_path
):
    view = catalog(vectors("roofs.gpkg", [HOUSE]), town=[CORNERS])
    (tile,) = contact_sheet(view, tmp_path / "a.png")
    seen = picture(tmp_path / "a.png")[TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    for (row, column), colour in zip(
        [(100, 100), (100, 1500), (1500, 100), (1500, 1500)], [RED, GREEN, BLUE, WHITE], strict=True
    ):
        assert near(seen[row, column], colour)
    expected = np.array([20, 40, 20, 60]) * SIDE / 100
    assert np.abs(extent(near(seen, sheet.YELLOW)) - expected).max() <= 3
    assert tile.problem is None


def test_bands_are_found_by_their_names(catalog, tif, tmp_path):
    view = catalog(town=[CORNERS[::-1]])
    swapped = replace(view.images[0], bands=("blue", "green", "red"))
    source = replace(swapped.source, bands=("blue", "green", "red"))
    shown = thumbnail(replace(swapped, source=source), 100, LabelFiles())
    assert shown.bands == ("red", "green", "blue")
    np.testing.assert_array_equal(shown.values, CORNERS)


def test_a_raster_whose_rows_run_north_is_shown_north_up(catalog, tmp_path):
    upwards = Affine(0.5, 0, WEST, 0, 0.5, NORTH - 50)
    view = catalog(town=[CORNERS[:, ::-1]], transform=upwards)
    contact_sheet(view, tmp_path / "a.png")
    assert near(picture(tmp_path / "a.png")[TOP + 100, LEFT + 100], RED)


def test_pixels_of_degrees_are_as_wide_as_the_ground(catalog):
    at_60_north = Affine(1e-5, 0, 25, 0, -1e-5, 60)
    (image,) = catalog(town=[CORNERS], transform=at_60_north, crs="EPSG:4326").images
    width, height = size_px(image, 1000)
    assert height == 1000
    assert width == pytest.approx(1000 * np.cos(np.radians(60)), rel=0.01)  # the Earth is no sphere


def test_classes_of_a_mask_are_outlined_where_they_are(catalog, tif, monkeypatch):
    classes = np.zeros((1, 100, 100), np.uint8)
    classes[0, 20:40, 20:60], classes[0, 60:80, 10:30], classes[0, :, 90:] = 1, 2, 255
    (image,) = catalog(town=[CORNERS]).images
    mask = tif("masks/0.tif", classes)
    source = replace(image.source, classes=("ground", "roof", "road"))
    monkeypatch.setattr("gv_data.pictures.thumbnails._STRIP_PX", 1000)
    shown = thumbnail(replace(image, mask=mask, source=source), 50, LabelFiles())
    bounds = {
        name: [*np.concatenate(rings).min(axis=0), *np.concatenate(rings).max(axis=0)]
        for name, rings in shown.outlines.items()
    }
    assert bounds == {"roof": [20, 20, 60, 40], "road": [10, 60, 30, 80]}


def test_what_cannot_be_read_is_a_grey_tile_and_the_rest_is_shown(command, catalog, tmp_path):
    view = catalog(town=[CORNERS, CORNERS], village=[CORNERS, CORNERS])
    (tmp_path / "town" / "0.tif").unlink()
    broken = tmp_path / "village" / "1.tif"
    broken.write_bytes(broken.read_bytes()[:-9000])
    code, told, _ = command("show", view.path, "--out", tmp_path / "a.png")
    assert code == 3
    assert "4 of 4 images" in told
    assert "refused    2 files could not be shown:" in told
    assert "0.tif is not there" in told
    assert "1.tif is cut" in told
    seen, half = picture(tmp_path / "a.png"), 800
    assert near(seen[TOP + 50, LEFT + 50], (0.85,) * 3)
    assert near(seen[TOP + 50, LEFT + half + 50], RED)


def test_of_a_large_file_without_overviews_the_middle_is_shown(catalog, vectors, monkeypatch):
    monkeypatch.setattr(thumbnails, "WHOLE_PX", 5000)
    monkeypatch.setattr(thumbnails, "_MIDDLE_PX", 40)
    (image,) = catalog(vectors("roofs.gpkg", [HOUSE]), town=[CORNERS]).images
    shown = thumbnail(image, 100, LabelFiles())
    assert shown.middle_only
    assert shown.image.grid == image.grid.part(30, 30, 40, 40)
    np.testing.assert_array_equal(shown.values, CORNERS[:, 30:70, 30:70])
    (ring,) = shown.outlines[""]
    assert [*ring.min(axis=0), *ring.max(axis=0)] == pytest.approx([-10, -10, 30, 10])


def test_labels_that_are_gone_leave_the_image(catalog, vectors, tmp_path):
    labels = vectors("roofs.gpkg", [HOUSE])
    view = catalog(labels, town=[CORNERS])
    labels.unlink()
    (tile,) = contact_sheet(view, tmp_path / "a.png")
    assert "roofs.gpkg does not exist" in str(tile.problem)
    assert near(picture(tmp_path / "a.png")[TOP + 100, LEFT + 100], RED)


def test_only_what_is_shown_is_read(command, catalog, tmp_path):
    view = catalog(town=[CORNERS] * 6, village=[CORNERS])
    for name in ("town/0", "town/2", "town/3", "town/5"):
        (tmp_path / f"{name}.tif").unlink()
    code, told, _ = command("show", view.path, "--count", "3", "--out", tmp_path / "a.png")
    assert (code, "3 of 7 images" in told) == (0, True)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # while writing
def test_images_without_place_are_shown_and_cannot_be_mapped(command, catalog, tmp_path):
    view = catalog(town=[CORNERS[:1]], crs=None)
    code, told, _ = command("show", view.path, "--out", tmp_path / "a.png", "--json")
    assert (code, json.loads(told)["picture"]) == (0, str(tmp_path / "a.png"))
    code, _, narrated = command("show", view.path, "--out", tmp_path / "b.png", "--map")
    assert (code, "none of the 1 images" in narrated) == (2, True)
    assert not (tmp_path / "b.png").exists()


def test_the_map_is_true_to_scale_and_its_bar_too(catalog, tmp_path):
    half = CORNERS[:, :50]  # 50 m from west to east, 25 m from north to south
    north = Affine(0.5, 0, WEST, 0, -0.5, 6_650_000)
    footprint_map(catalog(town=[half], transform=north), tmp_path / "a.png")
    seen = picture(tmp_path / "a.png")
    top, bottom, left, right = extent(near(seen[200:, 130:], sheet.BLUE))
    assert (right - left) / (bottom - top) == pytest.approx(2, rel=0.01)
    rows = near(seen[:200, 800:], sheet.INK).astype(int)
    ends = [np.flatnonzero(np.diff(row, prepend=0, append=0)) for row in rows]
    length_m = max(np.diff(row)[::2].max(initial=0) for row in ends) / (right - left) * 50
    assert length_m == pytest.approx(sheet.round_below(length_m * 1.01), rel=0.01)


def test_footprints_are_coloured_by_split_where_there_is_one(catalog, tmp_path, monkeypatch):
    view = catalog(town=[CORNERS], village=[CORNERS])
    footprint_map(view, tmp_path / "places.png")
    sql = Catalog.sql

    def with_splits(self, query):
        return sql(self, query.replace("split", "if(place = 'town', 'train', 'test') AS split"))

    monkeypatch.setattr(Catalog, "sql", with_splits)
    footprint_map(view, tmp_path / "splits.png")
    for name, second in (("places", sheet.ORANGE), ("splits", sheet.VERMILION)):
        legend = picture(tmp_path / f"{name}.png")[:110]
        assert near(legend, sheet.BLUE).any()
        assert near(legend, second).any()


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-170, 170), st.floats(-80, 80)), min_size=1, max_size=40))
def test_every_footprint_lies_in_one_area(corners):
    corners = np.array(corners)
    areas = areas_of(np.concatenate([corners, corners + 0.01], axis=1))
    assert sorted(np.concatenate(areas).tolist()) == list(range(len(corners)))


def test_towns_far_apart_are_areas_of_their_own_and_one_town_is_not_divided():
    west, south = np.meshgrid(np.arange(8) * 0.01, np.arange(8) * 0.01)
    town = np.stack([west, south, west + 0.01, south + 0.01], axis=-1).reshape(-1, 4)
    far = town[:40] + np.array([60, 20, 60, 20])
    assert [len(area) for area in areas_of(town)] == [64]
    assert [area.tolist() for area in areas_of(np.concatenate([far, town]))] == [
        list(range(40, 104)),
        list(range(40)),
    ]


def test_each_of_some_areas_has_a_map_and_strewn_images_have_one_for_all(catalog, tmp_path):
    heights = {}
    for n in range(7):
        north = Affine.translation(WEST, NORTH + 300_000 * n) @ Affine.scale(0.5, -0.5)
        view = catalog(**{f"a place with a very long name {n}": [CORNERS[:1]]}, transform=north)
        if n in (0, 1, 2, 6):
            assert footprint_map(view, tmp_path / "a.png") == n + 1
            heights[n] = len(picture(tmp_path / "a.png"))
    assert heights[2] > heights[1] + 500  # two maps a row
    assert heights[6] == heights[0]


BAD = {
    "no catalog": (["nowhere"], "is not a catalog"),
    "nothing chosen": (["CATALOG", "--where", "false"], "there is no image in"),
    "nothing to map": (["CATALOG", "--where", "false", "--map"], "there is no image in"),
    "no SQL": (["CATALOG", "--where", "place ="], "condition"),
    "another format": (["CATALOG", "--out", "a.gif"], "ends in .png or .jpg"),
    "no images": (["CATALOG", "--count", "0"], "--count"),
    "too many images": (["CATALOG", "--count", "101"], "shows 1 to 100 images, not 101"),
    "a file for a folder": (["CATALOG", "--out", "FILE/a.png"], "FILE"),
}


@pytest.mark.parametrize("kind", BAD)
def test_pictures_that_cannot_be_drawn_end_with_2(command, catalog, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    view = catalog(town=[CORNERS[:1]])
    (tmp_path / "FILE").write_text("")
    words, said = BAD[kind]
    code, told, narrated = command("show", *(w.replace("CATALOG", str(view.path)) for w in words))
    assert (code, told) == (2, "")
    assert said in narrated
    assert narrated.count("error:") == 1


def test_pictures_are_named_after_the_catalog_and_folders_are_made(
    command, catalog, tmp_path, monkeypatch
):
    view = catalog(town=[CORNERS[:1]])
    monkeypatch.chdir(tmp_path)
    for words, name in (([], "c.images.png"), (["--map"], "c.map.png")):
        assert command("show", "c", *words)[1].startswith(f"picture    {name}   0.")
        assert picture(tmp_path / name).size
    assert command("show", view.path, "--out", "new/folder/a.jpg")[0] == 0
    assert (tmp_path / "new" / "folder" / "a.jpg").exists()


@pytest.mark.robust
def test_a_full_disk_leaves_the_old_picture(command, catalog, full_disk):
    view = catalog(town=[np.random.default_rng(0).integers(0, 255, (3, 900, 900), np.uint8)])
    out = full_disk / "a.png"
    out.write_text("old")
    (full_disk / "filler").write_bytes(bytes(3 * 2**20 - 5 * 4096))
    code, _, narrated = command("show", view.path, "--out", out)
    assert (code, "no space left" in narrated) == (2, True)
    assert out.read_text() == "old"
    assert {file.name for file in full_disk.iterdir()} == {"a.png", "filler"}


def test_a_sheet_without_an_image_to_show_is_refused(catalog, tmp_path):
    view = catalog(town=[CORNERS[:1]])
    with pytest.raises(CatalogError, match="shows 1 to 100 images, not 0"):
        contact_sheet(view, tmp_path / "a.png", count=0)


@pytest.mark.parametrize("words", [("show", "--help"), ("cog", "--help"), ("cog", "a.tif", "--ot")])
def test_help_and_mistakes_are_answered_without_importing_anything_heavy(imported, words):
    runs = [imported("gv_data.cli:main", "gv-data", *words) for _ in range(2)]
    heavy = {"numpy", "rasterio", "matplotlib", "duckdb", "pyarrow", "torch", "rich"}
    assert not runs[0][0] & heavy
    assert min(seconds for _, _, seconds in runs) < 0.5
