"""A training that tests kill, stop and resume: ``python training_child.py ROOT STEPS [resume]``."""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from gv_data.catalog import Catalog
from gv_data.intake.indexing import index
from gv_data.synthetic.files import save
from gv_data.synthetic.town import town
from gv_data.terminal.console import Console
from gv_data.windows.datamodule import DataModule
from gv_train import runs
from gv_train.segmentation import Segmentation
from gv_train.settings import Trainer
from gv_train.training import Fitted, fit


class Tiny(nn.Module):
    """Two convolutions and two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 8, 3, padding=1)
        self.heads = nn.ModuleDict({name: nn.Conv2d(8, 1, 1) for name in ("interior", "edge")})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.encoder(image).relu()
        return {name: head(features) for name, head in self.heads.items()}


def build_catalog(root: Path) -> Catalog:
    """A town to learn from and one to validate on."""
    for place, seed in (("train", 1), ("val", 2)):
        files = save(town(seed, size_px=192, gsd_m=0.3), root / "towns", nir=False)
        index([files.image], root / "catalog", labels=files.buildings, place=place, append=True)
    return Catalog.open(root / "catalog")


def untrained() -> Segmentation:
    """A task that has learnt nothing."""
    torch.manual_seed(0)
    return Segmentation(
        Tiny(), weights={"interior": 1.0, "edge": 0.5}, mean=[90.0] * 3, std=[50.0] * 3
    )


def train(
    root: Path, steps: int, *, resume: bool = False, task: Segmentation | None = None
) -> Fitted:
    """Train the tiny network in ``root/roofs/r``."""
    catalog = Catalog.open(root / "catalog")
    views = [catalog.where(f"place = '{place}'") for place in ("train", "val")]
    data = DataModule(*views, window_px=48, batch_size=2, epoch_windows=8)
    run = (
        runs.open("r", project="roofs", root=root)
        if resume
        else runs.create("roofs", name="r", root=root)
    )
    settings = Trainer(max_steps=steps, threads=1, device="cpu", checkpoint_minutes=0.01)
    with run:
        run.start({"steps": steps}, seed=0)
        fitted = fit(
            task or untrained(), data, run, settings, resume=resume, console=Console(quiet=True)
        )
        run.finish("finished", fitted.metrics)
    return fitted


if __name__ == "__main__":
    folder, count, *rest = sys.argv[1:]
    try:
        done = train(Path(folder), int(count), resume=bool(rest))
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
    print(done.step)
