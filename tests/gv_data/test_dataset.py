"""Windows against rasterio, under every kind of loader."""

import pickle

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.features
import rasterio.merge
import shapely
import torch
from affine import Affine
from pyproj import Transformer
from rasterio.windows import from_bounds
from torch.utils.data import DataLoader
from torchgeo.samplers import GriddedPatchSampler, RandomPatchSampler

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError, SampleError
from gv_data.intake.image_row import Part
from gv_data.intake.indexing import index
from gv_data.sources import RESERVED
from gv_data.windows.dataset import IGNORE, LABELS, UNNUMBERED, CatalogDataset
from gv_data.windows.photometry import Light
from gv_data.windows.random_windows import RandomWindows
from gv_data.windows.samplers import GridWindows
from gv_data.windows.transforms import chain, turn
from gv_data.windows.windows import ImageSlice

RNG = np.random.default_rng(3)
IMAGE = RNG.integers(1, 255, (3, 120, 160), dtype=np.uint8)
WEST, NORTH = 500_000, 3_000_000
HOUSES = [
    shapely.box(WEST + 5, NORTH - 30, WEST + 15, NORTH - 20),
    shapely.box(WEST + 15, NORTH - 30, WEST + 30, NORTH - 22),
    shapely.Polygon([(WEST + 40, NORTH - 40), (WEST + 61.3, NORTH - 44), (WEST + 50, NORTH - 55)]),
]


@pytest.fixture
def labelled(tif, vectors, tmp_path) -> Catalog:
    labels = vectors("houses.gpkg", HOUSES)
    return index([tif("a.tif", IMAGE)], tmp_path / "c", labels=labels).catalog


def burnt(shapes: list, sample: dict) -> np.ndarray:
    transform = Affine(*sample["transform"].tolist()[:6])
    return rasterio.features.rasterize(
        shapes, out_shape=sample["mask"].shape, transform=transform, dtype="uint8"
    )


@pytest.mark.parametrize(("row", "column"), [(0, 0), (33, 57), (-10, 140), (100, -20)])
def test_windows_are_what_rasterio_reads_from_the_same_bounds(labelled, tmp_path, row, column):
    dataset = labelled.dataset()
    grid = dataset.grids[0].part(row, column, 40, 48)
    sample = dataset[ImageSlice.of(0, grid, 0)]
    with rasterio.open(tmp_path / "a.tif") as file:
        window = from_bounds(*grid.bounds, transform=file.transform)
        expected = file.read(window=window, boundless=True, fill_value=0)
        inside = file.read_masks(1, window=window, boundless=True) > 0
    np.testing.assert_array_equal(sample["image"].numpy(), expected)
    np.testing.assert_array_equal(sample["valid"].numpy(), inside)
    assert sample["image"].dtype == torch.float32
    assert tuple(sample["transform"].tolist()) == tuple(grid.transform)
    west, east, _, south, north, _ = sample["bounds"].tolist()
    assert (west, south, east, north) == grid.bounds


@pytest.mark.parametrize("gsd_m", [None, 0.25, 0.8])
def test_masks_are_what_rasterio_burns_on_the_same_pixels(labelled, gsd_m):
    dataset = labelled.dataset(gsd_m=gsd_m)
    sample = dataset[0]
    assert sample["mask"].shape == dataset.grids[0].shape_hw == sample["image"].shape[1:]
    np.testing.assert_array_equal(sample["mask"].numpy(), burnt(HOUSES, sample))
    assert sample["mask"].dtype == torch.int64
    edge, mask = sample["edge"].numpy() == 1, sample["mask"].numpy() == 1
    assert (mask[edge]).all()
    assert 0 < edge.sum() < mask.sum()


def test_touching_houses_have_an_edge_between_them(labelled):
    sample = labelled.dataset(edge_px=1)[0]
    row, column = 50, 30  # 25 m south, 15 m east: the common wall
    assert sample["edge"][row, column - 2 : column + 2].tolist() == [0, 1, 1, 0]
    assert sample["mask"][row, column - 2 : column + 2].tolist() == [1, 1, 1, 1]


