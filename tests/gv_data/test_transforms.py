"""Moved windows against what their transform says, rasterio and numpy."""

from functools import partial

import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.warp import reproject

from gv_data.errors import SampleError
from gv_data.windows.dataset import IGNORE, UNNUMBERED
from gv_data.windows.photometry import Light
from gv_data.windows.transforms import Crop, Rotation, chain, cropped, rotated, turn, turned

NORTH_UP = Affine(0.5, 0, 70, 0, -0.5, 30)
PLACES = [
    NORTH_UP,
    Affine(0.5, 0, 70, 0, 0.5, 30),  # south up
    Affine(0.3, 0, -7, 0, -0.4, 3),  # pixels that are not square
    Affine(0.5, 0, 70, 0, -0.5, 30) @ Affine.rotation(20),
]


def corners(transform: Affine, shape_hw: tuple[int, int]) -> np.ndarray:
    height, width = shape_hw
    return np.array([transform @ c for c in [(0, 0), (width, 0), (width, height), (0, height)]])


def centres(transform: Affine, shape_hw: tuple[int, int]) -> np.ndarray:
    """X and y of the middle of each pixel."""
    rows, columns = np.mgrid[: shape_hw[0], : shape_hw[1]] + 0.5
    a, b, c, d, e, f = transform[:6]
    return np.stack([a * columns + b * rows + c, d * columns + e * rows + f])


def sample(shape_hw: tuple[int, int] = (6, 6), place: Affine = NORTH_UP) -> dict:
    """Every pixel tells its number in all rasters, and where it lies in ``xy``."""
    height, width = shape_hw
    number = np.arange(height * width).reshape(shape_hw)
    valid = number % 5 > 0
    west, south, east, north = shapely.multipoints(corners(place, shape_hw)).bounds
    return {
        "image": np.stack([number, number + 100]).astype(np.float32) * valid,
        "xy": centres(place, shape_hw),
        "valid": valid,
        "mask": np.where(valid, number, IGNORE).astype(np.int64),
        "edge": number + 1,
        "bounds": np.array([west, east, 0.5, south, north, 0.5, 1.0, 2.0, 3.0]),
        "transform": np.array(place),
        "id": "a",
    }


def placed(changed: dict) -> Affine:
    return Affine(*changed["transform"][:6])


def test_all_eight_turns_occur_and_move_everything_together():
    seen = set()
    for seed in range(60):
        after = turn(sample(), np.random.default_rng(seed))
        number = after["edge"] - 1
        np.testing.assert_array_equal(after["valid"], number % 5 > 0)
        np.testing.assert_array_equal(after["image"][0], number * after["valid"])
        np.testing.assert_array_equal(after["mask"], np.where(after["valid"], number, 255))
        assert after["id"] == "a"
        seen.add(tuple(number.ravel()))
    square = np.arange(36).reshape(6, 6)
    expected = {tuple(np.rot90(m, n).ravel()) for m in (square, square[:, ::-1]) for n in range(4)}
    assert seen == expected


def test_turns_are_equally_likely():
    rng = np.random.default_rng(0)
    firsts = [turn(sample(), rng)["edge"][0, :2] for _ in range(1600)]
    _, counts = np.unique(firsts, axis=0, return_counts=True)
    assert len(counts) == 8
    assert counts.min() > 150  # 200 expected, six standard deviations are 80


STEPS = st.one_of(
    st.builds(
        lambda quarters, mirrored: partial(turned, quarters=quarters, mirrored=mirrored),
        st.integers(-4, 7),
        st.booleans(),
    ),
    st.builds(
        lambda angle_deg, zoom: partial(rotated, angle_deg=angle_deg, zoom=zoom),
        st.floats(-180, 180),
        st.floats(0.5, 1.3),
    ),
    st.builds(
        lambda row, column: partial(cropped, row=row, column=column, height_px=17, width_px=14),
        st.integers(0, 3),
        st.integers(0, 3),
    ),
)


@settings(deadline=None)
@given(steps=st.lists(STEPS, min_size=1, max_size=4), place=st.sampled_from(PLACES))
def test_every_pixel_lies_where_the_transform_says_after_any_chain(steps, place):
    after = before = sample((24, 20), place) | {"valid": np.ones((24, 20), bool)}
    for step in steps:
        assume("row" not in step.keywords or min(after["valid"].shape) >= 20)
        after = step(after)
    height, width = after["valid"].shape
    assert after["xy"].shape == (2, height, width)
    assume(after["valid"].any())
    expected = centres(placed(after), (height, width)) * after["valid"]
    np.testing.assert_allclose(after["xy"], expected, rtol=0, atol=1e-5)
    outline = shapely.multipoints(corners(placed(after), (height, width)))
    west, east, _, south, north, _, *times = after["bounds"]
    np.testing.assert_allclose((west, south, east, north), outline.bounds, rtol=0, atol=1e-9)
    assert times == [1, 2, 3]
    np.testing.assert_array_equal(before["xy"], sample((24, 20), place)["xy"])


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_turns_keep_the_bounds_and_burnt_labels_to_the_bit(quarters, mirrored):
    roof = shapely.Polygon([(71.1, 29.2), (76.3, 28.1), (74.2, 22.7)])
    before = sample((24, 20))
    before["mask"] = rasterio.features.rasterize([roof], (24, 20), transform=NORTH_UP)
    after = turned(before, quarters, mirrored=mirrored)
    shape = after["image"].shape[-2:]
    expected = rasterio.features.rasterize([roof], shape, transform=placed(after))
    np.testing.assert_array_equal(after["mask"], expected)
    np.testing.assert_array_equal(after["bounds"], before["bounds"])


