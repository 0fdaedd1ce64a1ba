"""One reading of an image gives the figures that numpy finds in all its pixels."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gv_data.errors import RasterError
from gv_data.measure.counting import Counts, product_sum
from gv_data.measure.measuring import measure
from gv_data.rasters.raster import Scene

RNG = np.random.default_rng(5)
SHAPE = (3, 130, 170)
NUMBERS = {
    "uint8": RNG.integers(0, 256, SHAPE).astype(np.uint8),
    "int8": RNG.integers(-128, 128, SHAPE).astype(np.int8),
    "uint16": RNG.integers(0, 65536, SHAPE).astype(np.uint16),
    "int16": RNG.integers(-32768, 32768, SHAPE).astype(np.int16),
    "uint32": RNG.integers(0, 2**32, SHAPE).astype(np.uint32),
    "int32": RNG.integers(-(2**31), 2**31, SHAPE).astype(np.int32),
    "float32": RNG.gamma(2, 0.1, SHAPE).astype(np.float32),
    "float64": RNG.normal(0, 1e5, SHAPE),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_figures_are_those_of_numpy_for_every_type(kind, tif):
    values = NUMBERS[kind]
    with Scene(tif("a.tif", values, tiled=True, blockxsize=64, blockysize=32)) as scene:
        found = measure(scene)
    pixels = values.reshape(3, -1).astype(np.float64)
    exact = np.dtype(kind).itemsize <= 2
    tolerance = 1e-14 if exact else 1e-12
    np.testing.assert_allclose(found.mean, pixels.mean(axis=1), rtol=tolerance, atol=1e-9)
    np.testing.assert_allclose(found.std, pixels.std(axis=1), rtol=tolerance)
    np.testing.assert_allclose(found.correlation, np.corrcoef(pixels), rtol=1e-10, atol=1e-12)
    for percent in (2, 50, 98):
        expected = np.percentile(pixels, percent, axis=1, method="inverted_cdf")
        np.testing.assert_allclose(
            found.percentile(percent), expected, rtol=0 if exact else 1 / 256
        )
    assert all(histogram.counts.sum() == found.valid for histogram in found.histograms)


def test_missing_pixels_are_counted_and_nothing_else_of_them(tif):
    values = NUMBERS["int16"].copy()
    values[1, :40, 100:] = -9999
    with Scene(tif("a.tif", values, nodata=-9999)) as scene:
        found = measure(scene)
    known = (values != -9999).all(axis=0)
    assert (found.valid, found.invalid) == (known.sum(), (~known).sum())
    np.testing.assert_allclose(found.mean, values[:, known].mean(axis=1), rtol=1e-13)
    np.testing.assert_array_equal(found.minimum, values[:, known].min(axis=1))


def test_nan_is_missing(tif):
    values = NUMBERS["float32"].copy()
    values[0, 5:9] = np.nan
    with Scene(tif("a.tif", values)) as scene:
        found = measure(scene)
    assert found.invalid == 4 * 170
    assert found.mean[0] == pytest.approx(np.nanmean(values[0], dtype=np.float64), rel=1e-12)


def test_figures_are_in_physical_units(tif):
    values = NUMBERS["uint16"]
    scales, offsets = (1e-4, 2.0, -1.0), (-0.1, 0.0, 5.0)
    with Scene(tif("a.tif", values, scales=scales, offsets=offsets)) as scene:
        found = measure(scene)
    physical = values * np.array(scales)[:, None, None] + np.array(offsets)[:, None, None]
    pixels = physical.reshape(3, -1)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.minimum, pixels.min(axis=1), rtol=1e-12)
    np.testing.assert_allclose(
        found.percentile(90),
        np.percentile(pixels, 90, axis=1, method="inverted_cdf"),
        rtol=1e-12,
    )


@given(st.integers(0, 129), st.integers(0, 169), st.integers(1, 130), st.integers(1, 170))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("layout", [{"tiled": True, "blockxsize": 64, "blockysize": 32}, {}])
def test_parts_of_an_image_are_measured_alone(layout, tif, row, column, height, width):
    values = NUMBERS["uint8"]
    path = tif("a.tif", values, **layout)
    height, width = min(height, 130 - row), min(width, 170 - column)
    with Scene(path) as scene:
        found = measure(scene, (row, column, height, width))
    part = values[:, row : row + height, column : column + width].reshape(3, -1)
    assert found.valid == height * width
    np.testing.assert_allclose(found.mean, part.mean(axis=1), rtol=1e-14)
    np.testing.assert_array_equal(found.maximum, part.max(axis=1))


def test_an_image_without_data_has_no_figures(tif):
    with Scene(tif("a.tif", np.zeros((2, 20, 20), np.uint8), nodata=0)) as scene:
        found = measure(scene)
    assert (found.valid, found.invalid) == (0, 400)
    assert np.isnan(found.mean).all()
    assert np.isnan(found.percentile(50)).all()


def test_zeros_of_both_signs_are_one_value(tif):
    values = np.array([0.0, -0.0, 0.0, 1.0], np.float32).reshape(1, 2, 2)
    with Scene(tif("a.tif", values)) as scene:
        (histogram,) = measure(scene).histograms
    assert histogram.values[0] == 0
    assert histogram.counts.tolist() == [3, 1]


def test_a_cut_file_is_refused(tif):
    path = tif("a.tif", NUMBERS["uint16"], tiled=True, blockxsize=64, blockysize=64)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(RasterError), Scene(path) as scene:
        measure(scene)


@given(arrays.arrays(np.uint16, st.integers(0, 50)), arrays.arrays(np.uint16, st.integers(0, 50)))
def test_counts_are_those_of_bincount(first, second):
    counts = Counts(np.dtype(np.uint16))
    counts.add(first)
    counts.add(second)
    expected = np.bincount(np.concatenate([first, second]), minlength=65536)
    np.testing.assert_array_equal(counts.total, expected)


def test_products_do_not_overflow():
    most = np.full(3_000_000, 65535, np.uint16)
    assert product_sum(most, most) == 3_000_000 * 65535**2
    low, high = np.full(9, -32768, np.int16), np.full(9, 32767, np.int16)
    assert product_sum(low, high) == 9 * -32768 * 32767
