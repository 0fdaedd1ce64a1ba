"""Rows of a catalog as images: only those that are looked at are made."""

import pickle

import geopandas as gpd
import numpy as np
import pytest

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.images import Images
from gv_data.intake.indexing import index


@pytest.fixture
def catalog(tif, tmp_path) -> Catalog:
    """Five images of three sizes, in two CRSs and one nowhere."""
    values = np.zeros((1, 50, 60), np.uint8)
    values[0, 0, 0] = 1
    for n in range(3):
        tif(f"i/{n}.tif", values[:, : 50 - n])
    tif("i/3.tif", np.tile(values, (2, 1, 1)).astype(np.uint16), crs="EPSG:3857")
    tif("i/4.png", values, crs=None, driver="PNG")
    return index([tmp_path / "i"], tmp_path / "c", georeference=False).catalog


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # while writing
def test_images_are_a_sequence_of_the_rows_of_the_table(catalog):
    images = catalog.images
    assert len(images) == 5
    assert [image.id for image in images] == images.ids == ["0", "1", "2", "3", "4"]
    assert images[1] == list(images)[1] == images[1:3][0] == images[-4]
    assert images[np.int64(2)].grid.shape_hw == (48, 60)
    assert [image.grid for image in images] == list(images.grids)
    assert [str(image.path) for image in images] == images.files
    assert images.bands == {("gray",), ("gray", "band_2")}
    assert images.dtypes == {"uint8", "uint16"}
    assert images.unlabelled.tolist() == [0, 1, 2, 3, 4]
    assert images[4].grid.crs is None
    with pytest.raises(IndexError):
        images[5]
    assert list(pickle.loads(pickle.dumps(images))) == list(images)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # while writing
def test_only_images_that_are_asked_for_are_made(catalog, monkeypatch):
    made = []
    make = Images._make
    monkeypatch.setattr(Images, "_make", lambda self, row: made.append(row) or make(self, row))
    dataset = catalog.where("crs = 'EPSG:32637'").dataset(gsd_m=1.0, labels=False)
    assert len(dataset.index) == len(dataset) == 3
    assert made == []
    for _ in range(3):
        dataset[1]
    assert made == [1]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # while writing
def test_a_row_without_transform_is_named(catalog):
    table = catalog.path / "images.parquet"
    frame = gpd.read_parquet(table)
    frame["transform"] = [
        None if n == "2" else t for n, t in zip(frame["id"], frame["transform"], strict=True)
    ]
    frame.to_parquet(table)
    with pytest.raises(CatalogError, match="2 has no transform of six numbers"):
        _ = Catalog.open(catalog.path).images