def test_the_steps_of_moved_bounds_are_the_sides_of_a_pixel():
    assert cropped(sample(), 1, 2, 3, 4)["bounds"].tolist()[:6] == [71, 73, 0.5, 28, 29.5, 0.5]
    np.testing.assert_allclose(rotated(sample(), 33, zoom=1.5)["bounds"][[2, 5]], 0.75)


def test_a_rotation_by_a_right_angle_is_a_turn():
    one, two = rotated(sample(), 90), turned(sample(), 1)
    assert one["valid"].sum() == two["valid"].sum() > 20
    for key in ("image", "valid", "mask", "transform", "bounds"):
        np.testing.assert_allclose(one[key], two[key], rtol=0, atol=1e-4)


def test_no_rotation_is_the_identity():
    before = sample((5, 8))
    holes = np.where(before["valid"], before["image"], np.float32(np.nan))
    after = rotated(before | {"image": holes}, 0)
    for key in ("image", "valid", "mask", "transform"):
        np.testing.assert_array_equal(after[key], before[key])


@pytest.mark.parametrize(("angle_deg", "zoom"), [(17, 1.0), (-131, 0.7), (64, 1.2)])
def test_a_rotation_interpolates_as_gdal_does(angle_deg, zoom):
    rng = np.random.default_rng(1)
    image = rng.normal(100, 20, (2, 40, 50)).astype(np.float32)
    mask = rng.integers(0, 5, (40, 50))
    whole = {"image": image, "valid": np.ones((40, 50), bool), "mask": mask}
    after = rotated(whole | {"transform": np.array(NORTH_UP)}, angle_deg, zoom=zoom)

    def warped(raster: np.ndarray, resampling: Resampling) -> np.ndarray:
        found, _ = reproject(
            raster,
            np.zeros_like(raster),
            src_transform=NORTH_UP,
            dst_transform=placed(after),
            src_crs="EPSG:32637",
            dst_crs="EPSG:32637",
            resampling=resampling,
            tolerance=0,
        )
        return found

    shown = after["valid"]
    assert shown.mean() > 0.5
    expected = warped(image, Resampling.bilinear)[:, shown]
    np.testing.assert_allclose(after["image"][:, shown], expected, rtol=1e-4)
    np.testing.assert_array_equal(after["mask"][shown], warped(mask, Resampling.nearest)[shown])


def test_what_is_missing_neither_bleeds_in_nor_is_learnt_from():
    whole = {
        "image": np.full((1, 30, 30), 7, np.float32),
        "valid": np.ones((30, 30), bool),
        "mask": np.ones((30, 30), np.int64),
        "edge": np.ones((30, 30), np.float32),
        "instances": np.full((30, 30), 3, np.int32),
        "sar": np.full((1, 30, 30), 4, np.float32),
        "sar_valid": np.ones((30, 30), bool),
        "code": np.full((30, 30), 5, np.uint8),
    }
    whole["valid"][10:14, 8:20] = False
    whole["image"][:, 10:14, 8:20] = np.nan
    after = rotated(whole, 30)
    shown = after["valid"]
    assert 0.5 < shown.mean() < 0.8  # an octagon is about 0.83, less the hole
    np.testing.assert_allclose(after["image"][0], np.where(shown, 7, 0), rtol=1e-6)
    np.testing.assert_array_equal(after["mask"], np.where(shown, 1, IGNORE))
    np.testing.assert_array_equal(after["edge"], np.where(shown, np.float32(1), np.nan))
    np.testing.assert_array_equal(after["instances"], np.where(shown, 3, UNNUMBERED))
    np.testing.assert_array_equal(after["code"], np.where(shown, 5, 0))
    sar = after["sar_valid"]  # its own validity has no hole
    assert (sar & ~shown).any()
    assert (sar | ~shown).all()
    np.testing.assert_allclose(after["sar"][0], np.where(sar, 4, 0), rtol=1e-6)
    assert [after[key].dtype for key in whole] == [whole[key].dtype for key in whole]


