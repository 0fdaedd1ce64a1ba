from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gv_data.statistics import Moments


@st.composite
def images(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = (3, draw(st.integers(1, 8)), draw(st.integers(1, 8)))
    base = draw(st.floats(-1e4, 1e4))
    values = draw(arrays.arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)))
    return (values + np.float32(base)), draw(arrays.arrays(bool, shape[1:]))


def assert_are_those_of(moments: Moments, pixels: np.ndarray) -> None:
    """Compare with numpy on all pixels (c, n) at once, in float64."""
    pixels = pixels.astype(np.float64)
    assert moments.valid == pixels.shape[1]
    if not moments.valid:
        assert np.isnan(moments.std).all()
        return
    scale = np.abs(pixels).max() + 1
    np.testing.assert_allclose(moments.mean, pixels.mean(axis=1), atol=1e-12 * scale)
    np.testing.assert_allclose(moments.std, pixels.std(axis=1), rtol=1e-9, atol=1e-10 * scale)
    np.testing.assert_array_equal(moments.minimum, pixels.min(axis=1))
    np.testing.assert_array_equal(moments.maximum, pixels.max(axis=1))


@given(st.lists(images(), min_size=1, max_size=5), st.randoms())
def test_merged_moments_are_those_of_all_pixels_together(parts, order):
    moments = [Moments.of(*part) for part in parts]
    order.shuffle(moments)
    merged = reduce(Moments.__add__, moments, Moments.none(3))
    assert_are_those_of(merged, np.concatenate([image[:, valid] for image, valid in parts], axis=1))
    assert merged.invalid == sum((~valid).sum() for _, valid in parts)


def test_large_offsets_lose_no_digits():
    rng = np.random.default_rng(0)
    image = (1e6 + rng.normal(size=(2, 400, 300))).astype(np.float32)
    assert_are_those_of(Moments.of(image, np.ones((400, 300), bool)), image.reshape(2, -1))


def test_no_pixels_are_neutral():
    image = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    known = Moments.of(image, np.ones((2, 2), bool))
    nothing = Moments.of(image, np.zeros((2, 2), bool))
    assert nothing.invalid == 4
    assert (known + nothing).mean == pytest.approx(known.mean)
    assert (nothing + known).std == pytest.approx(known.std)
