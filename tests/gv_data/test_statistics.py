"""Merged figures are those of all pixels together, as numpy and scipy find them."""

from functools import reduce

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gv_data.errors import CatalogError
from gv_data.statistics import Histogram, Moments, Statistics

BANDS = ("red", "green", "nir")


@st.composite
def pixels(draw: st.DrawFn) -> np.ndarray:
    shape = (3, draw(st.integers(1, 40)))
    base = draw(st.floats(-1e4, 1e4))
    values = draw(arrays.arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)))
    return (values + np.float32(base)).astype(np.float64)


def figures(moments: Moments) -> Statistics:
    return Statistics(BANDS[: len(moments.mean)], moments, tuple)


def assert_are_those_of(moments: Moments, values: np.ndarray) -> None:
    """Compare with numpy and scipy on all pixels (c, n) at once."""
    found = figures(moments)
    scale = np.abs(values).max() + 1
    assert found.valid == values.shape[1]
    np.testing.assert_allclose(found.mean, values.mean(axis=1), atol=1e-12 * scale)
    np.testing.assert_allclose(found.std, values.std(axis=1), rtol=1e-9, atol=1e-10 * scale)
    np.testing.assert_array_equal(found.minimum, values.min(axis=1))
    np.testing.assert_array_equal(found.maximum, values.max(axis=1))
    covariance = np.cov(values, bias=True)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-9, atol=1e-9 * scale)
    spread = values.std(axis=1) > 1e-3 * scale
    for mine, theirs in (
        (found.skewness, scipy.stats.skew),
        (found.kurtosis, scipy.stats.kurtosis),
    ):
        np.testing.assert_allclose(
            mine[spread], theirs(values[spread], axis=1), rtol=1e-6, atol=1e-6
        )


@given(st.lists(pixels(), min_size=1, max_size=5), st.randoms())
def test_merging_in_any_order_and_grouping_gives_all_pixels_together(parts, order):
    moments = [Moments.of(part) for part in parts]
    order.shuffle(moments)
    cut = order.randint(0, len(moments))
    left, right = (
        reduce(Moments.__add__, some, Moments.none(3, invalid=2))
        for some in (moments[:cut], moments[cut:])
    )
    merged = left + right
    assert_are_those_of(merged, np.concatenate(parts, axis=1))
    assert merged.invalid == 4


def test_large_offsets_lose_no_digits():
    rng = np.random.default_rng(0)
    values = 1e6 + rng.normal(size=(2, 300, 400))
    merged = reduce(Moments.__add__, (Moments.of(values[:, n]) for n in range(300)))
    everything = values.reshape(2, -1)
    np.testing.assert_allclose(figures(merged).std, everything.std(axis=1), rtol=1e-10)
    np.testing.assert_allclose(figures(merged).correlation, np.corrcoef(everything), atol=1e-9)


def test_no_pixels_are_neutral_and_have_no_figures():
    known, nothing = Moments.of(np.arange(12.0).reshape(3, 4)), Moments.none(3, invalid=4)
    for merged in (known + nothing, nothing + known):
        assert_are_those_of(merged, np.arange(12.0).reshape(3, 4))
    none = figures(nothing)
    assert (none.valid, none.invalid) == (0, 4)
    for values in (none.mean, none.std, none.skewness, none.correlation):
        assert np.isnan(values).all()


def test_one_value_everywhere_has_no_shape():
    flat = figures(Moments.of(np.full((2, 5), 7.0)))
    assert (flat.std == 0).all()
    assert np.isnan(flat.skewness).all()
    assert np.isnan(flat.kurtosis).all()
    assert np.isnan(flat.correlation).all()
    with pytest.raises(CatalogError, match="band red has one value only"):
        flat.normalize()


def test_normalize_gives_mean_0_and_standard_deviation_1():
    values = np.random.default_rng(1).gamma(2, 300, (3, 40, 50))
    normalize = figures(Moments.of(values.reshape(3, -1))).normalize()
    changed = normalize(torch.from_numpy(values)).numpy().reshape(3, -1)
    np.testing.assert_allclose(changed.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(changed.std(axis=1), 1, atol=1e-6)


@given(
    st.lists(st.lists(st.integers(-50, 50), max_size=30), max_size=4),
    st.floats(0, 100),
)
def test_histograms_add_up_to_the_percentiles_and_entropy_of_all_values(parts, percent):
    total = Histogram.none()
    for part in parts:
        values, counts = np.unique(np.array(part, float), return_counts=True)
        total += Histogram(values, counts)
    everything = np.array([value for part in parts for value in part], float)
    if not len(everything):
        assert np.isnan(total.percentile(percent))
        assert np.isnan(total.entropy_bits)
        return
    expected = np.percentile(everything, percent, method="inverted_cdf")
    assert total.percentile(percent) == expected
    _, counts = np.unique(everything, return_counts=True)
    assert total.entropy_bits == pytest.approx(scipy.stats.entropy(counts, base=2), abs=1e-12)


def test_scaling_is_that_of_the_pixels():
    values = np.random.default_rng(2).integers(0, 200, (3, 100)).astype(float)
    scale, offset = np.array([0.5, -2, 1]), np.array([3.0, 0, -100])
    changed = values * scale[:, None] + offset[:, None]
    assert_are_those_of(Moments.of(values).scaled(scale, offset), changed)
    counted = Histogram(*np.unique(values[1], return_counts=True)).scaled(-2, 0)
    np.testing.assert_array_equal(counted.values, np.unique(changed[1]))
    assert counted.percentile(30) == np.percentile(changed[1], 30, method="inverted_cdf")
