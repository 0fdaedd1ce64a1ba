"""``urbanvision evaluate``: maps against true buildings, on the pixels of their scenes."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from gv_data import atomic
from gv_data.errors import DataError, VectorError
from gv_data.labels.labels import Labels
from gv_data.rasters.raster import Scene
from gv_data.terminal.console import Console
from gv_data.vectors import vector
from urbanvision.scores import Scores, score


def evaluate(values: argparse.Namespace, console: Console) -> int:
    """Score maps.

    Args:
        values: What the command line says; see `urbanvision.verbs`.
        console: How loud to be.

    Returns:
        0, or 4 when the IoU is lower than was asked for.

    Raises:
        DataError: If a file cannot be read or nothing of the truth lies on the scenes.
    """
    if len(values.maps) != len(values.scene):
        raise DataError(f"{len(values.maps)} maps need as many scenes, got {len(values.scene)}")
    if isinstance(values.json, Path | str) and Path(values.json).suffix != ".json":
        raise DataError(f"--json {values.json}: name a file that ends in .json")
    truth = Labels.read(
        values.truth,
        labelled_area=values.labelled_area,
        crs=values.labels_crs,
        swap_xy=values.swap_xy,
    )
    pooled = None
    for map_path, scene_path in zip(values.maps, values.scene, strict=True):
        found = _score(map_path, scene_path, truth)
        pooled = found if pooled is None else pooled + found
    assert pooled is not None, "the command line asks for at least one map"
    figures = _figures(pooled)
    if isinstance(values.json, Path | str):
        atomic.write_text(Path(values.json), json.dumps(figures, indent=2) + "\n")
    if values.errors is not None:
        lonlat = [table.to_crs("OGC:CRS84") for table in pooled.objects]
        vector.write(gpd.GeoDataFrame(pd.concat(lonlat, ignore_index=True)), values.errors)
    console.answer(figures, _words(pooled, len(values.maps)))
    return 4 if values.min_iou is not None and not pooled.iou >= values.min_iou else 0


def _score(map_path: Path, scene_path: Path, truth: Labels) -> Scores:
    mapped = vector.read(map_path)
    with Scene(scene_path) as scene:
        grid = scene.grid
        if grid.crs is None:
            raise DataError(f"{scene_path} has no CRS: nothing says where the truth lies on it")
        if not len(truth.touching(grid)):
            raise VectorError(truth.why_outside([grid.lonlat_bounds()]))
        real = gpd.GeoDataFrame(geometry=truth.polygons(grid), crs=grid.crs)
        return score(mapped, real, grid, valid_rows=_known(scene, truth))


def _known(scene: Scene, truth: Labels) -> Callable[[int, int], np.ndarray]:
    """Where the scene has an image and the truth is complete, by rows."""

    def rows(top: int, bottom: int) -> np.ndarray:
        width = scene.grid.width_px
        _, valid = scene.read((top, 0, bottom, width), bands=scene.bands[:1])
        return valid & truth.on(scene.grid.part(top, 0, bottom - top, width)).labelled

    return rows


def _figures(scores: Scores) -> dict[str, float | int | None]:
    """All figures by name; None where there is nothing to tell."""
    named = {
        "iou": scores.iou,
        "precision": scores.precision,
        "recall": scores.recall,
        "f1": scores.f1,
        "object_f1": scores.object_f1,
        "object_precision": scores.object_precision,
        "object_recall": scores.object_recall,
    }
    counts = ("tp", "fp", "fn", "object_tp", "object_fp", "object_fn", "ignored")
    return {name: None if value != value else value for name, value in named.items()} | {
        name: getattr(scores, name) for name in counts
    }


def _words(scores: Scores, scenes: int) -> str:
    return "\n".join(
        [
            f"pixels    IoU {scores.iou:.3f}   precision {scores.precision:.3f}   "
            f"recall {scores.recall:.3f}",
            f"objects   F1 {scores.object_f1:.3f}   precision {scores.object_precision:.3f}   "
            f"recall {scores.object_recall:.3f}   (IoU 0.5: {scores.object_tp:,} found, "
            f"{scores.object_fn:,} missed, {scores.object_fp:,} false, {scenes} scenes)",
        ]
    )
