"""Synthetic towns as a catalog: the data of a first run, nothing to download."""

from dataclasses import dataclass
from pathlib import Path

from gv_data.catalog import Catalog
from gv_data.console import Console
from gv_data.indexing import index
from gv_data.synthetic import save, town

TRAIN_SEEDS = tuple(range(1, 11))
VAL_SEEDS = (101, 102)
TEST_SEED = 201
GSD_M = 0.3


@dataclass(frozen=True)
class Towns:
    """Towns on disk.

    Attributes:
        catalog: All of them but the unseen one; ``place`` is ``train`` or ``val``.
        scene: The image of a town that training never sees.
        labels: Its buildings.
    """

    catalog: Catalog
    scene: Path
    labels: Path


def build_towns(folder: Path, console: Console) -> Towns:
    """Make the towns and index them, unless they are there.

    Args:
        folder: Where they go.
        console: Shows the progress.

    Returns:
        The catalog and the unseen town.
    """
    out, unseen = folder / "catalog", folder / "unseen"
    if not (out / "images.parquet").exists():
        for seed in console.track((*TRAIN_SEEDS, *VAL_SEEDS), "building towns", unit="towns"):
            place = "train" if seed in TRAIN_SEEDS else "val"
            files = save(town(seed, gsd_m=GSD_M), folder / place, nir=False)
            index([files.image], out, labels=files.buildings, place=place, append=True)
    files = save(town(TEST_SEED, gsd_m=GSD_M), unseen, nir=False, stem="unseen_town")
    return Towns(Catalog.open(out), files.image, files.buildings)
