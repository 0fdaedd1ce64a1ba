"""Windows of two views, ready to learn from."""

import numpy as np
import pytest
import shapely

from gv_data.catalog import Catalog
from gv_data.datamodule import DataModule
from gv_data.errors import CatalogError
from gv_data.indexing import index


@pytest.fixture
def view(tif, vectors, tmp_path):
    """A view of one image of the given values with a label on it."""

    def make(values: np.ndarray) -> Catalog:
        labels = vectors("roofs.gpkg", [shapely.box(500_005, 2_999_980, 500_012, 2_999_990)])
        index([tif("a.tif", values)], tmp_path / "catalog", labels=labels, place="a")
        return Catalog.open(tmp_path / "catalog")

    return make


@pytest.mark.parametrize(("scale", "dtype"), [(255, np.uint8), (1, np.float32), (1e4, np.uint16)])
def test_light_changes_values_of_any_scale_alike(view, scale, dtype):
    values = (np.random.default_rng(0).beta(2, 4, (3, 64, 64)) * scale).astype(dtype)
    catalog = view(values)
    module = DataModule(catalog, catalog, window_px=64, batch_size=1, epoch_windows=16)
    mean = catalog.moments.mean.mean()
    seen = np.array([sample["image"].numpy().mean() for sample in module.train_dataloader()])
    # about as bright as before, neither black nor lost in white
    assert (seen > 0.05 * mean).all()
    assert (seen < 6 * mean).all()
    assert 0.4 < np.median(seen) / mean < 1.8


def test_an_epoch_without_a_batch_is_refused(view):
    catalog = view(np.full((3, 64, 64), 9, np.uint8))
    with pytest.raises(CatalogError, match="an epoch of 8 windows holds no batch of 16"):
        DataModule(catalog, catalog, batch_size=16, epoch_windows=8)
