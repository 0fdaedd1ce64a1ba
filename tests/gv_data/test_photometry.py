"""Changed values against closed forms; what is missing stays missing."""

import numpy as np
import pytest

from gv_data.errors import SampleError
from gv_data.windows.photometry import BandDrop, Blur, Calibration, Light, Noise, blurred

H = W = 6


def sample(bands: tuple[int, ...] = (2,)) -> dict:
    """Every pixel has a value of its own."""
    place = np.arange(np.prod(bands) * H * W).reshape(*bands, H, W)
    valid = place.reshape(-1, H, W)[0] % 5 > 0
    return {
        "image": (place + 1).astype(np.float32) * valid,
        "valid": valid,
        "mask": np.where(valid, 1, 255),
        "id": "a",
    }


def flat(value: float, bands: int = 1, side: int = 1) -> dict:
    return {
        "image": np.full((bands, side, side), value, np.float32),
        "valid": np.ones((side, side), bool),
    }


ALL = [Light(), Calibration(0.1, offset=2), Blur(2), Noise(1, shot=0.5), BandDrop(0.5, fill=9)]


@pytest.mark.parametrize("transform", ALL)
@pytest.mark.parametrize("bands", [(2,), (3, 2)])
def test_missing_pixels_and_labels_are_left_alone(transform, bands):
    before = sample(bands)
    for seed in range(10):
        after = transform(before, np.random.default_rng(seed))
        assert (after["image"][..., ~before["valid"]] == 0).all()
        assert after["image"].dtype == np.float32
        assert after["image"].shape == before["image"].shape
        assert np.isfinite(after["image"]).all()
        np.testing.assert_array_equal(after["mask"], before["mask"])
    np.testing.assert_array_equal(before["image"], sample(bands)["image"])


@pytest.mark.parametrize("transform", ALL)
def test_the_same_generator_changes_a_window_in_the_same_way(transform):
    one, two = (transform(sample(), np.random.default_rng(7))["image"] for _ in range(2))
    others = [transform(sample(), np.random.default_rng(n))["image"] for n in range(5)]
    np.testing.assert_array_equal(one, two)
    assert not all(np.array_equal(one, other) for other in others)


@pytest.mark.parametrize("transform", [*ALL, BandDrop(1.0)])
def test_an_empty_window_stays_empty(transform):
    empty = {"image": np.zeros((2, H, W), np.float32), "valid": np.zeros((H, W), bool)}
    assert not transform(empty, np.random.default_rng(0))["image"].any()


