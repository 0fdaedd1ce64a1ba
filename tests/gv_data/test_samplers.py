"""Windows that show what they should as often as they should, in torchgeo's terms."""

from collections.abc import Iterable

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from pyproj import CRS, Transformer
from torchgeo.datasets import RasterDataset
from torchgeo.samplers import RandomTimestampSampler, SequentialTimestampSampler

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.grid import Grid
from gv_data.intake.indexing import index
from gv_data.store.grids import Grids
from gv_data.windows.dataset import CatalogDataset
from gv_data.windows.places import whole_images, windows_around
from gv_data.windows.random_windows import RandomWindows, _Layers
from gv_data.windows.samplers import GridWindows, ListedWindows, WindowSampler
from gv_data.windows.windows import ImageSlice, Windows

UTM = CRS("EPSG:32637")


def tile(x_px: float, y_px: float, height: int, width: int, crs: CRS | None = UTM) -> Grid:
    """Pixels of half a metre, some of them east and south of a corner."""
    west, north = 500_000 + 0.5 * x_px, 3_000_000 - 0.5 * y_px
    return Grid(crs, Affine(0.5, 0, west, 0, -0.5, north), height, width)


class Tiles(CatalogDataset):
    """What samplers ask of a dataset, without files."""

    def __init__(self, *grids: Grid) -> None:
        self.grids = Grids.of(grids)

    def __len__(self) -> int:
        return len(self.grids)


def apart(*shapes: tuple[int, int]) -> Tiles:
    """Tiles that do not touch."""
    return Tiles(*(tile(5000 * n, 0, *hw) for n, hw in enumerate(shapes)))


def edges(dataset: CatalogDataset | WindowSampler, windows: Iterable[ImageSlice]) -> np.ndarray:
    """First row, first column, last row and last column of each window in its image."""
    return np.array(
        [
            dataset.grids[w.row].rows_columns((w[0].start, w[1].start, w[0].stop, w[1].stop))
            for w in windows
        ]
    )


def covered(dataset: CatalogDataset, windows: Windows) -> list[np.ndarray]:
    """How often each pixel of each image is seen."""
    counts = [np.zeros(grid.shape_hw, int) for grid in dataset.grids]
    for row, sides in zip(windows.rows, edges(dataset, windows), strict=True):
        top, left, bottom, right = (max(0, round(side)) for side in sides)
        counts[row][top:bottom, left:right] += 1
    return counts


def said(windows: Iterable[ImageSlice]) -> list[tuple]:
    return [(tuple(w), w.row, w.seed) for w in windows]


def test_seed_and_epoch_decide_the_windows():
    dataset = apart((100, 200), (64, 64))
    sampler = RandomWindows(dataset, window_px=32, length=20, zoom=(0.5, 2), seed=1)
    first = said(sampler.windows())
    assert said(sampler) == first
    longer = RandomWindows(dataset, window_px=32, length=9000, zoom=(0.5, 2), seed=1)
    assert said(longer.windows()[:20]) == first
    sampler.set_epoch(1)
    assert not set(said(sampler)) & set(first)
    other = RandomWindows(dataset, window_px=32, length=20, zoom=(0.5, 2), seed=2)
    assert not set(said(other)) & set(first)
    assert len(first) == len(sampler) == 20
    assert len({seed for *_, seed in first}) == 20


def test_a_seed_gives_the_same_windows_on_any_day():
    sampler = RandomWindows(apart((100, 200), (64, 64)), window_px=32, length=3, seed=7)
    windows = sampler.windows()
    assert windows.rows.tolist() == [1, 0, 0]
    assert edges(sampler, windows)[:, :2].tolist() == [[7, 9], [20, 47], [54, 105]]
    assert windows.seeds.tolist() == [11307155, 955794088, 462371908]


def test_an_image_as_small_as_the_window_is_drawn_in_proportion_to_its_area():
    windows = RandomWindows(apart((64, 64), (640, 320)), window_px=64, length=5100).windows()
    assert (windows.rows == 0).sum() == pytest.approx(5100 / 51, abs=50)  # 5 standard deviations


