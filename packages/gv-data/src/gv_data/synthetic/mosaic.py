"""Scenes larger than memory, for measuring what costs what.

A mosaic repeats a handful of towns, mirrored at random: it has the statistics of imagery, not its
variety, and streets end where towns meet. Train and score on ``town``; measure on this.
"""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from gv_data.errors import RasterError
from gv_data.synthetic.files import geotiff
from gv_data.synthetic.setting import Density
from gv_data.synthetic.town import town

TOWN_PX = 1024
_CACHE_BYTES = 64 * 2**20  # GDAL's own default grows with the machine's memory


def write_mosaic(
    path: Path,
    seed: int,
    *,
    size_px: int = 20_000,
    gsd_m: float = 0.3,
    density: Density = "mixed",
    towns: int = 4,
    epsg: int = 32737,
) -> None:
    """Write a large red, green, blue GeoTIFF.

    Memory is that of ``towns`` towns, whatever ``size_px`` is.

    Args:
        path: File to make or replace.
        seed: Decides everything. A mosaic's ground may overlap that of a town of another seed.
        size_px: Side of the image.
        gsd_m: Ground sampling distance.
        density: How closely houses stand.
        towns: How many different towns are repeated.
        epsg: The UTM zone to lie in.

    Raises:
        DataError: If the disk is full or the file does not read back whole.
    """
    made = [
        town(seed + n, size_px=min(TOWN_PX, size_px), gsd_m=gsd_m, density=density, epsg=epsg)
        for n in range(towns)
    ]
    first = made[0]
    pieces = [one.image[:3] for one in made]
    side = pieces[0].shape[1]
    rng = np.random.default_rng(seed)

    def reads_back(part: Path) -> None:
        with rasterio.open(part) as written:
            for _, block in written.block_windows(1):
                if not written.read(window=block).any():
                    raise RasterError(f"{path} has holes: is the disk full?")

    shape, transform = (3, size_px, size_px), first.transform
    with (
        rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES),
        geotiff(path, shape, first.crs, transform, verify=reads_back) as image,
    ):
        for row in range(0, size_px, side):
            for column in range(0, size_px, side):
                piece = pieces[rng.integers(towns)]
                down, right = rng.choice([1, -1], 2)
                piece = piece[:, ::down, ::right][:, : size_px - row, : size_px - column]
                window = Window(column, row, piece.shape[2], piece.shape[1])  # type: ignore[call-arg]
                image.write(piece, window=window)
