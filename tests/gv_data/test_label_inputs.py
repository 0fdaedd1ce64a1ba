"""Labels and assets in the forms people have them, against the arrays they were made from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from skimage.segmentation import find_boundaries

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError, RasterError, VectorError
from gv_data.intake.indexing import index
from gv_data.labels.masks import ClassTable
from gv_data.sources import IGNORE, Source

RNG = np.random.default_rng(6)
IMAGE = RNG.integers(1, 255, (3, 60, 80), dtype=np.uint8)
CLASSES = RNG.integers(0, 3, (60, 80)).astype(np.uint8)
WEST, NORTH = 500_000, 3_000_000


@pytest.fixture
def scenes(tif, tmp_path) -> Path:
    for name in ("a", "sub/b"):
        tif(f"images/{name}.tif", IMAGE)
    return tmp_path / "images"


def whole(catalog: Catalog, **settings: Any) -> dict:
    return catalog.dataset(**settings)[0]


@pytest.mark.parametrize("name", ["{}.tif", "{}_mask.tif", "{}.png"])
def test_masks_are_found_by_name_and_read_pixel_by_pixel(name, scenes, tif, tmp_path):
    for image in ("a", "sub/b"):
        tif(f"masks/{name.format(image)}", CLASSES[None], driver=_driver(name), crs=None)
    found = index([scenes], tmp_path / "c", masks=tmp_path / "masks", classes=("x", "y", "z"))
    assert (found.added, found.unlabelled) == (2, 0)
    sample = whole(found.catalog, edge_px=1)
    np.testing.assert_array_equal(sample["mask"], CLASSES)
    edges = find_boundaries(CLASSES, connectivity=1, mode="inner")
    np.testing.assert_array_equal(sample["edge"], edges)


def _driver(name: str) -> str:
    return "PNG" if name.endswith(".png") else "GTiff"


pytestmark = pytest.mark.filterwarnings(
    "ignore::rasterio.errors.NotGeoreferencedWarning"  # masks as people have them
)


def test_values_of_masks_mean_what_is_said(scenes, tif, tmp_path):
    values = np.array([0, 255, 7], np.uint8)[CLASSES]
    for image in ("a", "sub/b"):
        tif(f"masks/{image}.tif", values[None], crs=None)
    found = index(
        [scenes],
        tmp_path / "c",
        masks=tmp_path / "masks",
        classes=("ground", "building"),
        mask_values=(0, 255),
        ignore=(7,),
    )
    expected = np.array([0, 1, IGNORE])[CLASSES]
    np.testing.assert_array_equal(whole(found.catalog)["mask"], expected)


def test_a_mask_at_another_gsd_shows_the_class_at_each_pixels_centre(scenes, tif, tmp_path):
    for image in ("a", "sub/b"):
        tif(f"masks/{image}.tif", CLASSES[None], crs=None)
    catalog = index([scenes], tmp_path / "c", masks=tmp_path / "masks").catalog
    coarse = whole(catalog, gsd_m=1.5)["mask"].numpy()
    rows = np.floor((np.arange(coarse.shape[0]) + 0.5) * 60 / coarse.shape[0]).astype(int)
    columns = np.floor((np.arange(coarse.shape[1]) + 0.5) * 80 / coarse.shape[1]).astype(int)
    np.testing.assert_array_equal(coarse, CLASSES[np.ix_(rows, columns)])


def test_a_mask_of_another_size_leaves_the_image_out(scenes, tif, tmp_path):
    tif("masks/a.tif", CLASSES[None], crs=None)
    tif("masks/sub/b.tif", CLASSES[None, :50], crs=None)
    found = index([scenes], tmp_path / "c", masks=tmp_path / "masks")
    assert [file.name for file, _ in found.refused] == ["b.tif"]
    assert "has the pixels of its image" in found.refused[0][1]


def test_images_without_a_mask_are_counted(scenes, tif, tmp_path):
    tif("masks/a.tif", CLASSES[None], crs=None)
    found = index([scenes], tmp_path / "c", masks=tmp_path / "masks")
    assert (found.added, found.unlabelled) == (2, 1)
    assert len(found.catalog.where("mask IS NOT NULL").dataset()) == 1
    with pytest.raises(CatalogError, match="1 of 2 images"):
        found.catalog.dataset()


def test_masks_that_belong_to_no_image_are_refused(scenes, tif, tmp_path):
    tif("masks/elsewhere.tif", CLASSES[None], crs=None)
    with pytest.raises(CatalogError, match="has the name of an image"):
        index([scenes], tmp_path / "c", masks=tmp_path / "masks")
    with pytest.raises(CatalogError, match="is no folder of rasters"):
        index([scenes], tmp_path / "c", masks=tmp_path / "nowhere")


HOUSES = [shapely.box(WEST + x, NORTH - 20, WEST + x + 5, NORTH - 10) for x in (2, 12, 22, 32)]


def test_classes_of_polygons_come_from_their_column(scenes, tmp_path):
    import geopandas as gpd

    kinds = ["house", "shed", None, "house"]
    frame = gpd.GeoDataFrame({"kind": kinds}, geometry=HOUSES, crs="EPSG:32637")
    frame.to_file(tmp_path / "roofs.gpkg")
    words: dict[str, Any] = {"labels": tmp_path / "roofs.gpkg", "label_column": "kind"}
    found = index([scenes], tmp_path / "c", **words)
    assert found.catalog.sources[0].classes == ("house", "shed")
    assert found.dropped == 1
    mask = whole(found.catalog)["mask"].numpy()
    assert mask[30, [5, 25, 45, 65]].tolist() == [1, 0, 0, 1] or mask[30, 8] == 1
    x = [int((box.centroid.x - WEST) / 0.5) for box in HOUSES]
    assert mask[30, x].tolist() == [1, 2, 0, 1]
    chosen = index([scenes], tmp_path / "d", **words, classes=("shed",)).catalog
    assert whole(chosen)["mask"].numpy()[30, x].tolist() == [0, 1, 0, 0]
    with pytest.raises(VectorError, match="has no column 'type', it has: kind"):
        index([scenes], tmp_path / "e", labels=tmp_path / "roofs.gpkg", label_column="type")


def test_folders_are_classes_and_splits(tif, tmp_path):
    for name in ("train/field/1", "train/town/2", "val/field/3"):
        tif(f"scenes/{name}.tif", IMAGE, crs=None)
    found = index([tmp_path / "scenes"], tmp_path / "c", class_folders=True, georeference=False)
    table = found.catalog.sql("SELECT label, split FROM images ORDER BY id").to_pylist()
    assert [tuple(row.values()) for row in table] == [
        ("field", "train"), ("town", "train"), ("field", "val"),
    ]  # fmt: skip
    dataset = found.catalog.dataset()
    assert [int(dataset[n]["label"]) for n in range(3)] == [0, 1, 0]
    assert "mask" not in dataset[0]


def test_pairs_are_read_on_the_pixels_of_the_image(scenes, tif, tmp_path):
    sar = RNG.normal(-10, 3, (2, 30, 40)).astype(np.float32)  # 1 m pixels of the same ground
    coarse = rasterio.Affine(1, 0, WEST, 0, -1, NORTH)
    for image in ("a", "sub/b"):
        tif(f"sar/{image}.tif", sar, transform=coarse)
        tif(f"before/{image}.tif", 255 - IMAGE)
    pairs = {"sar": tmp_path / "sar", "image_before": tmp_path / "before"}
    catalog = index([scenes], tmp_path / "c", pairs=pairs).catalog
    sample = whole(catalog, labels=False, assets=("sar", "image_before"))
    np.testing.assert_array_equal(sample["image_before"], 255 - IMAGE)
    assert sample["sar"].shape == (2, 60, 80)
    assert sample["sar_valid"].all()
    with rasterio.open(tmp_path / "sar" / "a.tif") as file:
        expected = file.read(out_shape=(2, 60, 80), resampling=rasterio.enums.Resampling.bilinear)
    np.testing.assert_allclose(sample["sar"], expected, atol=1e-5)


def test_a_pair_in_another_crs_is_warped_to_the_right_place(scenes, tif, tmp_path):
    """A ramp of longitude: each pixel of the image finds its own longitude in it."""
    from pyproj import Transformer

    west, south, east, north = rasterio.warp.transform_bounds(
        "EPSG:32637", "EPSG:4326", WEST - 10, NORTH - 40, WEST + 50, NORTH + 10
    )
    step = (east - west) / 200
    rows = int((north - south) / step)
    ramp = (west + (np.arange(200) + 0.5) * step) * 1e5 % 1e4
    values = np.broadcast_to(ramp, (1, rows, 200)).astype(np.float32)
    for image in ("a", "sub/b"):
        transform = rasterio.Affine(step, 0, west, 0, -step, north)
        tif(f"ramp/{image}.tif", values, crs="EPSG:4326", transform=transform)
    catalog = index([scenes], tmp_path / "c", pairs={"ramp": tmp_path / "ramp"}).catalog
    sample = whole(catalog, labels=False, assets=("ramp",))
    columns, line = np.meshgrid(np.arange(80) + 0.5, np.arange(60) + 0.5)
    to_lonlat = Transformer.from_crs("EPSG:32637", "EPSG:4326", always_xy=True)
    lon, _ = to_lonlat.transform(WEST + columns * 0.5, NORTH - line * 0.5)
    assert sample["ramp_valid"].all()
    # a pixel of the ramp is 1e5 * step wide
    assert np.abs(sample["ramp"].numpy()[0] - lon * 1e5 % 1e4).max() < 0.2 * 1e5 * step


def test_what_files_do_not_say_can_be_said(tif, tmp_path):
    values = RNG.integers(0, 10_000, (4, 50, 60)).astype(np.uint16)
    values[:, :10] = 0
    tif("s2/a.tif", values)
    catalog = index(
        [tmp_path / "s2"],
        tmp_path / "c",
        bands=("blue", "green", "red", "nir"),
        scale=(1e-4,),
        offset=(-0.1,),
        nodata=0,
    ).catalog
    assert catalog.bands == ("blue", "green", "red", "nir")
    sample = whole(catalog, labels=False)
    known = sample["valid"].numpy()
    np.testing.assert_array_equal(known, (values != 0).any(axis=0))
    expected = values[:, known] * 1e-4 - 0.1
    np.testing.assert_allclose(sample["image"].numpy()[:, known], expected, atol=1e-6)
    assert catalog.statistics.invalid == (~known).sum()
    np.testing.assert_allclose(catalog.statistics.mean, expected.mean(axis=1), rtol=1e-9)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bands": ("red",)}, "3 bands: red, green, blue; 1 names"),
        ({"scale": (1.0, 2.0)}, "2 scales"),
        ({"ignore": (7,)}, "give masks"),
        ({"label_column": "kind"}, "need labels"),
        ({"class_folders": True, "masks": Path()}, "give one of them"),
        ({"pairs": {"image": Path()}}, "cannot be called 'image'"),
        ({"pairs": {"a b": Path()}}, "cannot be called 'a b'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, said, scenes, tmp_path):
    with pytest.raises(CatalogError, match=said):
        index([scenes], tmp_path / "c", **settings)


def test_a_source_says_what_is_wrong_with_it():
    with pytest.raises(CatalogError, match="different names"):
        Source("/", classes=("a", "a"))
    with pytest.raises(CatalogError, match="2 classes have 1 values"):
        Source("/", classes=("a", "b"), mask_values=(0,))
    with pytest.raises(CatalogError, match="7 is a class and ignored"):
        Source("/", classes=("a",), mask_values=(7,), ignore=(7,))
    source = Source("/", classes=("a",), scale=(0.5,), nodata=0.0)
    assert Source.from_json(source.to_json()) == source
    with pytest.raises(CatalogError, match="damaged"):
        Source.from_json({"root": "/", "unknown": 1})


@pytest.mark.parametrize("named", [True, False])
def test_values_of_masks_that_are_not_finite_say_nothing(named, scenes, tif, tmp_path):
    broken = CLASSES.astype(np.float32)
    broken[0, :2] = np.nan, np.inf
    tif("masks/a.tif", broken[None], crs=None)
    tif("masks/sub/b.tif", CLASSES[None], crs=None)
    words: dict[str, Any] = {"classes": ("x", "y", "z")} if named else {}
    found = index([scenes], tmp_path / "c", masks=tmp_path / "masks", **words)
    assert not found.refused
    expected = CLASSES.copy()
    expected[0, :2] = IGNORE
    np.testing.assert_array_equal(whole(found.catalog)["mask"], expected)


def test_a_table_of_classes_takes_no_infinite_value_for_a_class():
    values = np.array([[0, np.inf, np.nan]])
    named = ClassTable(Source("/", classes=("x", "y")))
    assert named.of(values).tolist() == [[0, IGNORE, IGNORE]]
    with pytest.raises(RasterError, match="a mask holds inf, which is no class"):
        ClassTable(Source("/")).of(values)


def test_nodata_of_a_mask_is_asked_for_no_class(scenes, tif, tmp_path):
    values = CLASSES.astype(np.int16)
    values[:5] = -9999
    for image in ("a", "sub/b"):
        tif(f"masks/{image}.tif", values[None], crs=None, nodata=-9999)
    found = index([scenes], tmp_path / "c", masks=tmp_path / "masks")
    expected = np.where(values < 0, IGNORE, values)
    np.testing.assert_array_equal(whole(found.catalog)["mask"], expected)
