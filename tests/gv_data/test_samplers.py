import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from gv_data.catalog import Catalog
from gv_data.dataset import CatalogDataset
from gv_data.errors import CatalogError
from gv_data.grid import Grid
from gv_data.indexing import index
from gv_data.samplers import GridWindows, RandomWindows

UTM = CRS("EPSG:32637")


class Grids(CatalogDataset):
    """What samplers ask of a dataset, without files."""

    def __init__(self, *shapes: tuple[int, int], pixel_m: float = 0.5, apart: bool = True) -> None:
        self.grids = [
            Grid(UTM, Affine(pixel_m, 0, 500_000 + apart * 1000 * n, 0, -pixel_m, 3_000_000), *hw)
            for n, hw in enumerate(shapes)
        ]


def covered(dataset: Grids, windows: list) -> list[np.ndarray]:
    """How often each pixel of each image is seen."""
    counts = [np.zeros(grid.shape_hw, int) for grid in dataset.grids]
    for window in windows:
        x, y = window
        edges = dataset.grids[window.row].rows_columns((x.start, y.start, x.stop, y.stop))
        top, left, bottom, right = (max(0, round(edge)) for edge in edges)
        counts[window.row][top:bottom, left:right] += 1
    return counts


def test_seed_and_epoch_decide_the_windows():
    dataset = Grids((100, 200), (64, 64))
    sampler = RandomWindows(dataset, window_px=32, length=20, zoom=(0.5, 2), seed=1)
    first = [(tuple(w), w.row, w.seed) for w in sampler]
    assert [(tuple(w), w.row, w.seed) for w in sampler] == first
    sampler.set_epoch(1)
    second = [(tuple(w), w.row, w.seed) for w in sampler]
    assert second != first
    other = RandomWindows(dataset, window_px=32, length=20, zoom=(0.5, 2), seed=2)
    assert [(tuple(w), w.row, w.seed) for w in other] != first
    assert len(first) == len(sampler) == 20
    assert len({seed for *_, seed in first}) == 20


def test_an_image_as_small_as_the_window_is_drawn_in_proportion_to_its_area():
    dataset = Grids((64, 64), (640, 320))
    rows = [w.row for w in RandomWindows(dataset, window_px=64, length=5100)]
    assert rows.count(0) == pytest.approx(5100 / 51, abs=50)  # five standard deviations


def test_ground_that_several_images_show_is_divided_among_them():
    nested = Grids((100, 100), (100, 100), (100, 100), apart=False)
    nested.grids.append(Grids((100, 100), (100, 100)).grids[1])
    rows = [w.row for w in RandomWindows(nested, window_px=32, length=3000)]
    assert rows.count(3) == pytest.approx(1500, abs=140)
    assert rows.count(0) == pytest.approx(500, abs=100)


@pytest.mark.parametrize("shape", [(64, 64), (65, 200), (40, 300), (30, 20), (256, 256)])
def test_every_pixel_is_seen_and_borders_nearly_as_often(shape):
    dataset = Grids(shape)
    (counts,) = covered(dataset, list(RandomWindows(dataset, window_px=64, length=4000)))
    assert counts.min() > 0
    corner, middle = counts[0, 0], counts[shape[0] // 2, shape[1] // 2]
    assert corner > middle / 100


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 100), st.floats(0.5, 2))
def test_windows_have_their_size_and_meet_their_image(height, width, window, zoom):
    dataset = Grids((height, width))
    for drawn in RandomWindows(dataset, window_px=window, length=5, zoom=(zoom, zoom)):
        assert drawn.shape_hw == (window, window)
        x, y = drawn
        west, south, east, north = dataset.grids[0].bounds
        assert x.start < east
        assert x.stop > west
        assert y.start < north
        assert y.stop > south


def test_zoom_is_even_in_its_logarithm():
    dataset = Grids((2000, 2000))
    windows = RandomWindows(dataset, window_px=64, length=2000, zoom=(0.5, 2))
    factors = np.log2([w[0].step / 0.5 for w in windows])
    assert np.abs(factors).max() < 1.01
    histogram, _ = np.histogram(factors, bins=4, range=(-1, 1))
    assert np.abs(histogram - 500).max() < 100


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=3),
    st.integers(1, 64),
)
def test_a_grid_of_windows_shows_every_pixel_once(shapes, window):
    dataset = Grids(*shapes)
    windows = GridWindows(dataset, window_px=window)
    assert len(windows) == len(list(windows))
    for counts in covered(dataset, list(windows)):
        assert (counts == 1).all()


@pytest.mark.parametrize(
    ("window", "length", "zoom"), [(4, 1, (2, 1)), (4, 1, (0, 1)), (0, 1, (1, 1)), (4, 0, (1, 1))]
)
def test_settings_that_make_no_sense_are_refused(window, length, zoom):
    with pytest.raises(CatalogError, match="random windows need"):
        RandomWindows(Grids((9, 9)), window_px=window, length=length, zoom=zoom)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # while writing
def test_images_without_place_are_sampled_too(tif, tmp_path):
    path = tif("a.tif", np.ones((1, 50, 50), np.uint8), crs=None)
    index([path], tmp_path / "c", georeference=False)
    dataset = Catalog.open(tmp_path / "c").dataset(labels=False)
    (window,) = RandomWindows(dataset, window_px=16, length=1)
    assert dataset[window]["image"].shape == (1, 16, 16)


def test_windows_around_objects_show_one_in_their_inner_two_thirds(tif, vectors, tmp_path):
    corners = [(500_010, 2_999_990), (500_090, 2_999_920)]
    labels = vectors("h.gpkg", [shapely.box(x - 1, y - 1, x + 1, y + 1) for x, y in corners])
    path = tif("a.tif", np.ones((1, 200, 200), np.uint8))
    dataset = index([path], tmp_path / "c", labels=labels).catalog.dataset()
    seen = set()
    for window in RandomWindows(dataset, window_px=60, length=200, object_share=1.0):
        x, y = window
        inner = [
            abs(cx - (x.start + x.stop) / 2) <= (x.stop - x.start) / 3 + 0.5
            and abs(cy - (y.start + y.stop) / 2) <= (y.stop - y.start) / 3 + 0.5
            for cx, cy in corners
        ]
        assert sum(inner) == 1
        seen.add(inner.index(True))
    assert seen == {0, 1}
