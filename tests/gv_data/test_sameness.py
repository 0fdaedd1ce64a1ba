"""Two rasters compared in parts, wherever they differ."""

import numpy as np
import pytest
import rasterio

from gv_data.errors import RasterError
from gv_data.rasters import sameness

NOISE = np.random.default_rng(6).integers(1, 255, (5, 70, 1300), dtype=np.uint8)


@pytest.mark.parametrize("layout", [{}, {"tiled": True}, {"interleave": "band"}])
@pytest.mark.parametrize("window_bytes", [1000, 100_000, 10**9])
def test_parts_cover_each_value_once_and_stay_small(tif, monkeypatch, layout, window_bytes):
    monkeypatch.setattr(sameness, "WINDOW_BYTES", window_bytes)
    covered = np.zeros(NOISE.shape, int)
    with rasterio.open(tif("a.tif", NOISE, **layout)) as file:
        for window, bands in sameness._windows(file):
            covered[np.ix_(bands, *(range(*s.indices(10**6)) for s in window.toslices()))] += 1
            pixels = window.width * window.height
            assert pixels * len(bands) <= max(window_bytes, 1300, 512 * 70)
    assert (covered == 1).all()


@pytest.mark.parametrize("place", [(0, 0, 0), (4, 69, 1299), (2, 33, 700)])
def test_one_other_value_is_found_wherever_it_is(tif, monkeypatch, place):
    monkeypatch.setattr(sameness, "WINDOW_BYTES", 20_000)
    other = NOISE.copy()
    other[place] ^= 1
    with (
        rasterio.open(tif("a.tif", NOISE)) as before,
        rasterio.open(tif("b.tif", other, tiled=True)) as after,
    ):
        assert sameness.change(before, before, rms_max=0) == sameness.Change(0, 0)
        with pytest.raises(RasterError, match="values differ near row"):
            sameness.change(before, after, rms_max=0)
        found = sameness.change(before, after, rms_max=1)
    assert found.largest == 1
    assert found.rms == pytest.approx(NOISE.size**-0.5)