@pytest.mark.parametrize(
    "off",
    [
        Light(brightness=0, contrast=0, colour=0, gamma=0, grey=0),
        Calibration(0),
        Blur(0),
        Noise(0),
        BandDrop(0),
    ],
)
def test_no_change_is_the_identity(off):
    after = off(sample(), np.random.default_rng(0))
    np.testing.assert_allclose(after["image"], sample()["image"], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("transform", [Light(), Calibration(), Blur(20)])
def test_missing_pixels_do_not_change_the_others(transform):
    whole = sample() | {"valid": np.ones((H, W), bool)}
    padded = {
        "image": np.pad(whole["image"], ((0, 0), (0, 30), (0, 0)), constant_values=1e6),
        "valid": np.pad(whole["valid"], ((0, 30), (0, 0))),
    }
    one, two = (transform(s, np.random.default_rng(3))["image"] for s in (whole, padded))
    np.testing.assert_allclose(one, two[:, :H], rtol=1e-5)


def test_each_band_and_date_has_its_own_gain_and_offset_of_the_given_spread():
    before = flat(0.0, 20_000, 2)
    before["image"][:, 0, 0] = 1
    after = Calibration(0.05, offset=0.01)(before, np.random.default_rng(0))["image"]
    offsets, gains = after[:, 1, 1], after[:, 0, 0] - after[:, 1, 1]
    np.testing.assert_array_equal(offsets, after[:, 0, 1])
    assert offsets.std() == pytest.approx(0.01, rel=0.03)  # six standard errors
    assert np.log(gains).std() == pytest.approx(0.05, rel=0.03)
    assert abs(np.corrcoef(offsets, gains)[0, 1]) < 0.05
    series = Calibration(0.05)(sample((3, 2)), np.random.default_rng(0))["image"]
    seen = sample((3, 2))["valid"]
    gains = series[..., seen] / sample((3, 2))["image"][..., seen]
    np.testing.assert_allclose(gains, gains[..., :1].repeat(seen.sum(), -1), rtol=1e-5)
    assert len(np.unique(gains[..., 0])) == 6


def test_stripes_lose_the_contrast_that_a_gaussian_takes():
    stripes = np.cos(np.pi / 2 * np.arange(64)).astype(np.float32)
    wide = {"image": np.tile(stripes, (1, 40, 1)), "valid": np.ones((40, 64), bool)}
    for sigma_px in (1.0, 1.3):
        middle = blurred(wide, sigma_px)["image"][0, 20, 20:40]
        kept = np.exp(-((np.pi * sigma_px) ** 2) / 8)
        np.testing.assert_allclose(middle, kept * stripes[20:40], atol=2e-3)


def test_blur_darkens_nothing_beside_missing_pixels():
    even = flat(50.0, 2, 20)
    even["valid"][5:9] = False
    even["image"][:, 5:9] = 0
    after = blurred(even, 2.0)["image"]
    np.testing.assert_allclose(after[:, even["valid"]], 50, rtol=1e-5)


@pytest.mark.parametrize(("value", "variance"), [(0.0, 0.01**2), (0.5, 0.01**2 + 0.5 * 4e-4)])
def test_the_variance_of_noise_grows_with_the_light(value, variance):
    share = np.random.default_rng(2).random()
    after = Noise(0.01, shot=4e-4)(flat(value, side=200), np.random.default_rng(2))["image"]
    assert after.mean() == pytest.approx(value, abs=6 * np.sqrt(variance) / 200)
    assert after.var() == pytest.approx(share**2 * variance, rel=6 * np.sqrt(2) / 200)


def test_bands_are_missing_as_often_as_asked_and_filled_with_their_own_value():
    rng, fill = np.random.default_rng(0), [7, 8, 9, 10]
    seen = np.array([BandDrop(0.25, fill)(flat(1, 4), rng)["image"].ravel() for _ in range(1000)])
    assert set(np.unique(seen - 1).tolist()) == {0, 6, 7, 8, 9}
    missing = seen != 1
    np.testing.assert_array_equal(seen[missing], np.broadcast_to(fill, seen.shape)[missing])
    np.testing.assert_allclose(missing.mean(axis=0), 0.25, atol=0.083)  # six standard deviations


def test_one_band_always_stays_and_it_is_any():
    kept = [BandDrop(1)(flat(1, 3), np.random.default_rng(n))["image"].ravel() for n in range(60)]
    assert np.sum(kept, axis=1).tolist() == [1] * 60
    assert np.sum(kept, axis=0).min() > 3


def test_a_band_is_missing_on_all_dates_of_a_series():
    after = BandDrop(0.5)(sample((4, 5)), np.random.default_rng(1))["image"].any(axis=(2, 3))
    assert 0 < after[0].sum() < 5
    assert (after == after[0]).all()


def dates(count: int = 3, bands: int = 2) -> dict:
    """A series of which every date is missing elsewhere."""
    rng = np.random.default_rng(1)
    valid = rng.random((count, H, W)) < 0.7
    image = rng.uniform(50, 200, (count, bands, H, W)).astype(np.float32)
    return {"image": image * valid[:, None], "valid": valid}


def side_by_side(series: dict) -> dict:
    """The dates of a series as one image, from left to right."""
    return {
        "image": np.concatenate(list(series["image"]), axis=-1),
        "valid": np.concatenate(list(series["valid"]), axis=-1),
    }


@pytest.mark.parametrize("transform", [Light(), Light(grey=1), BandDrop(0.5, fill=[3, 9])])
def test_what_changes_all_dates_alike_changes_them_as_one_image(transform):
    for seed in range(5):
        after = transform(dates(), np.random.default_rng(seed))
        one = transform(side_by_side(dates()), np.random.default_rng(seed))
        np.testing.assert_allclose(side_by_side(after)["image"], one["image"], rtol=1e-5)


def test_every_date_is_blurred_as_a_single_image():
    after = blurred(dates(), 1.3)["image"]
    for n, image in enumerate(after):
        alone = {key: value[n] for key, value in dates().items()}
        np.testing.assert_array_equal(image, blurred(alone, 1.3)["image"])


def test_every_date_and_band_has_its_own_calibration_and_noise():
    before = dates()
    there = before["valid"][:, None] & np.ones((3, 2, 1, 1), bool)
    gains = Calibration(0.1)(before, np.random.default_rng(0))["image"][there]
    gains /= before["image"][there]
    own = np.broadcast_to(np.arange(6).reshape(3, 2, 1, 1), there.shape)[there]
    found = [gains[own == n] for n in range(6)]
    assert all(np.ptp(gain) < 1e-5 for gain in found)
    assert len({round(float(gain[0]), 5) for gain in found}) == 6
    noise = Noise(5)(before, np.random.default_rng(0))["image"] - before["image"]
    assert len(np.unique(noise[there])) > 0.9 * there.sum()


@pytest.mark.parametrize("transform", ALL)
@pytest.mark.parametrize("bands", [2, 3])
def test_what_is_missing_on_a_date_stays_missing_on_it(transform, bands):
    before = dates(bands=bands)
    for seed in range(10):
        after = transform(before, np.random.default_rng(seed))
        assert after["image"].shape == (3, bands, H, W)
        assert not after["image"].swapaxes(1, 0)[:, ~before["valid"]].any()
        assert np.isfinite(after["image"]).all()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Calibration(-0.1), "gain is at least 0, got -0.1"),
        (lambda: Calibration(offset=float("nan")), "offset is at least 0"),
        (lambda: Blur(-1), "sigma_px"),
        (lambda: Noise(float("inf")), "floor"),
        (lambda: Noise(0, shot=-1), "shot"),
        (lambda: BandDrop(1.5), "at most 1"),
        (lambda: BandDrop(fill=[1, 2, 3])(sample(), np.random.default_rng(0)), "2 bands.*3 values"),
    ],
)
def test_settings_that_make_no_sense_are_told(make, told):
    with pytest.raises(SampleError, match=told):
        make()
