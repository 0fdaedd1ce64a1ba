"""Rasters read in windows at any ground sampling distance, and written as Cloud Optimized GeoTIFF.

Values leave in physical units (the file's scale and offset applied), with a mask that says where
there is data at all (nodata value, alpha band or mask band). Files are opened by an allow-list of
drivers: GDAL chooses a driver by content, and a VRT named ``x.tif`` would read other files. What is
written is read back before it gets its name: on a full disk GDAL may lose pixels without an error.
"""

import math
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import rasterio
from jaxtyping import Bool, Float
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio import shutil as raster_files
from rasterio._err import CPLE_BaseError  # what GDAL's COG driver raises; rasterio exports it not
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.windows import Window

from gv_data.atomic import is_disk_full, replacing
from gv_data.errors import RasterError
from gv_data.grid import Grid

DRIVERS = ("GTiff", "JPEG", "PNG", "JP2OpenJPEG")
"""The formats that are opened, tried in this order. None of them reads other files."""

BLOCK_BYTES_MAX = 256 * 2**20
"""Largest block that is decoded: a small file may declare one block of many gigabytes."""

BANDS_MAX = 1024
"""Most bands that are opened: imaging spectrometers have some hundreds."""

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

_ENVIRONMENT = {"GDAL_CACHEMAX": 32 * 2**20, "GDAL_NUM_THREADS": "1"}
"""For each call: GDAL's cache would take 5 % of the machine's memory."""

