"""A picture of a scene with its outlines, small enough to mail."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import shapely
from PIL import Image, ImageDraw

from gv_data.atomic import replacing
from gv_data.raster import Scene

SIDE_PX = 1600
OUTLINE = (255, 214, 10)
SHADOW = (20, 20, 20)


def draw_preview(path: Path, scene_path: Path, outlines: Path, *, count: int) -> None:
    """Draw the scene, stretched to 2-98 % of its values, with outlines.

    Args:
        path: PNG to write.
        scene_path: The scene; its first three bands are shown, or its first alone.
        outlines: GeoParquet of polygons in the scene's CRS.
        count: Number of outlines, written into the legend.
    """
    with Scene(scene_path) as scene:
        grid = scene.grid
        scale = min(1.0, SIDE_PX / max(grid.shape_hw))
        shape = max(1, round(grid.height_px * scale)), max(1, round(grid.width_px * scale))
        names = scene.bands[:3] if len(scene.bands) >= 3 else scene.bands[:1]
        values, valid = scene.read(shape_hw=shape, bands=names)
    picture = Image.fromarray(_stretched(values, valid))
    pen = ImageDraw.Draw(picture)
    factor = np.array([shape[1] / grid.width_px, shape[0] / grid.height_px])
    width = 3 if max(shape) >= 1000 else 2
    for batch in pq.ParquetFile(outlines).iter_batches(columns=["geometry"]):
        for polygon in shapely.from_wkb(np.asarray(batch["geometry"].to_pylist(), dtype=object)):
            for ring in shapely.get_rings(polygon):
                corners = grid.pixels(shapely.get_coordinates(ring))
                line = list(map(tuple, corners * factor))
                pen.line(line, fill=SHADOW, width=width + 2)
                pen.line(line, fill=OUTLINE, width=width)
    _legend(pen, shape, count, grid.pixel_m[1] / scale if grid.crs is not None else None)
    with replacing(path) as part:
        picture.save(part, compress_level=4)


def _stretched(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Bytes (h, w, 3); grey where there is no image."""
    shown = np.full((*valid.shape, 3), 90, np.uint8)
    if valid.any():
        low, high = np.percentile(values[:, valid], (2, 98), axis=1)
        low, high = float(low.min()), float(high.max())
        stretched = np.clip((values - low) / max(high - low, 1e-9), 0, 1) * 255
        colours = np.broadcast_to(stretched, (3, *valid.shape)).transpose(1, 2, 0)
        shown[valid] = colours[valid].astype(np.uint8)
    return shown


def _legend(
    pen: ImageDraw.ImageDraw, shape: tuple[int, int], count: int, pixel_m: float | None
) -> None:
    """Say what the outlines are and how long a stretch of ground is."""
    size = max(12, round(max(shape) / 60))
    text = f"{count:,} buildings"
    if pixel_m:
        length_m = _round_length(pixel_m * shape[1] / 5)
        length_px = length_m / pixel_m
        left, top = size, shape[0] - size
        pen.line([(left, top), (left + length_px, top)], fill=SHADOW, width=size // 3 + 4)
        pen.line([(left, top), (left + length_px, top)], fill="white", width=size // 3)
        text += f", bar {length_m:g} m"
    where = (size, shape[0] - 2.6 * size)
    pen.text(where, text, fill="white", font_size=size, stroke_width=2, stroke_fill=SHADOW)


def _round_length(length_m: float) -> float:
    """The next smaller 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(max(length_m, 1e-9)))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length_m))
