"""Validates an untrained task: ``torchrun ... distributed_child.py CATALOG OUT`` or alone."""

import json
import sys
from pathlib import Path
from typing import override

import torch
from torch import Tensor, nn

from gv_data.catalog import Catalog
from gv_data.windows.datamodule import DataModule
from gv_train.distributed import world
from gv_train.segmentation import Segmentation
from gv_train.settings import Trainer as Settings
from gv_train.training import lightning_trainer


class Tiny(nn.Module):
    """Two convolutions and two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 4, 3, padding=1)
        self.heads = nn.ModuleDict({name: nn.Conv2d(4, 1, 1) for name in ("interior", "edge")})

    @override
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.encoder(image).relu()
        return {name: head(features) for name, head in self.heads.items()}


class Told(Segmentation):
    """Says what was counted, before it is reset."""

    counted: dict[str, list[int]]

    @override
    def on_validation_epoch_end(self) -> None:
        with self.counts.sync_context():
            states = {name: getattr(self.counts, name) for name in self.counts._defaults}
            self.counted = {name: value.flatten().tolist() for name, value in states.items()}
        super().on_validation_epoch_end()


def main(catalog: Path, out: Path) -> None:
    """Validate, and let the first process write what was found."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = Told(Tiny(), weights={"interior": 1.0, "edge": 0.5}, mean=[90.0] * 3, std=[50.0] * 3)
    view = Catalog.open(catalog)
    data = DataModule(view, view, window_px=80, batch_size=2, epoch_windows=2)
    settings = Settings(device="cpu", precision="32-true")
    trainer = lightning_trainer(settings, logger=False, enable_checkpointing=False)
    trainer.validate(task, datamodule=data, verbose=False)
    if world().first:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        windows = sum(len(batch["id"]) for batch in data.val_dataloader())
        out.write_text(json.dumps({"counted": task.counted, "values": values, "mine": windows}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