def test_what_nobody_labelled_and_where_there_is_no_image_is_ignored(tif, vectors, tmp_path):
    values = IMAGE.copy()
    values[:, :20] = 0
    area = shapely.box(WEST, NORTH - 60, WEST + 40, NORTH)
    found = index(
        [tif("a.tif", values, nodata=0)],
        tmp_path / "c",
        labels=vectors("h.gpkg", HOUSES),
        labelled_area=vectors("area.gpkg", [area]),
    )
    sample = found.catalog.dataset()[0]
    known = burnt([area], sample).astype(bool)
    known[:20] = False
    np.testing.assert_array_equal(sample["mask"].numpy() != IGNORE, known)
    np.testing.assert_array_equal(sample["edge"].numpy() != IGNORE, known)
    np.testing.assert_array_equal(sample["mask"].numpy()[known], burnt(HOUSES, sample)[known])


def test_labels_follow_an_image_in_another_crs(tif, vectors, tmp_path):
    x, y = Transformer.from_crs("EPSG:32637", "EPSG:3857", always_xy=True).transform(WEST, NORTH)
    path = tif("m.tif", IMAGE, crs="EPSG:3857", transform=Affine(0.5, 0, x, 0, -0.5, y))
    found = index([path], tmp_path / "c", labels=vectors("h.gpkg", HOUSES))
    sample = found.catalog.dataset()[0]
    moved = gpd.GeoSeries(HOUSES, crs="EPSG:32637").to_crs("EPSG:3857").to_list()
    np.testing.assert_array_equal(sample["mask"].numpy(), burnt(moved, sample))


@pytest.mark.parametrize("gsd_m", [None, 0.2, 0.37, 1.1, 3.0])
def test_parts_never_show_pixels_beyond_them(tif, tmp_path, gsd_m):
    values = np.full((1, 120, 160), 250, np.uint8)
    values[:, 40:100, 30:110] = RNG.integers(10, 20, (60, 80))
    found = index(
        [tif("a.tif", values)],
        tmp_path / "c",
        parts=lambda *_: [Part("", 40, 30, 60, 80)],
    )
    dataset = found.catalog.dataset(gsd_m=gsd_m, labels=False)
    whole = dataset[0]
    assert whole["valid"].float().mean() > 0.9
    windows = RandomWindows(dataset, window_px=16, length=60, zoom=(0.5, 2))
    shifted = [
        ImageSlice.of(0, dataset.grids[0].part(0, 0, 9, 9).scaled(0.7, 1.3), 0),
        (slice(WEST + 13.3, WEST + 60.1, 0.7), slice(NORTH - 55.5, NORTH - 10.2, 0.9)),
    ]
    for query in [*windows, *shifted]:
        sample = dataset[query]
        shown = sample["image"][0][sample["valid"]]
        assert shown.numel() == 0 or (shown.min() >= 10 and shown.max() <= 20)
        assert (sample["image"][0][~sample["valid"]] == 0).all()


def test_a_view_without_images_or_labels_is_refused_at_once(labelled, tif):
    with pytest.raises(CatalogError, match=r"there is no image in .* where false"):
        labelled.where("false").dataset()
    index([tif("b.tif", IMAGE)], labelled.path, append=True)
    mixed = Catalog.open(labelled.path)
    with pytest.raises(CatalogError, match=r"1 of 2 images .* have no labels, b for one"):
        mixed.dataset()
    assert len(mixed.where("vectors IS NOT NULL").dataset()) == 1
    assert "mask" not in mixed.dataset(labels=False)[1]


def test_opening_a_dataset_touches_no_file(labelled, tmp_path):
    (tmp_path / "a.tif").unlink()
    (tmp_path / "houses.gpkg").unlink()
    assert len(labelled.dataset()) == 1


def test_the_slice_of_an_image_survives_pickling(labelled):
    grid = labelled.dataset().grids[0].part(3, 4, 20, 30)
    query = ImageSlice.of(0, grid, 42)
    copy = pickle.loads(pickle.dumps(query))
    assert (copy, copy.row, copy.seed, copy.shape_hw) == (query, 0, 42, (20, 30))


