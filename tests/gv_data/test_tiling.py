import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gv_data.errors import RasterError
from gv_data.rasters.tiling import Blend, Tiling


@st.composite
def tilings(draw: st.DrawFn) -> Tiling:
    window = draw(st.integers(1, 40))
    overlap = draw(st.integers(0, window // 2))
    return Tiling((draw(st.integers(1, 130)), draw(st.integers(1, 130))), window, overlap)


def blended(tiling: Tiling, image: np.ndarray) -> np.ndarray:
    """What comes out when each window is answered with the image beneath it, noise outside."""
    height, width = tiling.shape_hw
    side = tiling.window_px
    padded = np.full((len(image), height + side, width + side), np.float32(1e6))
    padded[:, :height, :width] = image
    blend, out, next_row = Blend(tiling, len(image)), [], 0
    for row, column in tiling:
        window = padded[:, row : row + side, column : column + side]
        for first, rows in blend.add((row, column), window.copy()):
            assert first == next_row
            next_row += rows.shape[1]
            out.append(rows.copy())
    return np.concatenate(out, axis=1)


@settings(deadline=None)
@given(tilings(), st.floats(-1e4, 1e4, width=32))
def test_the_blend_of_a_constant_is_the_constant(tiling, constant):
    image = np.full((1, *tiling.shape_hw), constant, np.float32)
    assert np.abs(blended(tiling, image) - constant).max() <= 1e-6 * max(abs(constant), 1)


@settings(deadline=None)
@given(tilings(), st.integers(0, 2**32 - 1))
def test_the_blend_of_an_identity_model_is_the_image(tiling, seed):
    image = np.random.default_rng(seed).random((2, *tiling.shape_hw), np.float32)
    assert np.abs(blended(tiling, image) - image).max() <= 1e-6


@given(tilings())
def test_windows_cover_every_pixel_and_share_the_overlap(tiling):
    for starts, size in zip((tiling.rows, tiling.columns), tiling.shape_hw, strict=True):
        assert starts[0] == 0
        assert starts[-1] + tiling.window_px >= size
        steps = np.diff(starts)
        assert (steps > 0).all()
        assert (steps <= tiling.window_px - tiling.overlap_px).all()
        assert len(starts) == 1 or starts[-1] + tiling.window_px == size
    assert len(list(tiling)) == len(tiling)


def test_seams_fade_over_the_overlap():
    tiling = Tiling((8, 24), window_px=16, overlap_px=8)
    blend = Blend(tiling, 1)
    left = list(blend.add((0, 0), np.zeros((1, 16, 16), np.float32)))
    right = [rows.copy() for _, rows in blend.add((0, 8), np.ones((1, 16, 16), np.float32))]
    assert not left
    line = right[0][0, 0]
    assert (np.diff(line) >= 0).all()
    assert np.abs(np.diff(line)).max() < 0.25
    assert line[11:13].mean() == pytest.approx(0.5)


@pytest.mark.parametrize(("window", "overlap"), [(0, 0), (-4, 0), (8, 5), (8, -1)])
def test_impossible_windows_are_refused(window, overlap):
    with pytest.raises(RasterError, match="can overlap by"):
        Tiling((10, 10), window, overlap)
