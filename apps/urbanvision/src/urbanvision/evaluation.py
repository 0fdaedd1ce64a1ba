"""The verdict on a model: buildings mapped and compared with the labels of a catalog's images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pandas as pd
import torch

from gv_data.catalog import Catalog
from gv_data.grid import Grid
from gv_data.terminal.console import Console
from gv_data.vectors.instances import Strip, instances
from gv_data.windows.dataset import IGNORE, CatalogDataset
from gv_data.windows.windows import ImageSlice
from gv_models.package import Package
from gv_train.inference import Windows, probabilities
from urbanvision.mapping import HEADS, frame_of, splitting_at
from urbanvision.scores import Scores, score

MAX_PIXELS = 40_000_000
"""Pixels that a verdict looks at: at most a minute or two of a CPU."""


@dataclass(frozen=True)
class Verdict:
    """Scores of a model.

    Attributes:
        scores: Pooled over the images.
        images: Number of images looked at.
        of: Number of images there were.
    """

    scores: Scores
    images: int
    of: int


def judge(
    package: Package, view: Catalog, *, device: torch.device, console: Console | None = None
) -> Verdict:
    """Map the images of a view as `urbanvision predict` does and compare with their labels.

    Args:
        package: The model.
        view: Images with labels; where labels are not complete nothing counts.
        device: Where the model is.
        console: Shows the progress.

    Returns:
        Pooled scores over as many images as `MAX_PIXELS` allow, in the order of the view.
    """
    console = console or Console(quiet=True)
    dataset = CatalogDataset(view, gsd_m=package.card.gsd_m)
    chosen, pixels = [], 0
    for row, grid in enumerate(dataset.grids):
        more = grid.height_px * grid.width_px
        if not chosen or pixels + more <= MAX_PIXELS:
            chosen.append(row)
            pixels += more
    pooled = None
    for row in console.track(chosen, "judging", unit="images"):
        found = _score_image(package, dataset, row, device)
        pooled = found if pooled is None else pooled + found
    assert pooled is not None, "a dataset has at least one image"
    return Verdict(pooled, len(chosen), len(dataset))


def _score_image(
    package: Package, dataset: CatalogDataset, row: int, device: torch.device
) -> Scores:
    grid = dataset.grids[row]
    image = dataset.images[row]
    windows = Windows(package.card.window_px, package.card.overlap_px)
    part = _Part(dataset, row)
    rows = probabilities(package, part, grid, heads=HEADS, windows=windows, device=device)
    strips: Iterator[Strip] = ((r.heads["interior"], r.heads["edge"]) for r in rows)
    splitting = splitting_at(grid, package.card.threshold)
    frames = [frame_of(found, grid, first_id=1) for found in instances(strips, splitting)]
    mapped = gpd.GeoDataFrame(pd.concat(frames), crs=grid.crs) if frames else _nothing(grid)
    labels = dataset.labels_of(image)
    truth = gpd.GeoDataFrame(geometry=labels.polygons(grid), crs=grid.crs)

    def known(top: int, bottom: int) -> np.ndarray:
        strip = grid.part(top, 0, bottom - top, grid.width_px)
        return dataset[ImageSlice.of(row, strip, 0)]["mask"].numpy() != IGNORE

    return score(mapped, truth, grid, valid_rows=known)


def _nothing(grid: Grid) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(geometry=gpd.GeoSeries([], crs=grid.crs))


class _Part:
    """One row of a catalog as the scene that inference reads from."""

    def __init__(self, dataset: CatalogDataset, row: int) -> None:
        self.grid = dataset.images[row].grid
        self._dataset, self._row = dataset, row

    def read(
        self,
        window: tuple[float, float, float, float],
        shape_hw: tuple[int, int],
        *,
        bands: Sequence[str] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read pixels of the row's own ground; ``window`` counts its file's pixels from there."""
        top, left, bottom, right = window
        t = self.grid.transform
        scale = t.scale((right - left) / shape_hw[1], (bottom - top) / shape_hw[0])
        grid = Grid(self.grid.crs, t @ t.translation(left, top) @ scale, *shape_hw)
        sample = self._dataset[ImageSlice.of(self._row, grid, 0)]
        return sample["image"].numpy(), sample["valid"].numpy()