def series(dates: int = 3) -> dict:
    """Each date is missing elsewhere; a second series has fewer bands and dates of its own."""
    rng = np.random.default_rng(4)
    valid, other_valid = rng.random((dates, 8, 9)) < 0.8, rng.random((dates - 1, 8, 9)) < 0.8
    valid[:, 2, 3] = False
    known = valid.any(axis=0)
    return {
        "image": rng.random((dates, 2, 8, 9), np.float32) * valid[:, None],
        "valid": valid,
        "dates": np.arange(dates),
        "s2": rng.random((dates - 1, 4, 8, 9), np.float32) * other_valid[:, None],
        "s2_valid": other_valid,
        "s2_dates": np.arange(dates - 1),
        "mask": np.where(known, rng.integers(0, 3, (8, 9)), IGNORE),
        "instances": np.where(known, rng.integers(0, 9, (8, 9)), UNNUMBERED),
        "transform": np.array(NORTH_UP),
    }


@pytest.mark.parametrize(
    "change",
    [
        partial(turned, quarters=3, mirrored=True),
        partial(rotated, angle_deg=25, zoom=0.9),
        partial(cropped, row=1, column=2, height_px=5, width_px=6),
        lambda sample: turn(sample, np.random.default_rng(3)),
        lambda sample: Rotation(40)(sample, np.random.default_rng(3)),
        lambda sample: Crop(5)(sample, np.random.default_rng(3)),
    ],
)
def test_every_date_of_a_series_moves_as_a_single_image_does(change):
    before, after = series(), change(series())
    for key, valid in (("image", "valid"), ("s2", "s2_valid")):
        assert len(after[key]) == len(after[valid]) == len(before[key])
        for n in range(len(before[key])):
            alone = {"image": before[key][n], "valid": before[valid][n]}
            alone = change(alone | {"transform": before["transform"]})
            np.testing.assert_array_equal(after[key][n], alone["image"])
            np.testing.assert_array_equal(after[valid][n], alone["valid"])
            np.testing.assert_array_equal(after["transform"], alone["transform"])
    assert after["dates"].tolist() == [0, 1, 2]
    for key, unknown in (("mask", IGNORE), ("instances", UNNUMBERED)):
        whole = {"image": before["image"][0], "valid": np.ones((8, 9), bool), key: before[key]}
        alone = change(whole | {"transform": before["transform"]})
        known = after["valid"].any(axis=0)
        np.testing.assert_array_equal(after[key], np.where(known, alone[key], unknown))


def test_a_window_without_georeference_is_changed_as_well():
    bare = {key: sample()[key] for key in ("image", "valid", "mask")}
    after = chain(turn, Rotation(20), Crop(4))(bare, np.random.default_rng(0))
    assert after.keys() == bare.keys()
    assert after["mask"].shape == (4, 4)


def test_crops_lie_anywhere_in_the_window():
    rng = np.random.default_rng(0)
    firsts = [Crop(4)(sample((6, 5)), rng)["edge"][0, 0] - 1 for _ in range(200)]
    assert set(firsts) == {0, 1, 5, 6, 10, 11}


@pytest.mark.parametrize(
    "transform", [turn, Rotation(), Rotation(10, zoom=(0.5, 1)), Crop(3), chain(turn, Light())]
)
def test_the_same_generator_changes_a_window_in_the_same_way(transform):
    one, two, other = (transform(sample(), np.random.default_rng(n)) for n in (7, 7, 9))
    np.testing.assert_array_equal(one["image"], two["image"])
    assert not np.array_equal(one["image"], other["image"])


def test_a_chain_applies_its_parts_in_order():
    rng, other = np.random.default_rng(5), np.random.default_rng(5)
    chained = chain(turn, Light())(sample(), rng)
    by_hand = Light()(turn(sample(), other), other)
    np.testing.assert_array_equal(chained["image"], by_hand["image"])


@pytest.mark.parametrize("change", [turn, Rotation(), Crop(2)])
def test_arrays_on_another_grid_are_refused_rather_than_left_behind(change):
    boxes = sample() | {"boxes": np.zeros((3, 4))}
    with pytest.raises(SampleError, match=r"'boxes' of shape \(3, 4\).*6 x 6 pixels: resample"):
        change(boxes, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Crop(0), "needs pixels"),
        (lambda: Crop(7)(sample(), np.random.default_rng(0)), "7 px does not fit.* 6 x 6"),
        (lambda: cropped(sample(), -1, 0, 3, 3), "rows -1 to 2"),
        (lambda: cropped(sample(), 0, 4, 3, 3), "columns 4 to 7"),
        (lambda: Rotation(-1), "0 to 180 degrees.*got -1"),
        (lambda: Rotation(zoom=(1.2, 1.1)), "zoom"),
        (lambda: Rotation(zoom=(0, 1)), "zoom"),
        (lambda: Rotation(zoom=(1, 3)), "<= 2"),
        (lambda: Rotation(float("nan")), "degrees"),
    ],
)
def test_settings_that_make_no_sense_are_told(make, told):
    with pytest.raises(SampleError, match=told):
        make()
