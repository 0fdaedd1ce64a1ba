"""Rasters read in windows at any ground sampling distance.

Values leave in physical units (the file's scale and offset applied), with a mask that says where
there is data at all (nodata value, alpha band or mask band).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import rasterio
from jaxtyping import Bool, Float, Shaped
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio._err import CPLE_BaseError  # what GDAL's COG driver raises; rasterio exports it not
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.env import hasenv
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from gv_data.errors import RasterError
from gv_data.grid import Grid
from gv_data.locations import gdal_settings, is_remote, located
from gv_data.rasters.opening import (
    BANDS_MAX,
    BLOCK_BYTES_MAX,
    DRIVERS,
    ENVIRONMENT,
    STRIPS_ENVIRONMENT,
    check_companions,
    check_whole,
    gdal_reason,
    is_interleaved,
    opened,
)
from gv_data.sources import Source


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
        scale: What a value on disk is multiplied by, per band.
        offset: What is added then, which gives physical units.
        block_hw: Rows and columns of the blocks that the file is decoded in.
        overviews: Factors of the coarser copies that the file holds, rising.
        block_bytes: Size of one of them in memory; a TIFF keeps one, and one as it is on disk.
        descriptors: Files that may be open for it: its own, overviews and masks beside it.
    """

    def __init__(
        self, path: str | Path, *, driver: str | None = None, source: Source | None = None
    ) -> None:
        """Open a raster.

        Args:
            path: A file, local or on ``s3://``.
            driver: Its format, when it is known; else each of `DRIVERS` is tried.
            source: What is known better than the file says: names of bands, scale, offset, nodata.

        Raises:
            RasterError: If the file is missing, cut, no image, declares impossible sizes, or does
                not have as many bands as the source names.
        """
        self.path = located(path)
        self._remote = is_remote(self.path)
        # what lies beside a remote file is not looked for: each look is a request
        self.descriptors = 1 + (0 if self._remote else check_companions(self.path))
        self._file = opened(self.path, (driver,) if driver else DRIVERS)
        try:
            self._describe()
            if source is not None:
                self._correct(source)
        except BaseException:
            self.close()
            raise

    def _correct(self, source: Source) -> None:
        """Let what is known better take the place of what the file says."""
        count = len(self.bands)
        for what, given in (
            ("names", source.bands),
            ("scales", source.scale),
            ("offsets", source.offset),
        ):
            if given and len(given) != count and (what == "names" or len(given) > 1):
                raise RasterError(
                    f"{self.path} has {count} bands: {', '.join(self.bands)}; {len(given)} {what} "
                    f"are given: {', '.join(map(str, given))}"
                )
        self.bands = source.bands or self.bands
        if source.scale:
            self.scale = np.broadcast_to(np.array(source.scale), (count,)).copy()
        if source.offset:
            self.offset = np.broadcast_to(np.array(source.offset), (count,)).copy()
        self._scaled = bool((self.scale != 1).any() or (self.offset != 0).any())
        if source.nodata is not None:
            self._file = WarpedVRT(self._file, src_nodata=source.nodata, nodata=source.nodata)
            self._mark_missing()

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
        if is_interleaved(file):
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
            crs = _crs(file.crs.to_wkt()) if placed else None
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
        self.scale = np.array([file.scales[n - 1] for n in self._indexes])
        self.offset = np.array([file.offsets[n - 1] for n in self._indexes])
        self._scaled = bool((self.scale != 1).any() or (self.offset != 0).any())
        self.block_hw: tuple[int, int] = file.block_shapes[0]
        self.overviews = tuple(file.overviews(1))
        self.block_bytes = block_bytes
        striped = any(columns >= file.width for _, columns in file.block_shapes)
        self._environment = STRIPS_ENVIRONMENT if striped else ENVIRONMENT
        if self._remote:
            self._environment = self._environment | gdal_settings()
        self._mark_missing()

    def _mark_missing(self) -> None:
        """Learn how the file says what is no data."""
        file = self._file
        self.nodata: float | None = file.nodata
        self._whole = all(MaskFlags.all_valid in flags for flags in file.mask_flag_enums)
        # 0 and 255 are colours too: such a pixel is missing only when all its bands say so
        colour = file.nodata == 0 or np.dtype(self.dtype).itemsize == 1
        self._missing_by_band = file.nodata is not None and not colour
        # then values say what masks would, without another reading; float32 holds all of them
        self._missing_by_value = (
            all(flags == [MaskFlags.nodata] for flags in file.mask_flag_enums)
            and len(set(file.nodatavals)) == 1
            and file.nodata in range(-(2**15), 2**16)
            and set(file.dtypes) <= {"uint8", "int8", "uint16", "int16"}
        )

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
        rows = _inside(top, bottom, height, self.grid.height_px)
        columns = _inside(left, right, width, self.grid.width_px)
        if rows is None or columns is None:
            nothing = np.zeros((len(indexes), height, width), np.float32)
            return nothing, np.zeros((height, width), bool)
        part = Window(columns[0], rows[0], columns[1] - columns[0], rows[1] - rows[0])
        inner_hw = (rows[3] - rows[2], columns[3] - columns[2])
        with self._decoding():
            image, valid = self._decode(indexes, part, inner_hw)
        if inner_hw == (height, width):
            return image, valid
        around = ((rows[2], height - rows[3]), (columns[2], width - columns[3]))
        return np.pad(image, ((0, 0), *around)), np.pad(valid, around)

    def on(
        self, grid: Grid, *, bands: Sequence[str] | None = None
    ) -> tuple[Float[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
        """The image on the pixels of a grid, wherever that lies.

        Args:
            grid: In the CRS of the image it is a window; in another CRS the image is warped.
            bands: Names of the bands wanted; None reads all.

        Returns:
            As `read` does.

        Raises:
            RasterError: If one of both is not georeferenced, or the image cannot be decoded.
        """
        if grid.crs is None or self.grid.crs is None:
            raise RasterError(f"{self.path} cannot be laid on a grid: one of both has no CRS")
        own, wanted = self.grid.transform, grid.transform
        if grid.crs == self.grid.crs and own.a * wanted.a > 0 and own.e * wanted.e > 0:
            return self.read(self.grid.rows_columns(grid.bounds), grid.shape_hw, bands=bands)
        coarser = grid.gsd_m > self.grid.gsd_m
        with (
            self._decoding(),
            WarpedVRT(
                self._file,
                crs=grid.crs.to_wkt(),
                transform=wanted,
                width=grid.width_px,
                height=grid.height_px,
                resampling=Resampling.average if coarser else Resampling.bilinear,
                add_alpha=self._whole,
            ) as warped,
        ):
            indexes = self._chosen(bands)
            values = self._physical(warped.read(indexes).astype(np.float32), indexes)
            # of floats and signed numbers rasterio takes the alpha band for no mask
            valid = (warped.read(warped.count) if self._whole else warped.dataset_mask()) > 0
        valid &= np.isfinite(values).all(axis=0)
        return np.where(valid, values, np.float32(0)), valid

    def _decode(
        self, indexes: list[int], part: Window, shape_hw: tuple[int, int]
    ) -> tuple[Float[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
        """Values in physical units, and validity, of a window inside the file."""
        values, valid = self._stored(indexes, part, shape_hw, np.float32)
        values = self._physical(values.astype(np.float32, copy=False), indexes)
        if not valid.all():
            np.copyto(values, 0, where=~valid)
        return values, valid

    def _physical(
        self, values: Float[np.ndarray, "c h w"], indexes: list[int]
    ) -> Float[np.ndarray, "c h w"]:
        """Scale and offset of the bands applied in place."""
        if self._scaled:
            positions = [self._indexes.index(n) for n in indexes]
            scale, offset = (v[positions].astype(np.float32) for v in (self.scale, self.offset))
            values *= scale[:, None, None]
            values += offset[:, None, None]
        return values

    def _stored(
        self,
        indexes: list[int],
        part: Window,
        shape_hw: tuple[int, int],
        dtype: type[np.float32] | None = None,
    ) -> tuple[np.ndarray, Bool[np.ndarray, "h w"]]:
        """Values as they are on disk, and validity, of a window inside the file.

        They have the type ``dtype`` already where pixels are those of the file: GDAL then converts
        while it copies. Resampled values are rounded to the type on disk.
        """
        shape = (len(indexes), *shape_hw)
        as_stored = (part.height, part.width) == shape_hw and not (
            part.row_off % 1 or part.col_off % 1
        )
        coarser = part.height > shape_hw[0] or part.width > shape_hw[1]
        how = Resampling.average if coarser else Resampling.bilinear
        data = self._file.read(
            indexes,
            window=part,
            out_shape=shape,
            out_dtype=dtype if as_stored else None,
            resampling=how,
        )
        every = self._missing_by_band or len(indexes) == self._file.count
        if self._whole:
            valid = np.ones(shape_hw, bool)
        elif self._missing_by_value and as_stored and every:
            there = data != self.nodata
            valid = there.all(axis=0) if self._missing_by_band else there.any(axis=0)
        elif self._missing_by_band:
            masks = self._file.read_masks(indexes, window=part, out_shape=shape)
            valid = (masks > 0).all(axis=0)
        else:
            valid = self._file.dataset_mask(window=part, out_shape=shape_hw) > 0
        if np.dtype(self.dtype).kind == "f":
            valid = valid & np.isfinite(data).all(axis=0)
        return data, valid

    def stored(
        self, row: int, column: int, height_px: int, width_px: int
    ) -> tuple[Shaped[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
        """Read a window inside the file as it is on disk.

        Args:
            row: First row.
            column: First column.
            height_px: Rows.
            width_px: Columns.

        Returns:
            The values in the type of the file, `scale` and `offset` not applied; and where they are
            data.

        Raises:
            RasterError: If the window cannot be decoded.
        """
        part = Window(column, row, width_px, height_px)
        with self._decoding():
            return self._stored(self._indexes, part, (height_px, width_px))

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        """GDAL's settings while reading, and our error for its.

        Inside the caller's own ``rasterio.Env`` its settings hold: an inner one would not change
        the size of GDAL's cache, and takes a twentieth of the time that a window takes.
        """
        try:
            inner = hasenv() and not self._remote
            with nullcontext() if inner else rasterio.Env(**self._environment):
                yield
        except (RasterioError, CPLE_BaseError, ValueError) as error:
            raise RasterError(f"{self.path} cannot be decoded: {gdal_reason(error)}") from error

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


_crs = lru_cache(CRS.from_wkt)


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
