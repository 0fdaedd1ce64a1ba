"""Opening a raster that nobody vouches for, with a handle that reads this file and no other.

Files are opened by an allow-list of drivers: GDAL chooses a driver by content, and a VRT named
``x.tif`` would read other files. What a file claims of itself is believed within limits.
"""

import ctypes
import math
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import rasterio
import rasterio._env
from rasterio.errors import RasterioIOError

from gv_data.errors import RasterError
from gv_data.locations import gdal_name, gdal_settings, is_file, is_remote
from gv_data.rasters.quiet import quiet

DRIVERS = ("GTiff", "JPEG", "PNG", "JP2OpenJPEG")
"""The formats that are opened, tried in this order. None of them reads other files."""

BLOCK_BYTES_MAX = 256 * 2**20
"""Largest block that is decoded: a small file may declare one block of many gigabytes."""

BANDS_MAX = 1024
"""Most bands that are opened: imaging spectrometers have some hundreds."""

ENVIRONMENT = {"GDAL_CACHEMAX": 32 * 2**20, "GDAL_NUM_THREADS": "1"}
"""For each call: GDAL's cache would take 5 % of the machine's memory."""

STRIPS_ENVIRONMENT = ENVIRONMENT | {"GDAL_CACHEMAX": 128 * 2**20}
"""For files in strips: a row of windows decodes each strip once if all its strips fit."""

_LOADED = os.getpid()
_THREAD = threading.local()

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def opened(path: Path, drivers: Sequence[str]) -> rasterio.DatasetReader:
    """Open a file by the first of some drivers that knows it.

    Args:
        path: The file, local or on ``s3://``.
        drivers: GDAL's names of formats.

    Raises:
        RasterError: If it is missing, or none of them can open it.
    """
    if not is_file(path):
        raise RasterError(f"{path} is not there" if not path.exists() else f"{path} is not a file")
    settings = ENVIRONMENT
    if is_remote(path):
        settings = settings | gdal_settings()
        _leave_connections_of_parent()
    reason = "unknown format"
    for driver in drivers:
        try:
            with rasterio.Env(**settings), quiet():
                return rasterio.open(gdal_name(path), driver=driver)
        except RasterioIOError as error:
            if "not recognized as being in a supported file format" not in str(error):
                reason = gdal_reason(error)
    raise RasterError(f"{path} cannot be opened as an image ({', '.join(drivers)}): {reason}")


def _leave_connections_of_parent() -> None:
    """Let a forked process open connections of its own.

    GDAL keeps those of a thread open for its next request. After a fork the child's would go out on
    the sockets of the parent, and answers to the one be taken for answers to the other: other
    pixels, without an error (seen with a server that keeps connections, as S3 does).
    """
    if getattr(_THREAD, "process", _LOADED) != os.getpid():
        ctypes.CDLL(rasterio._env.__file__).VSICurlClearCache()  # GDAL's, which rasterio links
    _THREAD.process = os.getpid()


def check_companions(path: Path) -> int:
    """Refuse overviews, masks and metadata beside a file that would make GDAL read another one.

    Returns:
        How many overviews and masks there are.

    Raises:
        RasterError: With the file that is to be removed.
    """
    count = 0
    for suffix in (".ovr", ".msk", ".msk.ovr"):
        beside = path.with_name(f"{path.name}{suffix}")
        if beside.is_file():
            count += 1
            with beside.open("rb") as file:
                if file.read(4) not in _TIFF_STARTS:
                    raise RasterError(f"{beside} is no TIFF, as overviews and masks are: remove it")
    metadata = path.with_name(f"{path.name}.aux.xml")
    if metadata.is_file() and b"OVERVIEW_FILE" in metadata.read_bytes():
        raise RasterError(f"{metadata} names another file to read overviews from: remove it")
    return count


def check_whole(path: Path, file: rasterio.DatasetReader) -> None:
    """Refuse a TIFF whose index points beyond its end; no pixel is decoded.

    Args:
        path: The file.
        file: The same, open.

    Raises:
        RasterError: With the size there is and the size the index needs.
    """
    if file.driver != "GTiff":
        return
    size, needed = path.stat().st_size, 0
    height, width = file.block_shapes[0]
    for band in [1] if is_interleaved(file) else file.indexes:
        for row in range(math.ceil(file.height / height)):
            for column in range(math.ceil(file.width / width)):
                offset = file.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band)
                length = file.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=band)
                if offset and length:
                    needed = max(needed, int(offset) + int(length))
    if needed > size:
        raise RasterError(
            f"{path} is cut: it ends at {size:,} bytes, its index needs {needed:,}; fetch it again"
        )


def is_interleaved(file: rasterio.DatasetReader) -> bool:
    """Whether a block holds all bands."""
    return file.interleaving is not None and file.interleaving.name == "pixel"


def gdal_reason(error: BaseException) -> str:
    """GDAL's own words, which rasterio hides in the cause."""
    return str(error.__cause__ or error).splitlines()[0]