def test_tiles_of_the_windows_size_are_each_drawn_and_drawn_exactly():
    dataset = Tiles(*(tile(64 * n, 64 * (n % 7), 64, 64) for n in range(100)))
    for overhang in (0, 0.125):
        sampler = RandomWindows(dataset, window_px=64, length=3000, overhang=overhang)
        windows = sampler.windows()
        assert len(windows) == 3000
        assert set(windows.rows) == set(range(100))
        np.testing.assert_array_equal(edges(dataset, windows), np.tile([0, 0, 64, 64], (3000, 1)))


def test_nearly_every_pixel_of_a_tile_is_drawn():
    dataset = apart((1024, 1024))
    (counts,) = covered(dataset, RandomWindows(dataset, window_px=256, length=20_000).windows())
    assert (counts == 0).mean() < 0.005


@pytest.mark.parametrize("shape", [(64, 64), (65, 200), (40, 300), (30, 20), (256, 256)])
def test_windows_that_overhang_show_borders_nearly_as_often(shape):
    dataset = apart(shape)
    sampler = RandomWindows(dataset, window_px=64, length=4000, overhang=0.125)
    (counts,) = covered(dataset, sampler.windows())
    assert counts.min() > 0
    assert counts[0, 0] > counts[shape[0] // 2, shape[1] // 2] / 100


def test_ground_that_several_images_show_is_seen_as_often_as_other_ground():
    nested = Tiles(*(tile(0, 0, 100, 100) for _ in range(3)), tile(5000, 0, 100, 100))
    rows = RandomWindows(nested, window_px=32, length=3000).windows().rows
    assert (rows == 3).sum() == pytest.approx(1500, abs=140)
    assert (rows == 0).sum() == pytest.approx(500, abs=100)


@pytest.mark.parametrize("other", ["EPSG:32637", "EPSG:32636"])
def test_the_overlap_of_two_images_is_seen_as_often_as_other_ground(other):
    first = tile(0, 0, 400, 400)
    corner = Transformer.from_crs(UTM, other, always_xy=True).transform(500_100, 3_000_000)
    second = Grid(CRS(other), Affine(0.5, 0, corner[0], 0, -0.5, corner[1]), 400, 400)
    dataset = Tiles(first, second)
    windows = RandomWindows(dataset, window_px=4, length=6000).windows()
    x, y = (windows.bounds[:, :2] + windows.bounds[:, 2:]).T / 2
    moved = Transformer.from_crs(other, UTM, always_xy=True).transform
    x = np.where(windows.rows == 0, x, moved(x, y)[0])
    thirds, _ = np.histogram(x, bins=[499_000, 500_100, 500_200, 501_000])
    np.testing.assert_allclose(thirds, 2000, atol=250)  # the second third is shown twice


def test_neighbours_share_no_ground():
    mosaic = Tiles(*(tile(64 * (n % 8), 64 * (n // 8), 64, 64) for n in range(64)))
    sampler = RandomWindows(mosaic, window_px=16, length=10)
    assert (_Layers(mosaic.grids).alike == 1).all()
    drawn = sampler._draw(np.random.default_rng(0).random((500, 7)))
    assert len(drawn) == 500  # none is left out


SIDES = st.integers(1, 200)


@settings(deadline=None, max_examples=50)
@given(SIDES, SIDES, st.integers(1, 100), st.floats(0.5, 2), st.integers(0, 9))
def test_windows_have_their_size_and_lie_inside_or_hold_all(height, width, window, zoom, seed):
    dataset = apart((height, width))
    sampler = RandomWindows(dataset, window_px=window, length=5, zoom=(zoom, zoom), seed=seed)
    west, south, east, north = dataset.grids[0].bounds
    for x, y in sampler:
        for side, low, high in ((x, west, east), (y, south, north)):
            assert round((side.stop - side.start) / side.step) == window
            inside = low - 1e-6 <= side.start and side.stop <= high + 1e-6
            holding = side.start <= low + 1e-6 and side.stop >= high - 1e-6
            assert inside or holding


def test_zoom_is_even_in_its_logarithm():
    windows = RandomWindows(apart((2000, 2000)), window_px=64, length=2000, zoom=(0.5, 2))
    factors = np.log2([w[0].step / 0.5 for w in windows])
    assert np.abs(factors).max() < 1.01
    histogram, _ = np.histogram(factors, bins=4, range=(-1, 1))
    assert np.abs(histogram - 500).max() < 100


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=3),
    st.integers(1, 64),
    st.floats(0, 1),
)
def test_a_grid_of_windows_shows_every_pixel(shapes, window, share):
    dataset = apart(*shapes)
    stride = max(1, round(window * share))
    sampler = GridWindows(dataset, window_px=window, stride_px=stride)
    windows = sampler.windows()
    assert len(sampler) == len(windows) == len(list(sampler))
    for counts in covered(dataset, windows):
        assert (counts == 1).all() if stride == window else (counts >= 1).all()
    starts = edges(dataset, windows)[:, :2]
    assert (np.abs(starts - np.rint(starts / stride) * stride) < 1e-6).all()
    for row, grid in enumerate(dataset.grids):  # none lies outside, none could be left out
        first = starts[windows.rows == row]
        assert (first < grid.shape_hw).all()
        last = first.max(axis=0)
        assert ((last - stride + window < grid.shape_hw) | (last == 0)).all()


def test_a_grid_on_tiles_of_the_windows_size_is_the_tiles():
    dataset = Tiles(*(tile(300 * n, 17 * n, 256, 256) for n in range(100)))
    windows = GridWindows(dataset, window_px=256).windows()
    np.testing.assert_array_equal(windows.bounds, [grid.bounds for grid in dataset.grids])


def test_strides_that_leave_pixels_out_are_refused():
    for stride in (0, 65, -1):
        with pytest.raises(CatalogError, match=f"every {stride} px do not cover"):
            GridWindows(apart((90, 90)), window_px=64, stride_px=stride)


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_processes_share_an_epoch_without_a_window_in_common(ranks):
    dataset = apart((300, 200), (64, 64))
    listed = GridWindows(dataset, window_px=32).windows()
    listed = listed.seeded(np.arange(len(listed)))
    for make in (
        lambda **own: RandomWindows(dataset, window_px=32, length=50, **own),
        lambda **own: GridWindows(dataset, window_px=32, **own),
        lambda **own: ListedWindows(dataset, listed, **own),
    ):
        every = said(make())
        shares = [make(rank=rank, ranks=ranks) for rank in range(ranks)]
        assert [len(share) for share in shares] == [len(list(share)) for share in shares]
        taken = [one for share in shares for one in said(share)]
        assert len(set(taken)) == len(taken)
        assert set(every) <= set(taken)
        assert len(taken) - len(every) < ranks
    assert (
        len(
            {
                len(RandomWindows(dataset, window_px=32, length=50, rank=r, ranks=ranks))
                for r in range(ranks)
            }
        )
        == 1
    )
    with pytest.raises(CatalogError, match="process 2 of 2"):
        GridWindows(dataset, window_px=32, rank=2, ranks=2)


def test_lightning_divides_the_windows_of_each_epoch_itself():
    sampler = RandomWindows(apart((300, 200)), window_px=32, length=50)
    epochs = []
    for epoch in (0, 1):
        shares = [
            DistributedSamplerWrapper(sampler, num_replicas=2, rank=rank, shuffle=False)
            for rank in (0, 1)
        ]
        for share in shares:
            share.set_epoch(epoch)
        windows = [said(share) for share in shares]
        assert [len(share) for share in windows] == [25, 25]
        epochs.append(set(windows[0]) | set(windows[1]))
        assert len(epochs[-1]) == 50
    assert not epochs[0] & epochs[1]


def test_a_list_comes_in_its_order_or_shuffled_anew_each_epoch():
    dataset = apart((320, 320))
    listed = GridWindows(dataset, window_px=32).windows()[::2]
    sampler = ListedWindows(dataset, listed)
    assert said(sampler) == said(listed)
    assert sampler.strategy == "sequential"
    shuffled = ListedWindows(dataset, listed, shuffle=True)
    orders = []
    for epoch in (0, 1, 0):
        shuffled.set_epoch(epoch)
        orders.append(said(shuffled))
        assert sorted(tuple(w) for w, *_ in orders[-1]) == sorted(tuple(w) for w in listed)
    assert orders[0] == orders[2] != orders[1]
    assert shuffled.strategy == "random"
    shares = [ListedWindows(dataset, listed, shuffle=True, rank=r, ranks=3) for r in range(3)]
    assert [len(list(share)) for share in shares] == [17, 17, 17]
    assert {w[0] for share in shares for w in said(share)} == {tuple(w) for w in listed}


def test_lists_that_show_nothing_or_another_view_are_refused():
    windows = GridWindows(apart((64, 64), (64, 64)), window_px=64).windows()
    with pytest.raises(CatalogError, match="no windows"):
        ListedWindows(apart((64, 64)), windows[:0])
    with pytest.raises(CatalogError, match="image 1 of 1: the table was made for another view"):
        ListedWindows(apart((64, 64)), windows)


def test_windows_are_a_table_that_can_be_kept_filtered_and_drawn(tmp_path):
    dataset = apart((200, 200), (64, 64))
    windows = RandomWindows(dataset, window_px=32, length=50).windows()
    frame = windows.frame(dataset.grids, ["a", "b"])
    assert frame.crs == UTM
    np.testing.assert_array_equal(frame.bounds, windows.bounds)
    frame[frame["id"] == "b"].to_parquet(tmp_path / "windows.parquet")
    kept = Windows.of_frame(gpd.read_parquet(tmp_path / "windows.parquet"), ["c", "b"])
    assert [w[:1] + w[2:] for w in said(kept)] == [
        w[:1] + w[2:] for w in said(windows[windows.rows == 1])
    ]
    assert set(kept.rows) == {1}
    with pytest.raises(CatalogError, match=r"of 50 windows .* does not have, a for one"):
        Windows.of_frame(frame, ["b"])


def test_a_table_over_several_crs_is_in_degrees():
    other = Grid(CRS("EPSG:3857"), Affine(1, 0, 4e6, 0, -1, 3e6), 50, 50)
    nowhere = Grid(None, Affine.identity(), 50, 50)
    dataset = Tiles(tile(0, 0, 50, 50), other, nowhere)
    frame = whole_images(dataset.grids).frame(dataset.grids, ["a", "b", "c"])
    assert frame.crs == "OGC:CRS84"
    for row in (0, 1):
        assert frame.geometry[row].bounds == pytest.approx(dataset.grids[row].lonlat_bounds())
    assert frame.geometry[2] is None


@pytest.mark.parametrize(
    ("window", "length", "zoom"), [(4, 1, (2, 1)), (4, 1, (0, 1)), (0, 1, (1, 1)), (4, 0, (1, 1))]
)
def test_settings_that_make_no_sense_are_refused(window, length, zoom):
    with pytest.raises(CatalogError, match="random windows need"):
        RandomWindows(apart((9, 9)), window_px=window, length=length, zoom=zoom)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # while writing
def test_images_without_place_are_sampled_too(tif, tmp_path):
    values = np.arange(2500, dtype=np.uint16).reshape(1, 50, 50)
    index([tif("a.tif", values, crs=None)], tmp_path / "c", georeference=False)
    dataset = Catalog.open(tmp_path / "c").dataset(labels=False)
    (window,) = RandomWindows(dataset, window_px=16, length=1)
    x, y = window
    part = values[:, int(y.start) : int(y.stop), int(x.start) : int(x.stop)]
    np.testing.assert_array_equal(dataset[window]["image"].numpy(), part)
    (window,) = ListedWindows(dataset, whole_images(dataset.grids))
    np.testing.assert_array_equal(dataset[window]["image"].numpy(), values)
    (window,) = ListedWindows(dataset, whole_images(dataset.grids, window_px=25))
    means = values.reshape(25, 2, 25, 2).mean(axis=(1, 3))
    assert np.abs(dataset[window]["image"].numpy()[0] - means).max() <= 1


@pytest.fixture
def houses(tif, vectors, tmp_path) -> CatalogDataset:
    """Two images, the second showing the eastern half of the first; four of five houses west."""
    corners = [(500_000 + x, 3_000_000 - y) for x in (10, 40) for y in (10, 40)]
    corners.append((500_075, 2_999_925))
    labels = vectors("h.gpkg", [shapely.box(x - 1, y - 1, x + 1, y + 1) for x, y in corners])
    ones = np.ones((1, 200, 200), np.uint8)
    east = Affine(0.5, 0, 500_050, 0, -0.5, 3_000_000)
    for name, transform in (("a", Affine(0.5, 0, 500_000, 0, -0.5, 3_000_000)), ("b", east)):
        path = tif(f"{name}.tif", ones, transform=transform)
        index([path], tmp_path / "c", labels=labels, place=name, append=True)
    return Catalog.open(tmp_path / "c").dataset()


def test_windows_around_labels_show_each_as_often_in_their_inner_two_thirds(houses):
    labels = houses.labels_of(houses.images[0]).shapes.centroid
    sampler = RandomWindows(houses, window_px=60, length=2000, object_share=1.0)
    seen = np.zeros(5, int)
    for x, y in sampler:
        away = [
            max(abs(c.x - (x.start + x.stop) / 2), abs(c.y - (y.start + y.stop) / 2))
            for c in labels
        ]
        assert min(away) <= (x.stop - x.start) / 3 + 0.5
        seen[np.argmin(away)] += 1
    np.testing.assert_allclose(seen, 400, atol=90)  # though two images show the last


def test_weights_decide_how_often_an_image_is_drawn(houses):
    def rows(weight):
        return RandomWindows(houses, window_px=8, length=1000, weight=weight).windows().rows

    assert (rows([1, 3]) == 1).sum() == pytest.approx(750, abs=70)
    assert (rows("objects") == 1).sum() == pytest.approx(1000 / 6, abs=60)  # 5 labels and 1
    assert set(rows("CASE WHEN place = 'b' THEN 2 END")) == {1}
    both = rows("1 / count(*) OVER (PARTITION BY place)")
    assert (both == 1).sum() == pytest.approx(500, abs=80)
    statistics = "(SELECT max(mean) FROM statistics s WHERE s.id = images.id) * (id = 'a/a')::INT"
    assert set(rows(statistics)) == {0}
    area = "(SELECT area_m2 FROM labels l WHERE l.id = images.id AND class = 'object')"
    assert (rows(area) == 1).sum() == pytest.approx(1000 / 6, abs=60)
    around_labels = RandomWindows(
        houses, window_px=8, length=1000, weight=[1, 1], object_share=1.0
    ).windows()
    assert (around_labels.rows == 1).sum() == pytest.approx(500, abs=80)


@pytest.mark.parametrize(
    ("weight", "reason"),
    [
        ([1], "one number an image"),
        ([1, -1], "not below 0"),
        ([0, 0], "not all 0"),
        ([1, float("nan")], "finite"),
        ("NULL", "not all 0"),
        ("nothing", '"nothing" not found'),
        ("1; SELECT 2", "syntax error"),
        ("(SELECT content FROM read_text('/etc/hosts'))", "disabled"),
    ],
)
def test_weights_that_say_nothing_are_refused(houses, weight, reason):
    with pytest.raises(CatalogError, match=reason):
        RandomWindows(houses, window_px=8, length=1, weight=weight)


def test_windows_lie_around_points_in_any_crs():
    dataset = Tiles(tile(0, 0, 200, 200), tile(100, 0, 200, 200), tile(5000, 0, 64, 64))
    xy = [
        (500_010.3, 2_999_980.1),
        (500_070, 2_999_950),
        (499_000, 3_000_000),
        (502_510, 2_999_990),
    ]
    points = gpd.GeoSeries(shapely.points(xy), crs=UTM)
    for places in (points, points.to_crs("EPSG:4326"), gpd.GeoDataFrame(geometry=points)):
        windows, numbers = windows_around(dataset.grids, places, window_px=32)
        assert numbers.tolist() == [0, 1, 1, 3]
        assert windows.rows.tolist() == [0, 0, 1, 2]
        middles = (windows.bounds[:, :2] + windows.bounds[:, 2:]) / 2
        assert np.abs(middles - np.array(xy)[numbers]).max() <= 0.2501
        offsets = edges(dataset, windows)
        np.testing.assert_allclose(offsets, np.rint(offsets), atol=1e-6)


def test_a_polygon_larger_than_a_window_is_covered_by_several():
    dataset = apart((400, 400))
    field = shapely.Polygon([(500_010, 2_999_990), (500_180, 2_999_990), (500_010, 2_999_820)])
    windows, numbers = windows_around(dataset.grids, gpd.GeoSeries([field], crs=UTM), window_px=64)
    assert set(numbers) == {0}
    boxes = shapely.box(*windows.bounds.T)
    assert shapely.union_all(boxes).buffer(1e-6).covers(field)
    assert shapely.intersects(boxes, field).all()
    assert 30 > len(boxes) > field.area / 32**2
    (one,) = windows_around(
        dataset.grids, gpd.GeoSeries([field.buffer(500)], crs=UTM), window_px=400
    )[0]
    assert tuple(one) == tuple(GridWindows(dataset, window_px=400).windows()[0])


def test_places_that_are_nowhere_are_refused():
    grids = apart((64, 64)).grids
    far = gpd.GeoSeries([shapely.Point(0, 0)], crs=UTM)
    with pytest.raises(CatalogError, match="none of 1 places lies on an image"):
        windows_around(grids, far, window_px=8)
    with pytest.raises(CatalogError, match="without CRS"):
        windows_around(grids, gpd.GeoSeries([shapely.Point(0, 0)]), window_px=8)


@pytest.fixture
def dated(tif, tmp_path) -> CatalogDataset:
    """The same ground on three days, and a neighbour on the first."""
    places = [(0, "a1"), (0, "a2"), (0, "a3"), (90, "b1")]
    for n, (east, name) in enumerate(places):
        values = np.full((1, 60, 60), n + 1, np.uint8)
        tif(f"{name}.tif", values, transform=Affine(0.5, 0, 500_000 + east / 2, 0, -0.5, 3e6))
    index(sorted(tmp_path.glob("*.tif")), tmp_path / "c")
    table = tmp_path / "c" / "images.parquet"
    frame = gpd.read_parquet(table)
    days = pd.to_datetime("2026-06-0" + frame["id"].str[1], utc=True)
    frame.assign(start=days, end=days + pd.Timedelta(hours=1)).to_parquet(table)
    return Catalog.open(tmp_path / "c").dataset(labels=False)


def test_windows_times_torchgeos_days_show_each_day(dated):
    places = GridWindows(dated, window_px=60).windows().distinct()
    sampler = ListedWindows(dated, places) @ SequentialTimestampSampler(dated)
    assert [int(dated[query]["image"].unique()) for query in sampler] == [1, 2, 3, 4]
    drawn = RandomWindows(dated, window_px=20, length=200, seed=1)
    sampler = drawn @ RandomTimestampSampler(dated, generator=0)
    assert len(sampler) == 200
    seen = [int(dated[query]["image"].max()) for query in sampler]
    assert set(seen) == {1, 2, 3, 4}


def test_times_that_run_backwards_are_refused(dated):
    table = dated.catalog.path / "images.parquet"
    frame = gpd.read_parquet(table)
    frame["end"] = frame["start"] - pd.Timedelta(days=1)
    frame.to_parquet(table)
    with pytest.raises(CatalogError, match="ends before it starts"):
        _ = Catalog.open(dated.catalog.path).dataset(labels=False).index


def test_torchgeos_own_datasets_can_be_sampled(tif, tmp_path):
    values = np.random.default_rng(0).integers(0, 9999, (1, 100, 120), dtype=np.uint16)
    for n in range(3):
        tif(f"t/{n}.tif", values + n, transform=Affine(0.5, 0, 5e5 + 1000 * n, 0, -0.5, 3e6))
    dataset = RasterDataset(tmp_path / "t")
    samplers = [
        RandomWindows(dataset, window_px=40, length=30),
        GridWindows(dataset, window_px=20),
        ListedWindows(dataset, GridWindows(dataset, window_px=20).windows(), shuffle=True),
    ]
    for sampler in samplers:
        assert sampler.geometry.equals(dataset.index.geometry.union_all())
        rows = set()
        for query in sampler:
            image = dataset[query]["image"].numpy()
            with rasterio.open(dataset.index.filepath.iloc[query.row]) as file:
                x, y = query
                window = rasterio.windows.from_bounds(
                    x.start, y.start, x.stop, y.stop, file.transform
                )
                expected = file.read(window=window.round_offsets().round_lengths())
            np.testing.assert_array_equal(image, expected)
            rows.add(query.row)
        assert rows == {0, 1, 2}
    with pytest.raises(CatalogError, match="needs a catalog: give numbers"):
        RandomWindows(dataset, window_px=8, length=1, weight="objects")
    with pytest.raises(CatalogError, match="need a catalog"):
        RandomWindows(dataset, window_px=8, length=1, object_share=0.5)
