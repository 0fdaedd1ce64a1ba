"""Towns on disk: GeoTIFF and vector files, as other imagery and labels come."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.io import DatasetWriter

from gv_data.atomic import replacing
from gv_data.errors import RasterError
from gv_data.synthetic.town import Town
from gv_data.vectors import vector

BANDS = ("red", "green", "blue", "nir")


@dataclass(frozen=True)
class TownFiles:
    """Where ``save`` put a town."""

    image: Path
    buildings: Path
    roads: Path


def save(
    town: Town,
    folder: Path,
    *,
    nir: bool = True,
    labels: Literal["gpkg", "parquet", "geojson", "fgb"] = "gpkg",
    stem: str | None = None,
) -> TownFiles:
    """Write a town's image, buildings and roads, each file whole or not at all.

    Args:
        town: What to write.
        folder: Made if missing; files of the same names are replaced.
        nir: Whether to write the near infrared as a fourth band.
        labels: Format of the vector files.
        stem: Start of the file names; ``town-<seed>`` if not given.

    Raises:
        DataError: If the disk is full or a file does not read back as it was written.
    """
    stem = stem or f"town-{town.seed}"
    paths = TownFiles(
        folder / f"{stem}.tif",
        folder / f"{stem}.buildings.{labels}",
        folder / f"{stem}.roads.{labels}",
    )
    pixels = town.image if nir else town.image[:3]

    def same(part: Path) -> None:
        with rasterio.open(part) as written:
            if not np.array_equal(written.read(), pixels):
                raise RasterError(f"{paths.image} does not hold what was written: disk full?")

    with geotiff(paths.image, pixels.shape, town.crs, town.transform, verify=same) as image:
        image.write(pixels)
    vector.write(town.buildings, paths.buildings)
    vector.write(town.roads, paths.roads)
    return paths


@contextmanager
def geotiff(
    path: Path,
    shape: tuple[int, int, int],
    crs: CRS,
    transform: Affine,
    *,
    verify: Callable[[Path], None],
) -> Iterator[DatasetWriter]:
    """Open a tiled uint8 GeoTIFF for writing; it appears under its name when it is whole.

    Args:
        path: Final name.
        shape: Bands (3 or 4: red, green, blue, near infrared), rows, columns.
        crs: Written as it is.
        transform: Pixel corners to ``crs``.
        verify: Called with the finished file before it gets its name; raises if it is damaged.
    """
    bands, height, width = shape
    with (
        replacing(path, verify=verify) as part,
        rasterio.open(
            part,
            "w",
            driver="GTiff",
            count=bands,
            height=height,
            width=width,
            dtype="uint8",
            crs=crs.to_wkt(),
            transform=transform,
            tiled=True,
            blockxsize=512,
            blockysize=512,
            compress="deflate",
            zlevel=1,
            predictor=2,
            interleave="pixel",
            photometric="RGB",
            alpha="NO",  # else GDAL takes the fourth band for transparency
            bigtiff="IF_SAFER",
        ) as image,
    ):
        image.descriptions = BANDS[:bands]
        yield image
