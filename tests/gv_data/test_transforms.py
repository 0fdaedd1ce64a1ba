import numpy as np
import pytest

from gv_data.transforms import Light, chain, turn

H = W = 6


def sample() -> dict:
    """Every pixel tells its position, in the image as in the mask."""
    place = np.arange(H * W).reshape(H, W)
    valid = place % 5 > 0
    return {
        "image": np.stack([place, place + 100]).astype(np.float32) * valid,
        "valid": valid,
        "mask": np.where(valid, place, 255).astype(np.int64),
        "edge": place + 1,
        "id": "a",
    }


def test_all_eight_turns_occur_and_move_everything_together():
    seen = set()
    for seed in range(60):
        turned = turn(sample(), np.random.default_rng(seed))
        place = turned["edge"] - 1
        np.testing.assert_array_equal(turned["valid"], place % 5 > 0)
        np.testing.assert_array_equal(turned["image"][0], place * turned["valid"])
        np.testing.assert_array_equal(turned["mask"], np.where(turned["valid"], place, 255))
        assert turned["id"] == "a"
        seen.add(tuple(place.ravel()))
    square = np.arange(H * W).reshape(H, W)
    expected = {tuple(np.rot90(m, n).ravel()) for m in (square, square[:, ::-1]) for n in range(4)}
    assert seen == expected


def test_turns_are_equally_likely():
    rng = np.random.default_rng(0)
    corners = [turn(sample(), rng)["edge"][0, :2] for _ in range(1600)]
    _, counts = np.unique(corners, axis=0, return_counts=True)
    assert len(counts) == 8
    assert counts.min() > 150  # 200 expected, six standard deviations are 80


def test_light_leaves_missing_pixels_and_labels_alone():
    before = sample()
    for seed in range(20):
        after = Light()(before, np.random.default_rng(seed))
        assert (after["image"][:, ~before["valid"]] == 0).all()
        assert after["image"].dtype == np.float32
        assert np.isfinite(after["image"]).all()
        np.testing.assert_array_equal(after["mask"], before["mask"])
    np.testing.assert_array_equal(before["image"], sample()["image"])


def test_missing_pixels_do_not_change_the_light_of_the_others():
    whole = sample() | {"valid": np.ones((H, W), bool)}
    padded = {
        "image": np.pad(whole["image"], ((0, 0), (0, 30), (0, 0))),
        "valid": np.pad(whole["valid"], ((0, 30), (0, 0))),
    }
    one, two = (Light()(s, np.random.default_rng(3))["image"] for s in (whole, padded))
    np.testing.assert_allclose(one, two[:, :H], rtol=1e-6)


def test_no_light_is_the_identity():
    off = Light(brightness=0, contrast=0, colour=0, gamma=0, grey=0)
    after = off(sample(), np.random.default_rng(0))
    np.testing.assert_allclose(after["image"], sample()["image"], rtol=1e-5, atol=1e-3)


def test_an_empty_window_stays_empty():
    empty = sample() | {"image": np.zeros((2, H, W), np.float32), "valid": np.zeros((H, W), bool)}
    assert not Light()(empty, np.random.default_rng(0))["image"].any()


@pytest.mark.parametrize("transform", [turn, Light(), chain(turn, Light())])
def test_the_same_generator_changes_a_window_in_the_same_way(transform):
    one, two, other = (transform(sample(), np.random.default_rng(n)) for n in (7, 7, 8))
    np.testing.assert_array_equal(one["image"], two["image"])
    assert not np.array_equal(one["image"], other["image"])


def test_a_chain_applies_its_parts_in_order():
    rng, other = np.random.default_rng(5), np.random.default_rng(5)
    chained = chain(turn, Light())(sample(), rng)
    by_hand = Light()(turn(sample(), other), other)
    np.testing.assert_array_equal(chained["image"], by_hand["image"])
