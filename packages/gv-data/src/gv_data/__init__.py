"""Catalogs of imagery, exact statistics, windows for learning, rasters and vector files.

>>> from gv_data import Grid, Tiling
>>> len(Tiling((1000, 1000), window_px=512, overlap_px=128))
9

What a name needs (torch, rasterio, DuckDB) is imported when it is first used, not by
``import gv_data``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gv_data.catalog import Catalog, Image
    from gv_data.datamodule import DataModule
    from gv_data.dataset import IGNORE, CatalogDataset, ImageSlice
    from gv_data.errors import CatalogError, DataError, RasterError, VectorError
    from gv_data.grid import Grid
    from gv_data.indexing import Indexed, Part, index
    from gv_data.labels import Labels
    from gv_data.raster import Scene, writing_cog
    from gv_data.samplers import GridWindows, RandomWindows
    from gv_data.statistics import Moments
    from gv_data.tiling import Blend, Tiling
    from gv_data.transforms import Light, chain, turn

_HOMES = {
    "catalog": ("Catalog", "Image"),
    "datamodule": ("DataModule",),
    "dataset": ("IGNORE", "CatalogDataset", "ImageSlice"),
    "errors": ("CatalogError", "DataError", "RasterError", "VectorError"),
    "grid": ("Grid",),
    "indexing": ("Indexed", "Part", "index"),
    "labels": ("Labels",),
    "raster": ("Scene", "writing_cog"),
    "samplers": ("GridWindows", "RandomWindows"),
    "statistics": ("Moments",),
    "tiling": ("Blend", "Tiling"),
    "transforms": ("Light", "chain", "turn"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "IGNORE",
    "Blend",
    "Catalog",
    "CatalogDataset",
    "CatalogError",
    "DataError",
    "DataModule",
    "Grid",
    "GridWindows",
    "Image",
    "ImageSlice",
    "Indexed",
    "Labels",
    "Light",
    "Moments",
    "Part",
    "RandomWindows",
    "RasterError",
    "Scene",
    "Tiling",
    "VectorError",
    "chain",
    "index",
    "turn",
    "writing_cog",
]


def __getattr__(name: str) -> object:
    if name in _HOME_OF:
        return getattr(import_module(f"gv_data.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'gv_data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
