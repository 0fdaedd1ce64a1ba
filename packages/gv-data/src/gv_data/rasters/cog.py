"""Cloud Optimized GeoTIFFs, written in rows in bounded memory.

What is written is read back before it gets its name: on a full disk GDAL may lose pixels without an
error.
"""

import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from rasterio import shutil as raster_files
from rasterio._err import CPLE_BaseError  # what GDAL's COG driver raises; rasterio exports it not
from rasterio.errors import RasterioError
from rasterio.windows import Window

from gv_data.atomic import is_disk_full, replacing
from gv_data.errors import RasterError
from gv_data.grid import Grid
from gv_data.rasters.opening import ENVIRONMENT, check_whole, gdal_reason
from gv_data.rasters.quiet import quiet

COG_OPTIONS = {
    "COMPRESS": "DEFLATE",
    "LEVEL": "2",  # 6, the default, takes 2.5 times as long for 6 % smaller probability maps
    "PREDICTOR": "YES",
    "BLOCKSIZE": "512",
    "BIGTIFF": "IF_SAFER",
    "OVERVIEWS": "AUTO",
    "OVERVIEW_RESAMPLING": "AVERAGE",  # cubic, the default, leaves the range of the values
    "NUM_THREADS": "ALL_CPUS",
}
"""Profile ``deflate`` of rio-cogeo. Deflate also notices most flipped bits when it is read."""


class CogWriter:
    """Rows that become a Cloud Optimized GeoTIFF; made by `writing_cog`."""

    def __init__(self, path: Path, file: rasterio.io.DatasetWriter) -> None:
        self._path = path
        self._file = file
        self._dtype = np.dtype(file.dtypes[0])
        self._checksums: list[int | None] = [None] * file.height

    def write(self, rows: np.ndarray, first_row: int) -> None:
        """Write whole rows (c, h, w) of the file's type, beginning with row ``first_row``.

        Raises:
            RasterError: If they are of another type or do not fit the file.
        """
        bands, height, width = rows.shape
        expected = (self._file.count, self._file.width, self._dtype)
        if (bands, width, rows.dtype) != expected or first_row + height > self._file.height:
            raise RasterError(
                f"{bands} bands of {width} px, {rows.dtype}, up to row {first_row + height} do not "
                f"fit {self._path}: {expected[0]} bands of {expected[1]} px, {expected[2]}, "
                f"{self._file.height} rows"
            )
        self._file.write(rows, window=Window(0, first_row, width, height))
        self._checksums[first_row : first_row + height] = _checksums(rows)

    def check(self, path: Path) -> None:
        """Compare a finished file with what was written.

        Raises:
            RasterError: If rows were never written or do not read back.
        """
        if None in self._checksums:
            missing = self._checksums.index(None)
            raise RasterError(f"{self._path} lacks row {missing}: it was never written")
        with rasterio.open(path, driver="GTiff") as file:
            check_whole(path, file)
            for row in range(0, file.height, 512):
                height = min(512, file.height - row)
                found = file.read(window=Window(0, row, file.width, height))
                if _checksums(found) != self._checksums[row : row + height]:
                    raise RasterError(f"{self._path} does not read back as written at row {row}")


def _checksums(rows: np.ndarray) -> list[int]:
    """One number a row."""
    return [zlib.crc32(np.ascontiguousarray(rows[:, n])) for n in range(rows.shape[1])]


@contextmanager
def writing_cog(
    path: Path,
    grid: Grid,
    *,
    bands: Sequence[str],
    dtype: str = "uint8",
    nodata: float | None = None,
    overwrite: bool = True,
    tags: dict[str, str] | None = None,
) -> Iterator[CogWriter]:
    """Write a raster in rows; when all are there it becomes a COG under its final name.

    Args:
        path: Final name.
        grid: Where the pixels lie.
        bands: One description a band.
        dtype: numpy's name of the type.
        nodata: Value of missing pixels, or None.
        overwrite: Whether an existing file may be replaced.
        tags: Dataset metadata, such as what the values mean.

    Yields:
        The writer, which wants every row once. Memory does not grow with the raster. Nothing is
        left under ``path`` if it fails.

    Raises:
        RasterError: If the disk is full, rows are missing or the file does not read back.
    """
    profile = {
        "driver": "GTiff",
        "height": grid.height_px,
        "width": grid.width_px,
        "count": len(bands),
        "dtype": dtype,
        "nodata": nodata,
        "transform": grid.transform,
        "crs": None if grid.crs is None else grid.crs.to_wkt(),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "zstd",
        "zstd_level": 1,
        "bigtiff": "if_safer",
        "interleave": "pixel",
    }
    writer: CogWriter | None = None
    failed = f"{path} could not be written"

    def verify(part: Path) -> None:
        if writer is not None:
            with explained(path, failed):
                writer.check(part)

    with (
        rasterio.Env(**ENVIRONMENT),
        replacing(path, verify=verify, overwrite=overwrite) as part,
        _scratch(part) as scratch,
        explained(path, failed),
    ):
        with quiet():  # grid.crs may be None
            file = rasterio.open(scratch, "w", **profile)
        with file:
            for n, name in enumerate(bands, 1):
                file.set_band_description(n, name)
            file.update_tags(**(tags or {}))
            writer = CogWriter(path, file)
            yield writer
        raster_files.copy(scratch, part, driver="COG", **COG_OPTIONS)


@contextmanager
def _scratch(part: Path) -> Iterator[Path]:
    """A second temporary file beside ``part``, removed in any case."""
    scratch = part.with_name(f"{part.name}.0")
    try:
        yield scratch
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def explained(path: Path, failed: str, *, needed_bytes: int = 0) -> Iterator[None]:
    """One error for all that GDAL raises, while the parts that fill the disk are still there.

    Args:
        path: The file that is written.
        failed: How the error begins unless the disk is full: what could not be done.
        needed_bytes: Space that the file may need. GDAL's COG driver removes its parts before it
            raises: less free space than that explains a failed writing.
    """
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        scarce = shutil.disk_usage(path.parent).free < needed_bytes and "Read" not in str(error)
        if scarce or is_disk_full(error, path.parent):
            raise RasterError(
                f"no space left to write {path}: free the disk and run again"
            ) from error
        raise RasterError(f"{failed}: {gdal_reason(error)}") from error
