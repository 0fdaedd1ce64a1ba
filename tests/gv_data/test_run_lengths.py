"""Masks as run lengths against pycocotools."""

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as oracle

from gv_data.errors import VectorError
from gv_data.labels.run_lengths import Runs

MASKS = hnp.arrays(
    np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.booleans()
)


def numbers(mask: np.ndarray) -> list[int]:
    """Runs of a mask, counted one pixel after the other."""
    counts, inside = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != inside:
            counts.append(0)
            inside = pixel
        counts[-1] += 1
    return counts


def text(mask: np.ndarray) -> str:
    encoded: Any = oracle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return encoded["counts"].decode()


@given(mask=MASKS)
def test_text_and_numbers_are_read_as_pycocotools_reads_them(mask):
    np.testing.assert_array_equal(Runs(text(mask), mask.shape).mask(), mask)
    np.testing.assert_array_equal(Runs(numbers(mask), mask.shape).mask(), mask)


def test_long_runs_are_read_as_pycocotools_reads_them():
    mask = np.zeros((900, 1100), np.uint8, order="F")
    mask[300:900, 100:1000:3] = 1
    np.testing.assert_array_equal(Runs(text(mask), (900, 1100)).mask(), mask > 0)


@given(mask=MASKS)
def test_the_outline_of_a_mask_burns_the_same_mask(mask):
    outline = Runs(numbers(mask), mask.shape).outline()
    if outline is None:
        assert not mask.any()
        return
    assert shapely.is_valid(outline)
    assert shapely.area(outline) == mask.sum()
    burnt = rasterio.features.rasterize([outline], out_shape=mask.shape)
    np.testing.assert_array_equal(burnt > 0, mask)


@pytest.mark.parametrize(
    "counts",
    ["", "0", "99", "z", "1é", "oooooooO1", "P", "1" * 10, "o" * 60 + "0", [], [24], [26],
     [-1, 26], [12.5, 12.5], ["25"], [True, 24], [2**70], "XXg0"],
)  # fmt: skip
def test_damaged_runs_are_refused(counts):
    with pytest.raises(VectorError, match="runs that are not those of a mask of 5 x 5 px"):
        Runs(counts, (5, 5)).mask()


@pytest.mark.parametrize("shape", [(0, 5), (-5, -5), (2**20, 2**20)])
def test_a_mask_of_no_possible_size_is_refused(shape):
    with pytest.raises(VectorError, match="can be read"):
        Runs([25], shape).mask()