def test_transforms_depend_on_the_window_only(labelled):
    dataset = labelled.dataset(transforms=chain(turn, Light()))
    grid = dataset.grids[0].part(0, 0, 32, 32)
    one, again, other = (dataset[ImageSlice.of(0, grid, seed)]["image"] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def loaded(dataset: CatalogDataset, workers: int, context: str | None) -> list[torch.Tensor]:
    loader = DataLoader(
        dataset,
        batch_size=2,
        sampler=GridWindows(dataset, window_px=64),
        num_workers=workers,
        multiprocessing_context=context,
    )
    return [torch.cat([batch["image"].flatten(1), batch["mask"].flatten(1)], 1) for batch in loader]


@pytest.mark.parametrize(("workers", "context"), [(2, "fork"), (1, "spawn")])
def test_loaders_give_the_same_windows_in_any_process(labelled, workers, context):
    dataset = labelled.dataset(transforms=chain(turn, Light()))
    expected = loaded(dataset, 0, None)  # leaves files open that forked workers must not share
    found = loaded(dataset, workers, context)
    assert len(found) == len(expected) == 3
    for one, two in zip(found, expected, strict=True):
        assert torch.equal(one, two)


@pytest.fixture
def mosaic(tif, vectors, tmp_path) -> CatalogDataset:
    """Four images side by side, with a gap and houses across their borders."""
    values = RNG.integers(1, 9999, (2, 120, 160), dtype=np.uint16)
    values[:, 50:60, 70:90] = 0
    for top in (0, 60):
        for left in (0, 80):
            corner = Affine(0.5, 0, WEST + left / 2, 0, -0.5, NORTH - top / 2)
            part = values[:, top : top + 60, left : left + 80]
            tif(f"m/{top}-{left}.tif", part, transform=corner, nodata=0)
    houses = vectors("houses.gpkg", HOUSES)
    return index([tmp_path / "m"], tmp_path / "c", labels=houses).catalog.dataset()


def test_torchgeos_own_samplers_get_the_mosaic(mosaic, tmp_path):
    files = [rasterio.open(path) for path in sorted((tmp_path / "m").glob("*.tif"))]
    samplers = [
        RandomPatchSampler(mosaic, size=32, length=9, generator=0),
        GriddedPatchSampler(mosaic, size=40, stride=33),
    ]
    for sampler in samplers:
        crossing = 0
        for query in sampler:
            sample = mosaic[query]
            x, y = query
            bounds = (x.start, y.start, x.stop, y.stop)
            merged = rasterio.merge.merge(files, bounds=bounds, res=0.5)
            assert merged is not None
            expected = merged[0]
            np.testing.assert_array_equal(sample["image"].numpy(), expected)
            np.testing.assert_array_equal(sample["valid"].numpy(), expected[0] > 0)
            known = burnt(HOUSES, sample)[expected[0] > 0]
            np.testing.assert_array_equal(sample["mask"].numpy()[expected[0] > 0], known)
            assert (sample["mask"].numpy()[expected[0] == 0] == IGNORE).all()
            crossing += x.start < WEST + 40 < x.stop
        assert crossing
    for file in files:
        file.close()


def test_instances_are_the_features_of_the_file_in_any_window(tif, vectors, tmp_path):
    shapes = [shapely.LineString([(WEST, NORTH), (WEST + 9, NORTH)]), *HOUSES]  # a line has no area
    shapes.append(shapely.box(WEST + 12, NORTH - 26, WEST + 20, NORTH - 10))  # over the first two
    values = IMAGE.copy()
    values[:, :20] = 0
    area = shapely.box(WEST, NORTH - 60, WEST + 48, NORTH)
    found = index(
        [tif("a.tif", values, nodata=0)],
        tmp_path / "c",
        labels=vectors("h.gpkg", shapes),
        labelled_area=vectors("area.gpkg", [area]),
    )
    dataset = found.catalog.dataset(labels=("instances",))
    numbered = [(shape, n) for n, shape in enumerate(shapes, 1) if shape.area]
    seen = set()
    windows = GridWindows(dataset, window_px=48, stride_px=31)
    for query in windows:
        sample = dataset[query]
        assert not {"mask", "edge"} & sample.keys()
        transform = Affine(*sample["transform"].tolist()[:6])
        burnt, labelled = (
            rasterio.features.rasterize(kind, (48, 48), transform=transform, dtype="int32")
            for kind in (numbered, [area])
        )
        known = sample["valid"].numpy() & (labelled > 0)
        np.testing.assert_array_equal(sample["instances"], np.where(known, burnt, UNNUMBERED))
        assert sample["instances"].dtype == torch.int64
        seen |= set(sample["instances"].unique().tolist())
    assert seen == {UNNUMBERED, 0, 2, 3, 4, 5}


def test_samples_carry_the_labels_wanted_and_the_usual_two_by_default(labelled):
    usual = labelled.dataset()[0]
    assert usual.keys() & set(LABELS) == {"mask", "edge"}
    for labels in ((), ("mask",), ("edge", "instances"), LABELS):
        sample = labelled.dataset(labels=labels)[0]
        assert sample.keys() & set(LABELS) == set(labels)
        for key in set(labels) & usual.keys():
            np.testing.assert_array_equal(sample[key], usual[key])
    for labels in ("mask", ("mask", "boxes")):
        with pytest.raises(CatalogError, match="some of mask, edge, instances, got"):
            labelled.dataset(labels=labels)


def test_instances_need_polygons(tif, tmp_path):
    tif("i/a.tif", IMAGE)
    tif("m/a.tif", IMAGE[:1] // 128)
    found = index([tmp_path / "i"], tmp_path / "c", masks=tmp_path / "m")
    assert len(found.catalog.dataset()) == 1
    with pytest.raises(CatalogError, match=r"1 of 1 images .* have no polygons to number, a for"):
        found.catalog.dataset(labels=LABELS)


def test_instances_of_a_mosaic_are_those_of_its_one_file(mosaic):
    dataset = mosaic.catalog.dataset(labels=("mask", "instances"))
    crossing = 0
    for query in GriddedPatchSampler(dataset, size=40, stride=33):
        sample = dataset[query]
        transform = Affine(*sample["transform"].tolist()[:6])
        shape = tuple(sample["mask"].shape)
        numbers = rasterio.features.rasterize(
            [(house, n) for n, house in enumerate(HOUSES, 1)], shape, transform=transform
        )
        expected = np.where(sample["valid"], numbers, UNNUMBERED)
        np.testing.assert_array_equal(sample["instances"], expected)
        crossing += query[0].start < WEST + 40 < query[0].stop
    assert crossing


def test_instances_of_two_files_are_not_mixed(tif, vectors, tmp_path):
    for n, name in enumerate("ab"):
        corner = Affine(0.5, 0, WEST + 80 * n, 0, -0.5, NORTH)
        labels = vectors(f"{name}.gpkg", [shapely.box(WEST + 75, NORTH - 5, WEST + 85, NORTH)])
        path = tif(f"{name}.tif", IMAGE, transform=corner)
        index([path], tmp_path / "c", labels=labels, append=True)
    across = (slice(WEST + 75, WEST + 85), slice(NORTH - 10, NORTH))
    catalog = Catalog.open(tmp_path / "c")
    assert (catalog.dataset()[across]["mask"] == 1).float().mean() == 0.5
    with pytest.raises(SampleError, match=r"a and b.*a\.gpkg and .*b\.gpkg both count from 1"):
        catalog.dataset(labels=LABELS)[across]


def test_images_in_two_crs_have_no_index_for_torchgeo(tif, tmp_path):
    paths = [tif("a.tif", IMAGE), tif("b.tif", IMAGE, crs="EPSG:32636")]
    dataset = index(paths, tmp_path / "c").catalog.dataset(labels=False)
    with pytest.raises(CatalogError, match=r"2 CRSs.*gv_data\.windows\.samplers"):
        _ = dataset.index
    assert [len(dataset[n]["image"]) for n in (0, 1)] == [3, 3]


def test_rows_of_the_tables_are_read_by_number(mosaic):
    sizes = [tuple(mosaic[n]["image"].shape) for n in (0, np.int64(3), -1)]
    assert sizes == [(2, 60, 80)] * 3
    assert mosaic[-1]["id"] == "60-80"
    with pytest.raises(IndexError):
        mosaic[4]


def test_a_place_without_image_is_an_index_error(labelled):
    dataset = labelled.dataset()
    with pytest.raises(IndexError, match="no image at 0 to 10"):
        dataset[slice(0, 10), slice(0, 10)]


@pytest.mark.parametrize("name", [*RESERVED, "sar_valid", "sar_dates", "a b"])
def test_names_that_samples_use_are_refused_for_what_lies_beside(labelled, tif, tmp_path, name):
    image = tif("b.tif", IMAGE)
    with pytest.raises(CatalogError, match=f"a pair cannot be called '{name}'"):
        index([image], tmp_path / "other", pairs={name: image.parent})
    assert not (tmp_path / "other").exists()
    with pytest.raises(CatalogError, match=f"an asset cannot be called '{name}'"):
        CatalogDataset(labelled, assets=(name,))
    with pytest.raises(CatalogError, match=f"a series cannot be called '{name}'"):
        CatalogDataset(labelled, series={name: labelled})
