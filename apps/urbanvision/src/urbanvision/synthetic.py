"""Synthetic towns as a catalog: the data of a first run, nothing to download."""

from pathlib import Path

from gv_data.catalog import Catalog
from gv_data.intake.indexing import index
from gv_data.synthetic.files import save
from gv_data.synthetic.town import town
from gv_data.terminal.console import Console

SEEDS = {"train": tuple(range(1, 11)), "val": (101, 102), "test": (201, 202)}
"""Towns that are learnt from, that choose the best weights, and that only the verdict sees."""

GSD_M = 0.3


def build_towns(folder: Path, console: Console) -> Catalog:
    """Make towns and index them, unless they are there; ``place`` follows `SEEDS`.

    Args:
        folder: Where they go.
        console: Shows the progress.

    Returns:
        The catalog.
    """
    out = folder / "catalog"
    if not (out / "images.parquet").exists():
        seeds = [(place, seed) for place, numbers in SEEDS.items() for seed in numbers]
        for place, seed in console.track(seeds, "building towns", unit="towns"):
            files = save(town(seed, gsd_m=GSD_M), folder / "towns", nir=False)
            index([files.image], out, labels=files.buildings, place=place, append=True)
    return Catalog.open(out)
