"""Windows of two views, ready to learn from."""

import numpy as np
import pytest
import shapely
import torch
from lightning.pytorch import LightningModule, Trainer

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.intake.indexing import index
from gv_data.windows.datamodule import DataModule
from gv_data.windows.mixing import MixUp


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
    mean = catalog.statistics.mean.mean()
    seen = np.array([sample["image"].numpy().mean() for sample in module.train_dataloader()])
    # about as bright as before, neither black nor lost in white
    assert (seen > 0.05 * mean).all()
    assert (seen < 6 * mean).all()
    assert 0.4 < np.median(seen) / mean < 1.8


def test_an_epoch_without_a_batch_is_refused(view):
    catalog = view(np.full((3, 64, 64), 9, np.uint8))
    with pytest.raises(CatalogError, match="an epoch of 8 windows holds no batch of 16"):
        DataModule(catalog, catalog, batch_size=16, epoch_windows=8)


def test_any_kind_of_label_can_be_learnt_from(tif, tmp_path):
    values = np.random.default_rng(0).integers(1, 255, (3, 96, 96), dtype=np.uint8)
    classes = (np.indices((96, 96)).sum(axis=0) // 20 % 3).astype(np.uint8)
    for name in ("a", "b"):
        tif(f"images/{name}.tif", values)
        tif(f"masks/{name}.tif", classes[None])
    catalog = index([tmp_path / "images"], tmp_path / "c", masks=tmp_path / "masks").catalog
    module = DataModule(catalog, catalog, window_px=32, batch_size=2, epoch_windows=8)
    batches = list(module.train_dataloader())
    assert [batch["mask"].shape for batch in batches] == [(2, 32, 32)] * 4
    seen = np.concatenate([batch["mask"][batch["valid"]] for batch in batches])
    assert set(seen) == {0, 1, 2}
    shown = sum(int(batch["valid"].sum()) for batch in module.val_dataloader())
    assert shown == 2 * 96 * 96
    with pytest.raises(CatalogError, match="no label"):
        DataModule(catalog, catalog, batch_size=2, epoch_windows=8, object_share=0.5)


def test_training_windows_overhang_images_and_validation_shows_each_pixel_once(view):
    catalog = view(np.full((3, 100, 100), 9, np.uint8))
    module = DataModule(catalog, catalog, window_px=64, batch_size=2, epoch_windows=60)
    valid = np.concatenate([batch["valid"].numpy() for batch in module.train_dataloader()])
    assert 0 < (~valid).mean() < 0.25
    assert valid.mean(axis=(1, 2)).min() >= (56 / 64) ** 2 * 0.9
    assert sum(int(batch["valid"].sum()) for batch in module.val_dataloader()) == 100 * 100


class Watcher(LightningModule):
    """Learns nothing and keeps what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[torch.Tensor]] = {"train": [], "val": []}
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, index):
        self.seen["train"].append(batch["mask"])
        return self.weight * 0

    def validation_step(self, batch, index):
        self.seen["val"].append(batch["mask"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*no_grad.*", "ignore:The .*dataloader.*")
def test_training_batches_are_mixed_and_those_of_validation_are_not(tif, tmp_path):
    image = np.random.default_rng(1).integers(1, 255, (3, 64, 64), dtype=np.uint8)
    for name in ("a", "b"):
        tif(f"scenes/{name}.tif", image)
        tif(f"masks/{name}.tif", np.full((1, 64, 64), name == "b", np.uint8))
    catalog = index([tmp_path / "scenes"], tmp_path / "c", masks=tmp_path / "masks").catalog
    module = DataModule(
        catalog,
        catalog,
        window_px=64,
        batch_size=4,
        epoch_windows=16,
        zoom=(1, 1),
        mix=MixUp(alpha=1.0, classes={"mask": 1, "edge": 1}),
    )
    watcher = Watcher()
    Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    ).fit(watcher, module)
    mixed = torch.cat([mask.flatten() for mask in watcher.seen["train"]])
    assert ((mixed > 0) & (mixed < 1)).any()
    assert set(torch.cat(watcher.seen["val"]).unique().tolist()) <= {0, 1}
