"""A picture of a scene with its outlines, small enough to mail."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from PIL import Image, ImageDraw

from gv_data.atomic import replacing
from gv_data.rasters.raster import Scene

SIDE_PX = 1600
OUTLINE = (255, 214, 10)
SHADOW = (20, 20, 20)


class Preview:
    """The picture of a scene, on which outlines are drawn as they are found."""

    def __init__(self, scene_path: Path) -> None:
        """Read the scene, stretched to 2-98 % of its values.

        Args:
            scene_path: The scene; its first three bands are shown, or its first alone.
        """
        with Scene(scene_path) as scene:
            self._grid = scene.grid
            scale = min(1.0, SIDE_PX / max(self._grid.shape_hw))
            height, width = (max(1, round(side * scale)) for side in self._grid.shape_hw)
            names = scene.bands[:3] if len(scene.bands) >= 3 else scene.bands[:1]
            values, valid = scene.read(shape_hw=(height, width), bands=names)
        self._picture = Image.fromarray(_stretched(values, valid))
        self._pen = ImageDraw.Draw(self._picture)
        self._scale_xy = np.array([width / self._grid.width_px, height / self._grid.height_px])
        self._line_px = 3 if max(height, width) >= 1000 else 2
        self._count = 0

    def append(self, outlines: gpd.GeoDataFrame) -> None:
        """Draw polygons in the scene's CRS."""
        self._count += len(outlines)
        for ring in shapely.get_rings(outlines.geometry.to_numpy()):
            corners = self._grid.pixels(shapely.get_coordinates(ring)) * self._scale_xy
            line = list(map(tuple, corners))
            self._pen.line(line, fill=SHADOW, width=self._line_px + 2)
            self._pen.line(line, fill=OUTLINE, width=self._line_px)

    def save(self, path: Path) -> None:
        """Write a PNG, with the number of outlines and a scale bar."""
        pixel_m = None if self._grid.crs is None else self._grid.pixel_m[1] / self._scale_xy[0]
        width, height = self._picture.size
        _legend(self._pen, (height, width), self._count, pixel_m)
        with replacing(path) as part:
            self._picture.save(part, compress_level=4)


def _stretched(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Bytes (h, w, 3); grey where there is no image."""
    shown = np.full((*valid.shape, 3), 90, np.uint8)
    if valid.any():
        step = 4 if valid[::4, ::4].any() else 1
        some = values[:, ::step, ::step][:, valid[::step, ::step]]
        low, high = np.percentile(some, (2, 98), axis=1)
        low, high = float(low.min()), float(high.max())
        for n in range(3):
            band = values[min(n, len(values) - 1)]
            stretched = np.clip((band - low) / max(high - low, 1e-9), 0, 1) * 255
            shown[valid, n] = stretched[valid].astype(np.uint8)
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