_STRIPS_ENVIRONMENT = _ENVIRONMENT | {"GDAL_CACHEMAX": 128 * 2**20}
"""For files in strips: a row of windows decodes each strip once if all its strips fit."""

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Scene:
    """One open raster.

    Attributes:
        path: The file.
        driver: GDAL's name of its format.
        grid: Where its pixels lie; ``grid.crs`` is None when the file says nothing.
        bands: Names of the bands that hold data (alpha is not one): descriptions, or colours, or
            ``band_1`` and so on.
        dtype: numpy's name of the type on disk.
        nodata: Value that marks missing pixels on disk, or None.
    """

    def __init__(self, path: str | Path, *, driver: str | None = None) -> None:
        """Open a raster.

        Args:
            path: Local file.
            driver: Its format, when it is known; else each of `DRIVERS` is tried.

        Raises:
            RasterError: If the file is missing, cut, no image, or declares impossible sizes.
        """
        self.path = Path(path)
        self._file = _open(self.path, (driver,) if driver else DRIVERS)
        try:
            self._describe()
        except BaseException:
            self.close()
            raise

    def _describe(self) -> None:
        file = self._file
        if file.count > BANDS_MAX:
            raise RasterError(f"{self.path} has {file.count:,} bands, the limit is {BANDS_MAX:,}")
        if any(name.startswith("complex") for name in file.dtypes):
            raise RasterError(f"{self.path} holds complex numbers: compute intensities first")
        block_bytes = max(
            height * width * np.dtype(kind).itemsize
            for (height, width), kind in zip(file.block_shapes, file.dtypes, strict=True)
        )
        if _is_interleaved(file):
            block_bytes *= file.count
        if block_bytes > BLOCK_BYTES_MAX:
            raise RasterError(
                f"{self.path} has blocks of {block_bytes / 2**20:,.0f} MiB, the limit is "
                f"{BLOCK_BYTES_MAX // 2**20}: rewrite it in tiles, for example by rio cogeo create"
            )
        check_whole(self.path, file)
        self.driver: str = file.driver
        placed = file.crs is not None and not file.transform.is_identity
        try:
            crs = CRS.from_user_input(file.crs) if placed else None
            self.grid = Grid(crs, file.transform, file.height, file.width)
        except (CRSError, RasterError) as error:
            raise RasterError(f"{self.path} cannot be placed on the ground: {error}") from error
        self._indexes = [
            n
            for n, role in zip(file.indexes, file.colorinterp, strict=True)
            if role != ColorInterp.alpha
        ]
        names = [self._band_name(n) for n in self._indexes]
        self.bands = tuple(
            name if name not in names[:n] else f"{name}_{self._indexes[n]}"
            for n, name in enumerate(names)
        )
        self.dtype: str = file.dtypes[0]
        self.nodata = file.nodata
        self._scale = np.array([file.scales[n - 1] for n in self._indexes], np.float32)
        self._offset = np.array([file.offsets[n - 1] for n in self._indexes], np.float32)
        striped = any(columns >= file.width for _, columns in file.block_shapes)
        self._environment = _STRIPS_ENVIRONMENT if striped else _ENVIRONMENT
        self._whole = all(MaskFlags.all_valid in flags for flags in file.mask_flag_enums)
        # 0 and 255 are colours too: such a pixel is missing only when all its bands say so
        colour = file.nodata == 0 or np.dtype(self.dtype).itemsize == 1
        self._missing_by_band = file.nodata is not None and not colour

    def _band_name(self, index: int) -> str:
        named = self._file.descriptions[index - 1]
        colour = self._file.colorinterp[index - 1]
        if named:
            return named.lower()
        known = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.gray)
        return colour.name if colour in known else f"band_{index}"

    def read(
        self,
        window: tuple[float, float, float, float] | None = None,
        shape_hw: tuple[int, int] | None = None,
        *,
        bands: Sequence[str] | None = None,
    ) -> tuple[Float[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
        """Read a window, resampled to a wanted number of pixels.

        Args:
            window: First row, first column, last row, last column as pixel corners of this file,
                not necessarily whole numbers; it may reach beyond the file. None reads all.
            shape_hw: Rows and columns of the result; None keeps the file's pixels.
            bands: Names of the bands wanted, in this order; None reads all.

        Returns:
            The values in physical units, float32, averaged when pixels get larger and bilinear when
            they get smaller; and where they are data. Where they are not, values are 0.

        Raises:
            RasterError: If the file lacks a band or cannot be decoded.
        """
        edges = window or (0, 0, self.grid.height_px, self.grid.width_px)
        top, left, bottom, right = map(_snapped, edges)
        height, width = shape_hw or (round(bottom - top), round(right - left))
        indexes = self._chosen(bands)
        image = np.zeros((len(indexes), height, width), np.float32)
        valid = np.zeros((height, width), bool)
        rows = _inside(top, bottom, height, self.grid.height_px)
        columns = _inside(left, right, width, self.grid.width_px)
        if rows is None or columns is None:
            return image, valid
        inner = (slice(rows[2], rows[3]), slice(columns[2], columns[3]))
        part = Window(columns[0], rows[0], columns[1] - columns[0], rows[1] - rows[0])
        shape_hw = (rows[3] - rows[2], columns[3] - columns[2])
        try:
            with rasterio.Env(**self._environment):
                image[:, *inner], valid[inner] = self._decode(indexes, part, shape_hw)
        except (RasterioError, CPLE_BaseError, ValueError) as error:
            raise RasterError(f"{self.path} cannot be decoded: {_reason(error)}") from error
        return image, valid

    def _decode(
        self, indexes: list[int], part: Window, shape_hw: tuple[int, int]
    ) -> tuple[Float[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
        """Values and validity of a window inside the file."""
        shape = (len(indexes), *shape_hw)
        coarser = part.height > shape_hw[0] or part.width > shape_hw[1]
        how = Resampling.average if coarser else Resampling.bilinear
        data = self._file.read(indexes, window=part, out_shape=shape, resampling=how)
        values = data.astype(np.float32)
        positions = [self._indexes.index(n) for n in indexes]
        scale, offset = self._scale[positions], self._offset[positions]
        if (scale != 1).any() or (offset != 0).any():
            values = values * scale[:, None, None] + offset[:, None, None]
        if self._whole:
            valid = np.ones(shape_hw, bool)
        elif self._missing_by_band:
            masks = self._file.read_masks(indexes, window=part, out_shape=shape)
            valid = (masks > 0).all(axis=0)
        else:
            valid = self._file.dataset_mask(window=part, out_shape=shape_hw) > 0
        if np.issubdtype(data.dtype, np.floating):
            valid = valid & np.isfinite(values).all(axis=0)
        return (values if valid.all() else np.where(valid, values, np.float32(0))), valid

    def _chosen(self, bands: Sequence[str] | None) -> list[int]:
        if bands is None:
            return self._indexes
        missing = [name for name in bands if name not in self.bands]
        if missing:
            raise RasterError(
                f"{self.path} has the bands {', '.join(self.bands)}; wanted: {', '.join(bands)}"
            )
        return [self._indexes[self.bands.index(name)] for name in bands]

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


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
    for band in [1] if _is_interleaved(file) else file.indexes:
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


def _is_interleaved(file: rasterio.DatasetReader) -> bool:
    """Whether a block holds all bands."""
    return file.interleaving is not None and file.interleaving.name == "pixel"


def _open(path: Path, drivers: Sequence[str]) -> rasterio.DatasetReader:
    if not path.is_file():
        raise RasterError(f"{path} is not there" if not path.exists() else f"{path} is not a file")
    _check_companions(path)
    reason = "unknown format"
    for driver in drivers:
        try:
            with rasterio.Env(**_ENVIRONMENT), warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)  # said by our own errors
                return rasterio.open(path, driver=driver)
        except RasterioIOError as error:
            if "not recognized as being in a supported file format" not in str(error):
                reason = _reason(error)
    raise RasterError(f"{path} cannot be opened as an image ({', '.join(drivers)}): {reason}")


def _check_companions(path: Path) -> None:
    """Refuse overviews, masks and metadata beside a file that would make GDAL read another one."""
    for suffix in (".ovr", ".msk", ".msk.ovr"):
        beside = path.with_name(f"{path.name}{suffix}")
        if beside.is_file():
            with beside.open("rb") as file:
                if file.read(4) not in _TIFF_STARTS:
                    raise RasterError(f"{beside} is no TIFF, as overviews and masks are: remove it")
    metadata = path.with_name(f"{path.name}.aux.xml")
    if metadata.is_file() and b"OVERVIEW_FILE" in metadata.read_bytes():
        raise RasterError(f"{metadata} names another file to read overviews from: remove it")


def _reason(error: BaseException) -> str:
    """GDAL's own words, which rasterio hides in the cause."""
    return str(error.__cause__ or error).splitlines()[0]


def _snapped(edge: float) -> float:
    """A pixel corner that only rounding of coordinates has moved, moved back."""
    return float(round(edge)) if abs(edge - round(edge)) < 1e-5 else edge


def _inside(
    first: float, last: float, count: int, size: int
) -> tuple[float, float, int, int] | None:
    """The part of ``count`` pixels spanning ``first``..``last`` that lies in 0..``size``.

    Returns:
        First and last source position, first and last pixel of the result; None if nothing is left.
    """
    step = (last - first) / count
    begin = max(0, math.ceil((0 - first) / step - 1e-6))
    end = min(count, math.floor((size - first) / step + 1e-6))
    if begin >= end:
        return None
    return max(0.0, first + begin * step), min(float(size), first + end * step), begin, end


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

    def verify(part: Path) -> None:
        if writer is not None:
            with _explained(path):
                writer.check(part)

    with (
        rasterio.Env(**_ENVIRONMENT),
        warnings.catch_warnings(),
        replacing(path, verify=verify, overwrite=overwrite) as part,
        _scratch(part) as scratch,
        _explained(path),
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # allowed when grid.crs is None
        with rasterio.open(scratch, "w", **profile) as file:
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
def _explained(path: Path) -> Iterator[None]:
    """One error for all that GDAL raises, while the parts that fill the disk are still there."""
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        if is_disk_full(error, path.parent):
            raise RasterError(
                f"no space left to write {path}: free the disk and run again"
            ) from error
        raise RasterError(f"{path} could not be written: {_reason(error)}") from error
