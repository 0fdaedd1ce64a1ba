"""Series of dates against rasterio, date by date."""

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.features
import rasterio.merge
import shapely
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from torch.utils.data import DataLoader
from torchgeo.samplers import GriddedPatchSampler

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError, SampleError
from gv_data.grid import Grid
from gv_data.images import Image
from gv_data.intake.image_row import Part
from gv_data.intake.indexing import index
from gv_data.rasters.open_scenes import OpenScenes
from gv_data.sources import Source
from gv_data.windows.datamodule import DataModule
from gv_data.windows.dataset import IGNORE
from gv_data.windows.pixels import NO_DATE, PixelReader
from gv_data.windows.places import windows_around
from gv_data.windows.random_windows import RandomWindows
from gv_data.windows.samplers import GridWindows, ListedWindows
from gv_data.windows.transforms import turn
from gv_data.windows.windows import ImageSlice

RNG = np.random.default_rng(5)
WEST, NORTH = 500_000, 3_000_000
HOUSE = shapely.box(WEST + 5, NORTH - 20, WEST + 15, NORTH - 12)


def dated(folder: Path, times: dict[str, str]) -> Catalog:
    """A catalog whose images get times by the names of their files."""
    table = folder / "images.parquet"
    frame = gpd.read_parquet(table)
    found = pd.to_datetime(
        frame["id"].str.rpartition("/")[2].map(times), utc=True, format="ISO8601"
    )
    frame.assign(start=found).to_parquet(table)
    return Catalog.open(folder)


@pytest.fixture
def farms(tif, tmp_path) -> Callable[..., Catalog]:
    """Places side by side, each with some dates: ids are not in the order of time."""

    def make(*counts: int, labels: Path | None = None, **profile: object) -> Catalog:
        times = {}
        for place, count in enumerate(counts):
            corner = Affine(0.5, 0, WEST + 30 * place, 0, -0.5, NORTH)
            files = []
            for n in range(count):
                values = RNG.integers(1, 9999, (2, 50, 60), dtype=np.uint16)
                values[:, n : n + 4, 7:20] = 0
                name = f"{'xyz'[place]}{(n * 7) % 10}"
                times[name] = f"2026-05-{1 + n:02d}T10:30:00"
                files.append(tif(f"{name}.tif", values, transform=corner, nodata=0, **profile))
            index(files, tmp_path / "c", place="xyz"[place], labels=labels, append=True)
        return dated(tmp_path / "c", times)

    return make


def files_of(catalog: Catalog, place: str) -> list[str]:
    """The files of a place in the order of their dates."""
    ids = catalog.sql(f"SELECT image FROM images WHERE place = '{place}' ORDER BY start")
    return [
        str(Path(catalog.sources[0].root) / f"{Path(n).name}") for n in ids["image"].to_pylist()
    ]


