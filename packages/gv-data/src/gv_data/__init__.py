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
    from gv_data.catalog import Catalog
    from gv_data.errors import CatalogError, DataError, RasterError, SampleError, VectorError
    from gv_data.grid import Grid
    from gv_data.images import Image, Images
    from gv_data.intake.gathering import Indexed
    from gv_data.intake.image_row import Part
    from gv_data.intake.indexing import index
    from gv_data.labels.labels import Labels
    from gv_data.rasters.cog import writing_cog
    from gv_data.rasters.raster import Scene
    from gv_data.rasters.tiling import Blend, Tiling
    from gv_data.splitting.shared_ground import find_shared_ground
    from gv_data.splitting.shares import Shares
    from gv_data.splitting.split import Split
    from gv_data.splitting.splits import split_blocks, split_groups, split_images
    from gv_data.statistics import Moments
    from gv_data.windows.datamodule import DataModule
    from gv_data.windows.dataset import IGNORE, CatalogDataset
    from gv_data.windows.mixing import CutMix, MixUp
    from gv_data.windows.photometry import BandDrop, Blur, Calibration, Light, Noise
    from gv_data.windows.places import whole_images, windows_around
    from gv_data.windows.random_windows import RandomWindows
    from gv_data.windows.samplers import GridWindows, ListedWindows
    from gv_data.windows.transforms import Crop, Rotation, chain, turn
    from gv_data.windows.windows import ImageSlice, Windows

_HOMES = {
    "catalog": ("Catalog",),
    "rasters.cog": ("writing_cog",),
    "windows.datamodule": ("DataModule",),
    "windows.dataset": ("IGNORE", "CatalogDataset"),
    "errors": ("CatalogError", "DataError", "RasterError", "SampleError", "VectorError"),
    "grid": ("Grid",),
    "images": ("Image", "Images"),
    "intake.image_row": ("Part",),
    "intake.gathering": ("Indexed",),
    "intake.indexing": ("index",),
    "labels.labels": ("Labels",),
    "windows.mixing": ("CutMix", "MixUp"),
    "windows.photometry": ("BandDrop", "Blur", "Calibration", "Light", "Noise"),
    "windows.places": ("whole_images", "windows_around"),
    "windows.random_windows": ("RandomWindows",),
    "rasters.raster": ("Scene",),
    "windows.samplers": ("GridWindows", "ListedWindows"),
    "splitting.shared_ground": ("find_shared_ground",),
    "splitting.shares": ("Shares",),
    "splitting.split": ("Split",),
    "splitting.splits": ("split_blocks", "split_groups", "split_images"),
    "statistics": ("Moments",),
    "rasters.tiling": ("Blend", "Tiling"),
    "windows.transforms": ("Crop", "Rotation", "chain", "turn"),
    "windows.windows": ("ImageSlice", "Windows"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "IGNORE",
    "BandDrop",
    "Blend",
    "Blur",
    "Calibration",
    "Catalog",
    "CatalogDataset",
    "CatalogError",
    "Crop",
    "CutMix",
    "DataError",
    "DataModule",
    "Grid",
    "GridWindows",
    "Image",
    "ImageSlice",
    "Images",
    "Indexed",
    "Labels",
    "Light",
    "ListedWindows",
    "MixUp",
    "Moments",
    "Noise",
    "Part",
    "RandomWindows",
    "RasterError",
    "Rotation",
    "SampleError",
    "Scene",
    "Shares",
    "Split",
    "Tiling",
    "VectorError",
    "Windows",
    "chain",
    "find_shared_ground",
    "index",
    "split_blocks",
    "split_groups",
    "split_images",
    "turn",
    "whole_images",
    "windows_around",
    "writing_cog",
]


def __getattr__(name: str) -> object:
    if name in _HOME_OF:
        return getattr(import_module(f"gv_data.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'gv_data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