def read(path: str, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """What rasterio reads from whole pixels, 0 beyond the image."""
    with rasterio.open(path) as file:
        window = rasterio.windows.from_bounds(*grid.bounds, transform=file.transform)
        values = file.read(window=window, boundless=True, fill_value=0)
        return values, file.read_masks(1, window=window, boundless=True) > 0


@pytest.mark.parametrize(("row", "column"), [(0, 0), (-6, 33), (31, 17)])
def test_every_date_of_an_item_is_what_rasterio_reads(farms, row, column):
    catalog = farms(3, 5)
    dataset = catalog.dataset(stack="place", labels=False)
    assert len(dataset) == len(dataset.grids) == len(dataset.images) == 2
    for item, (place, count) in enumerate((("x", 3), ("y", 5))):
        grid = dataset.grids[item].part(row, column, 30, 40)
        sample = dataset[ImageSlice.of(item, grid, 0)]
        files = files_of(catalog, place)
        assert len(files) == count
        expected = [read(file, grid) for file in files]
        np.testing.assert_array_equal(sample["image"], np.stack([e[0] for e in expected]))
        np.testing.assert_array_equal(sample["valid"], np.stack([e[1] for e in expected]))
        first = (dt.date(2026, 5, 1) - dt.date(1970, 1, 1)).days
        assert sample["dates"].tolist() == list(range(first, first + count))
        assert [sample[key].dtype for key in ("image", "valid", "dates")] == [
            torch.float32,
            torch.bool,
            torch.int64,
        ]
        assert tuple(sample["transform"].tolist()) == tuple(grid.transform)


def test_days_are_counted_from_1970_and_times_of_one_day_stay_in_order(tif, tmp_path):
    times = {
        "a": "2026-06-01T23:59:59.999",
        "b": "1969-12-31T00:00:00",
        "c": "2026-06-01T00:00:00",
        "d": "1969-12-31T23:00:00",
        "e": "2026-06-01T12:00:00+14:00",  # still the last of May in Greenwich
        "f": "1912-02-29T06:00:00",
    }
    for n, name in enumerate(times):
        tif(f"{name}.tif", np.full((1, 4, 4), n + 1, np.uint8))
    index(sorted(tmp_path.glob("*.tif")), tmp_path / "c", place="p")
    sample = dated(tmp_path / "c", times).dataset(stack="place", labels=False)[0]
    names = ["abcdef"[int(value) - 1] for value in sample["image"][:, 0, 0, 0]]
    assert names == ["f", "b", "d", "e", "c", "a"]
    moments = [dt.datetime.fromisoformat(times[name]) for name in names]
    moments = [m if m.tzinfo else m.replace(tzinfo=dt.UTC) for m in moments]
    epoch = dt.date(1970, 1, 1)
    assert sample["dates"].tolist() == [(m.astimezone(dt.UTC).date() - epoch).days for m in moments]


def test_dates_on_other_grids_are_laid_on_that_of_the_labelled_image(tif, vectors, tmp_path):
    smooth = np.add.outer(np.arange(120), np.arange(160)).astype(np.float32)[None] + 10
    x, y = Transformer.from_crs(32637, 32636, always_xy=True).transform(WEST, NORTH)
    tif("a.tif", smooth, crs="EPSG:32636", transform=Affine(0.5, 0, x - 5, 0, -0.5, y + 5))
    tif("b.tif", smooth[:, ::2, ::2], transform=Affine(1, 0, WEST - 3, 0, -1, NORTH + 2))
    tif("d.tif", smooth[:, ::-1], transform=Affine(0.5, 0, WEST, 0, 0.5, NORTH - 60))  # south up
    labelled = tif("c.tif", smooth)
    labels = vectors("h.gpkg", [HOUSE])
    index([labelled], tmp_path / "c", labels=labels, place="p")
    others = [tmp_path / f"{name}.tif" for name in "abd"]
    index(others, tmp_path / "c", place="p", append=True)
    times = {name: f"2026-06-0{n}" for n, name in enumerate("abcd", 1)}
    dataset = dated(tmp_path / "c", times).dataset(stack="place")
    sample = dataset[0]
    assert (sample["id"], dataset.grids[0]) == ("p/c", dataset.images[0].grid)
    assert sample["image"].shape == (4, 1, 120, 160)
    grid = dataset.grids[0]
    rows, columns = np.mgrid[:120, :160] + 0.5
    east, north = grid.transform.c + 0.5 * columns, grid.transform.f - 0.5 * rows
    for n, name in enumerate("abcd"):
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            to_file = Transformer.from_crs("EPSG:32637", file.crs, always_xy=True)
            column, row = (~file.transform) @ to_file.transform(east, north)
            height, width, factor = *file.shape, file.res[0] / 0.5
        ramp = factor * (row - 0.5 + column - 0.5) + 10  # linear, so that any kernel finds it
        if name == "d":  # its rows count from the south
            ramp = (119 - (row - 0.5)) + column - 0.5 + 10
        room = np.minimum.reduce([row, column, height - row, width - column])
        shown, found = sample["valid"][n].numpy(), sample["image"][n, 0].numpy()
        assert shown[room >= 1].all()
        assert not shown[room < -1].any()
        assert not found[~shown].any()
        assert np.abs(found - ramp)[room >= 1].max() < 0.1  # GDAL warps to an eighth of a pixel
    burnt = rasterio.features.rasterize([HOUSE], (120, 160), transform=grid.transform)
    known = sample["valid"].any(0).numpy()
    np.testing.assert_array_equal(sample["mask"], np.where(known, burnt, IGNORE))


def test_labels_are_known_where_any_date_shows_the_ground(tif, vectors, tmp_path):
    values = RNG.integers(1, 255, (2, 1, 60, 80), dtype=np.uint8)
    values[0, :, :20] = values[1, :, 10:40] = 0
    for name, image in zip("ab", values, strict=True):
        tif(f"{name}.tif", image, nodata=0)
    labels = vectors("h.gpkg", [HOUSE])
    index([tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "c", labels=labels, place="p")
    dataset = dated(tmp_path / "c", {"a": "2026-06-01", "b": "2026-06-02"}).dataset(stack="place")
    mask = dataset[0]["mask"].numpy()
    np.testing.assert_array_equal(mask == IGNORE, (values == 0).all(axis=(0, 1)))


def test_parts_of_files_are_stacked_by_part_and_show_nothing_beyond(tif, tmp_path):
    values = np.full((2, 1, 40, 80), 250, np.uint8)
    values[:, :, :, :40] = RNG.integers(10, 20, (2, 1, 40, 40))
    for name, image in zip("ab", values, strict=True):
        tif(f"{name}.tif", image)
    halves = [Part("-w", 0, 0, 40, 40), Part("-e", 0, 40, 40, 40)]
    paths = [tmp_path / "a.tif", tmp_path / "b.tif"]
    index(paths, tmp_path / "c", place="p", parts=lambda *_: halves)
    ids = [name.removeprefix("p/") for name in Catalog.open(tmp_path / "c").images.ids]
    catalog = dated(tmp_path / "c", {name: f"2026-06-0{1 + (name[0] == 'b')}" for name in ids})
    with pytest.raises(CatalogError, match="share no ground"):
        catalog.dataset(stack="place", labels=False)
    dataset = catalog.dataset(stack='"row", "column"', labels=False)
    for window in RandomWindows(dataset, window_px=16, length=40, zoom=(0.5, 2), overhang=0.5):
        sample = dataset[window]
        assert sample["image"].shape[:2] == (2, 1)
        if dataset.images[window.row].origin == (0, 0):
            shown = sample["image"][:, 0][sample["valid"]]
            assert ((shown >= 10) & (shown < 20)).all()


def test_a_part_of_a_file_is_not_warped(tif, tmp_path):
    values = np.full((1, 40, 80), 9, np.uint8)
    x, y = Transformer.from_crs(32637, 32636, always_xy=True).transform(WEST, NORTH)
    tif("a.tif", values)
    tif("b.tif", values, crs="EPSG:32636", transform=Affine(0.5, 0, x, 0, -0.5, y))
    index(
        [tmp_path / "a.tif", tmp_path / "b.tif"],
        tmp_path / "c",
        place="p",
        parts=lambda *_: [Part("", 0, 0, 40, 40)],
    )
    dataset = dated(tmp_path / "c", {"a": "2026-06-01", "b": "2026-06-02"}).dataset(
        stack="place", labels=False
    )
    with pytest.raises(SampleError, match=r"b is a part of .*warp the file"):
        dataset[0]


def test_samplers_choose_among_items_however_many_dates_they_have(farms):
    dataset = farms(1, 8).dataset(stack="place", labels=False)
    rows = RandomWindows(dataset, window_px=16, length=2000).windows().rows
    assert (rows == 0).mean() == pytest.approx(0.5, abs=0.07)  # six standard deviations
    grid = GridWindows(dataset, window_px=25)
    assert len(grid) == 2 * 2 * 3
    seen = sum(int(dataset[query]["valid"].shape[0] > 1) for query in grid)
    assert seen == 6
    places = gpd.GeoSeries([shapely.Point(WEST + 40, NORTH - 10)], crs="EPSG:32637")
    around, _ = windows_around(dataset.grids, places, window_px=8)
    (query,) = ListedWindows(dataset, around)
    assert (query.row, len(dataset[query]["dates"])) == (1, 8)


def test_sql_weighs_an_item_by_all_its_images(farms):
    dataset = farms(1, 4).dataset(stack="place", labels=False)

    def share(weight: str | list[int]) -> float:
        windows = RandomWindows(dataset, window_px=8, length=2000, weight=weight).windows()
        return (windows.rows == 0).mean()

    assert share("1") == pytest.approx(1 / 5, abs=0.06)
    assert share("1 / count(*) OVER (PARTITION BY place)") == pytest.approx(1 / 2, abs=0.07)
    assert share([3, 1]) == pytest.approx(3 / 4, abs=0.06)
    with pytest.raises(CatalogError, match="one number an image"):
        share([1] * 5)


def test_windows_around_labels_show_each_label_as_often(farms, vectors):
    roofs = [HOUSE, shapely.box(WEST + 40, NORTH - 20, WEST + 42, NORTH - 18)]
    dataset = farms(1, 6, labels=vectors("h.gpkg", roofs)).dataset(stack="place")
    owners, labels, _ = dataset.objects()
    assert sorted(zip(owners.tolist(), labels.tolist(), strict=True)) == [(0, 0), (1, 1)]
    sampler = RandomWindows(dataset, window_px=20, length=1000, object_share=1.0)
    assert (sampler.windows().rows == 0).mean() == pytest.approx(0.5, abs=0.1)


@settings(deadline=None)
@given(count=st.integers(1, 12), steps=st.integers(1, 15))
def test_steps_take_dates_evenly_and_fill_up_with_nothing(count, steps):
    chosen = evenly(count, steps)
    assert chosen == sorted(set(chosen))
    if steps >= count:
        assert chosen == list(range(count))
    elif steps > 1:
        assert (chosen[0], chosen[-1]) == (0, count - 1)
        gaps = np.diff(chosen)
        assert gaps.max() - gaps.min() <= 1


def evenly(count: int, steps: int) -> list[int]:
    """Positions of the dates that a reader takes of some."""

    class Days(PixelReader):
        def on(self, image: Image, grid: Grid):
            return np.full((1, 1, 1), int(image.id), np.float32), np.ones((1, 1), bool)

    first = catalog_image()
    images = [replace(first, id=str(n)) for n in range(count)]
    values, valid, dates = Days(OpenScenes()).series(
        images, 10 * np.arange(count), first.grid, bands=1, steps=steps
    )
    assert len(values) == len(valid) == len(dates) == steps
    taken = valid[:, 0, 0]
    assert (dates[taken] == 10 * values[taken, 0, 0, 0]).all()
    assert (dates[~taken] == NO_DATE).all()
    assert not values[~taken].any()
    assert (np.diff(taken.astype(int)) <= 0).all()  # what fills up comes last
    return values[taken, 0, 0, 0].astype(int).tolist()


def catalog_image() -> Image:
    """An image of one pixel without a file."""
    return Image(
        id="0",
        path=Path("0.tif"),
        driver="GTiff",
        grid=Grid(None, Affine.identity(), 1, 1),
        origin=(0, 0),
        bands=("red",),
        dtype="uint8",
        vectors=None,
        labelled_area=None,
        mask=None,
        label=None,
        assets={},
        source=Source("."),
        place=None,
        split=None,
        objects=None,
    )


def test_series_of_other_lengths_make_a_batch_of_steps(farms):
    dataset = farms(2, 5).dataset(stack="place", labels=False, steps=3)
    (batch,) = DataLoader(dataset, 2)
    assert batch["image"].shape == (2, 3, 2, 50, 60)
    first = (dt.date(2026, 5, 1) - dt.date(1970, 1, 1)).days
    assert (batch["dates"] - first * (batch["dates"] > 0)).tolist() == [[0, 1, -1], [0, 2, 4]]
    assert batch["valid"].flatten(2).any(2).tolist() == [[True, True, False], [True] * 3]


@pytest.mark.parametrize(("workers", "context"), [(2, "fork"), (1, "spawn")])
def test_loaders_give_the_same_series_in_any_process(farms, workers, context):
    catalog = farms(3, 3)
    dataset = catalog.dataset(
        stack="place", labels=False, steps=4, series={"again": catalog}, transforms=turn
    )

    def loaded(workers: int, context: str | None) -> list[dict]:
        windows = RandomWindows(dataset, window_px=16, length=6)
        return list(
            DataLoader(
                dataset, 2, sampler=windows, num_workers=workers, multiprocessing_context=context
            )
        )

    for one, two in zip(loaded(0, None), loaded(workers, context), strict=True):
        for key in ("image", "valid", "dates", "again", "again_valid", "again_dates"):
            assert torch.equal(one[key], two[key])


def test_torchgeos_samplers_get_a_mosaic_of_series_with_the_same_dates(farms):
    catalog = farms(3, 3)
    dataset = catalog.dataset(stack="place", labels=False)
    assert list(dataset.index.index.left) == [pd.Timestamp("2026-05-01T10:30")] * 2
    crossing = 0
    for query in GriddedPatchSampler(dataset, size=20, stride=13):
        sample = dataset[query]
        west, east = query[0].start, query[0].stop
        for n, (left, right) in enumerate(zip(*(files_of(catalog, p) for p in "xy"), strict=True)):
            with rasterio.open(left) as one, rasterio.open(right) as two:
                bounds = (west, query[1].start, east, query[1].stop)
                merged = rasterio.merge.merge([one, two], bounds=bounds, res=0.5)
            assert merged is not None
            np.testing.assert_array_equal(sample["image"][n], merged[0])
            np.testing.assert_array_equal(sample["valid"][n], merged[0][0] > 0)
        crossing += west < WEST + 30 < east
    assert crossing


def test_a_window_over_series_of_other_dates_is_refused(farms):
    dataset = farms(2, 3).dataset(stack="place", labels=False)
    assert len(dataset[slice(WEST, WEST + 10), slice(NORTH - 10, NORTH)]["dates"]) == 2
    with pytest.raises(SampleError, match=r"series of other dates.*gv_data's samplers"):
        dataset[slice(WEST + 25, WEST + 35), slice(NORTH - 10, NORTH)]


def test_another_view_is_a_further_series_on_the_windows_pixels(tif, tmp_path):
    fine = RNG.integers(1, 255, (3, 80, 100), dtype=np.uint8)
    index([tif("ortho.tif", fine)], tmp_path / "fine")
    ramp = np.add.outer(np.arange(40), np.arange(50)).astype(np.float32)[None] + 5
    corner = Affine(2, 0, WEST - 20, 0, -2, NORTH + 20)
    for n, name in enumerate(("late", "early", "far")):
        place = corner @ Affine.translation(5000 * (name == "far"), 0)
        tif(f"s2/{name}.tif", ramp + 1000 * n, transform=place)
    x, y = Transformer.from_crs(32637, 32636, always_xy=True).transform(WEST, NORTH)
    warped = Affine(2, 0, x - 20, 0, -2, y + 20)
    tif("s2/warped.tif", ramp + 5000, crs="EPSG:32636", transform=warped)
    index([tmp_path / "s2"], tmp_path / "coarse")
    days = {
        "early": "2026-04-01",
        "warped": "2026-05-01",
        "late": "2026-06-01",
        "far": "2026-05-02",
    }
    s2 = dated(tmp_path / "coarse", days)
    dataset = Catalog.open(tmp_path / "fine").dataset(labels=False, series={"s2": s2})
    grid = dataset.grids[0].part(10, 20, 30, 40)
    sample = dataset[ImageSlice.of(0, grid, 0)]
    assert sample["image"].shape == (3, 30, 40)
    assert sample["s2"].shape == (3, 1, 30, 40)
    epoch = dt.date(1970, 1, 1)
    expected = [dt.date(2026, month, 1) for month in (4, 5, 6)]
    assert sample["s2_dates"].tolist() == [(day - epoch).days for day in expected]
    assert sample["s2_valid"].all()
    rows, columns = np.mgrid[:30, :40] + 0.5
    x, y = grid.transform.c + 0.5 * columns, grid.transform.f - 0.5 * rows
    seen = (x - corner.c) / 2 + (corner.f - y) / 2 - 1 + 5  # between centres the ramp is linear
    np.testing.assert_allclose(sample["s2"][0, 0], seen + 1000, atol=1e-3)
    np.testing.assert_allclose(sample["s2"][2, 0], seen, atol=1e-3)
    to_other = Transformer.from_crs(32637, 32636, always_xy=True)
    x, y = to_other.transform(x, y)
    seen = (x - warped.c) / 2 + (warped.f - y) / 2 - 1 + 5
    np.testing.assert_allclose(sample["s2"][1, 0], seen + 5000, atol=0.3)  # GDAL's tolerance
    beyond = dataset[ImageSlice.of(0, dataset.grids[0].part(900, 900, 10, 10), 0)]
    assert beyond["s2"].shape == (0, 1, 10, 10)
    filled = Catalog.open(tmp_path / "fine").dataset(labels=False, series={"s2": s2}, steps=2)
    assert filled[0]["s2_dates"].tolist() == [
        (day - epoch).days for day in (expected[0], expected[2])
    ]


def test_series_that_cannot_be_are_refused(farms, tif, vectors, tmp_path):
    catalog = farms(2, 2)
    bare = tmp_path / "bare"
    index([tmp_path / "x0.tif"], bare)
    with pytest.raises(CatalogError, match=r"column start, which .*bare lacks\n.*--dates"):
        Catalog.open(bare).dataset(stack="id", labels=False)
    with pytest.raises(CatalogError, match=r"column start, which .*bare lacks\n.*--dates"):
        catalog.dataset(series={"s2": Catalog.open(bare)}, labels=False)
    with pytest.raises(CatalogError, match="a series cannot be called 'mask'"):
        catalog.dataset(series={"mask": catalog}, labels=False)
    with pytest.raises(CatalogError, match=r"1 of 1 images .* lack, x0 for one"):
        dated(bare, {}).dataset(stack="image", labels=False)
    with pytest.raises(CatalogError, match=r"stack 'place, \)': .*syntax error"):
        catalog.dataset(stack="place, )", labels=False)
    with pytest.raises(CatalogError, match=r'"farm" not found[\s\S]*columns of images: id, image'):
        catalog.dataset(stack="farm", labels=False)
    with pytest.raises(CatalogError, match=r"1 of 4 images .* belong to no item, x/x0 for one"):
        catalog.dataset(stack="nullif(id, 'x/x0')", labels=False)
    with pytest.raises(CatalogError, match=r"share no ground.*\n.*name of the tile"):
        catalog.dataset(stack="1", labels=False)
    with pytest.raises(CatalogError, match=r"at least 1 and with stack or series; got 3"):
        catalog.dataset(steps=3, labels=False)
    with pytest.raises(CatalogError, match=r"at least 1 and with stack or series; got 0"):
        catalog.dataset(stack="place", steps=0, labels=False)
    with pytest.raises(CatalogError, match=r"2 of 2 images .* have no labels, x/x0 for one"):
        catalog.dataset(stack="place")


def test_images_with_other_bands_or_labels_are_not_one_item(tif, vectors, tmp_path):
    one, two = (vectors(f"{name}.gpkg", [HOUSE]) for name in ("one", "two"))
    values = RNG.integers(1, 255, (4, 60, 80), dtype=np.uint16)
    index([tif("a.tif", values[:3])], tmp_path / "c", labels=one, place="p")
    index([tif("b.tif", values[:3])], tmp_path / "c", labels=two, place="p", append=True)
    index([tif("c.tif", values)], tmp_path / "c", place="p", append=True)
    catalog = dated(tmp_path / "c", {n: f"2026-06-0{1 + 'abc'.index(n)}" for n in "abc"})
    with pytest.raises(
        CatalogError, match=r"p/b and p/a are stacked.*other labels.*one\.gpkg.*two"
    ):
        catalog.where("id <> 'p/c'").dataset(stack="place")
    with pytest.raises(CatalogError, match=r"p/c and p/a are stacked and have other bands, "):
        catalog.where("id <> 'p/b'").dataset(stack="place")
    assert len(catalog.where("id <> 'p/b'").dataset(stack="place, len(bands)", labels=False)) == 2


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("size", [(60, 80), (60, 81)])
def test_series_without_georeference_are_of_one_size(tif, tmp_path, size):
    for name, shape in (("a", (60, 80)), ("b", size)):
        tif(f"{name}.tif", np.full((1, *shape), 7, np.uint8), crs=None)
    files = [tmp_path / "a.tif", tmp_path / "b.tif"]
    index(files, tmp_path / "c", place="p", georeference=False)
    catalog = dated(tmp_path / "c", {"a": "2026-06-01", "b": "2026-06-02"})
    if size == (60, 80):
        assert catalog.dataset(stack="place", labels=False)[0]["image"].shape == (2, 1, 60, 80)
        with pytest.raises(CatalogError, match="a window without georeference lies under no other"):
            catalog.dataset(labels=False, series={"s2": catalog})[0]
    else:
        with pytest.raises(CatalogError, match="differ in size"):
            catalog.dataset(stack="place", labels=False)


def test_a_data_module_gives_batches_of_series(farms, vectors):
    labels = vectors("h.gpkg", [HOUSE, shapely.box(WEST + 40, NORTH - 20, WEST + 42, NORTH - 15)])
    catalog = farms(2, 4, labels=labels)
    module_of = partial(DataModule, catalog, catalog, window_px=16, batch_size=4, epoch_windows=8)
    with pytest.raises(CatalogError, match=r"2 to 4 dates, which make no batch: give steps=4"):
        module_of(stack="place")
    with pytest.raises(CatalogError, match=r"numbers of dates of s2"):
        module_of(stack="place", series={"s2": catalog})
    module = module_of(stack="place", steps=3, labels=("mask", "instances"), series={"s2": catalog})
    for loader in (module.train_dataloader(), module.val_dataloader()):
        batch = next(iter(loader))
        assert batch["image"].shape == batch["s2"].shape == (4, 3, 2, 16, 16)
        assert batch["valid"].shape == batch["s2_valid"].shape == (4, 3, 16, 16)
        assert batch["dates"].shape == (4, 3)
        assert batch["mask"].shape == batch["instances"].shape == (4, 16, 16)
        assert not batch["image"].movedim(2, -1)[~batch["valid"]].any()
    one = module_of(stack="id")
    assert next(iter(one.train_dataloader()))["image"].shape == (4, 1, 2, 16, 16)


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_sentinel_2_dates_are_what_the_cube_holds(tif, tmp_path):
    shared = Path(__file__).parents[3] / "shared" / "data" / "timeseries"
    cube = shared / "flanders" / "s2_10m.nc"
    if not cube.is_file():
        pytest.skip(f"{cube} is not there")
    files = [rasterio.open(f'netcdf:"{cube}":{band}') for band in ("B04", "B08")]
    steps = [0, 21, 40, 41, 99]
    stored = np.stack([file.read([n + 1 for n in steps]) for file in files], axis=1)
    seconds = [int(files[0].tags(n + 1)["NETCDF_DIM_timestamp"]) for n in steps]
    for file in files:
        file.close()
    corner = Affine(10, 0, 501_360, 0, -10, 5_629_680)
    times = {}
    for n, (values, later) in enumerate(zip(stored, seconds, strict=True)):
        name = f"{(n * 3) % 5}"
        times[name] = str(dt.datetime(2017, 8, 4, 10, 53, 28) + dt.timedelta(seconds=later))
        scaling = {"scales": (1e-4, 1e-4), "offsets": (0.0, 0.0)}
        tif(f"s2/{name}.tif", values, crs="EPSG:32631", transform=corner, nodata=0, **scaling)
    index([tmp_path / "s2"], tmp_path / "c", place="patch")
    dataset = dated(tmp_path / "c", times).dataset(stack="place", labels=False)
    sample = dataset[ImageSlice.of(0, dataset.grids[0].part(20, 8, 32, 50), 0)]
    part = stored[:, :, 20:52, 8:58]
    assert part.any(axis=(1, 2, 3)).all()
    shown = (part > 0).all(axis=1)
    np.testing.assert_array_equal(sample["valid"], shown)
    expected = (part * 1e-4) * shown[:, None]
    np.testing.assert_allclose(sample["image"], expected, rtol=1e-6)
    days = pd.to_datetime(list(times.values())).floor("D") - pd.Timestamp(0)
    assert sample["dates"].tolist() == sorted(days.days)
