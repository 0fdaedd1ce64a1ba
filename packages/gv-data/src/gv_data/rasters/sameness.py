"""Whether two open rasters are the same: what they say of themselves, and every pixel.

It proves that a file was rewritten without loss. An alpha band and a mask band say the same thing
in two ways and may stand for each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from jaxtyping import Shaped
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from gv_data.errors import RasterError

WINDOW_BYTES = 8 * 2**20
"""What is compared at once."""

_GDALS_DOMAINS = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "RPC", "TIFF"}


@dataclass(frozen=True)
class Change:
    """How much the values differ.

    Attributes:
        rms: Root mean square over all values that are data.
        largest: The largest difference.
    """

    rms: float
    largest: float


def differences(before: rasterio.DatasetReader, after: rasterio.DatasetReader) -> list[str]:
    """Name what a file says of itself that another one does not say.

    Args:
        before: A raster.
        after: What should be the same; it may have more tags.

    Returns:
        Such as ``nodata`` or ``tag ACQUIRED``; nothing if all agrees. Statistics that a viewer left
        are not looked for.
    """
    said, repeated = _said(before), _said(after)
    found = [name for name, value in said.items() if repeated[name] != value]
    moved = np.array(~before.transform @ after.transform) - np.array(Affine.identity())
    if np.abs(moved).max() > 1e-6:  # of a pixel
        found.append("transform")
    bands = [(None, None), *zip(_data(before), _data(after), strict=False)]
    for there, here in bands:
        told = after.tags() if here is None else after.tags(here)
        for name, value in (before.tags() if there is None else before.tags(there)).items():
            if told.get(name) != value and not name.startswith("STATISTICS_"):
                found.append(f"tag {name}")
    return found


def lost_domains(before: rasterio.DatasetReader, after: rasterio.DatasetReader) -> tuple[str, ...]:
    """Name the metadata domains of other programs that a file no longer has."""
    return tuple(sorted(_domains(before) - _domains(after)))


def change(
    before: rasterio.DatasetReader, after: rasterio.DatasetReader, *, rms_max: float
) -> Change:
    """Compare all pixels of two rasters of the same size, window by window.

    Args:
        before: A raster.
        after: What should be the same.
        rms_max: Largest root mean square of the differences in a window; 0 wants all values to be
            equal, also under the mask. Masks must be equal in any case.

    Raises:
        RasterError: With the place where they differ by more.
    """
    squares, count, largest = 0.0, 0, 0.0
    for window, bands in _windows(before):
        masks = _mask(before, window), _mask(after, window)
        values = [
            file.read([_data(file)[n] for n in bands], window=window) for file in (before, after)
        ]
        place = f"near row {window.row_off}, column {window.col_off}"
        if not np.array_equal(*masks):
            raise RasterError(f"the mask differs {place}")
        if rms_max == 0:
            floats = values[0].dtype.kind == "f"
            if not np.array_equal(*values, equal_nan=floats):
                raise RasterError(f"values differ {place}")
            continue
        known = (masks[0] > 0).all(axis=0)
        difference = np.subtract(*(data[:, known] for data in values), dtype=np.float32)
        square = np.square(difference, dtype=np.float32).sum(dtype=np.float64)
        if square > rms_max**2 * difference.size:
            rms = (square / difference.size) ** 0.5
            raise RasterError(
                f"values differ by {rms:.0f} {place} (root mean square), the limit is {rms_max:g}"
            )
        squares, count = squares + square, count + difference.size
        largest = max(largest, float(np.abs(difference).max(initial=0)))
    return Change(float(squares / max(count, 1)) ** 0.5, largest)


def _said(file: rasterio.DatasetReader) -> dict[str, Any]:
    """What a file says of itself and its bands, comparable by ``==``."""
    points, points_crs = file.gcps
    bands = _data(file)

    def of(values: tuple[Any, ...]) -> list[Any]:
        return [values[n - 1] for n in bands]

    return {
        "size": file.shape,
        "types": of(file.dtypes),
        "CRS": file.crs,
        "nodata": str(file.nodata),  # as text nan equals nan
        "mask": _alphas(file) != [] or MaskFlags.per_dataset in file.mask_flag_enums[0],
        "band names": of(file.descriptions),
        "colours": of(file.colorinterp),
        "colour table": [
            file.colormap(n) if file.colorinterp[n - 1] == ColorInterp.palette else None
            for n in bands
        ],
        "scales": of(file.scales),
        "offsets": of(file.offsets),
        "units": of(file.units),
        "ground control points": [(p.row, p.col, p.x, p.y, p.z) for p in points],
        "CRS of ground control points": points_crs if points else None,
        "RPCs": file.rpcs and file.rpcs.to_dict(),
    }


def _data(file: rasterio.DatasetReader) -> list[int]:
    """Numbers of the bands that hold data."""
    alphas = _alphas(file)
    return [n for n in file.indexes if n not in alphas]


def _alphas(file: rasterio.DatasetReader) -> list[int]:
    roles = zip(file.indexes, file.colorinterp, strict=True)
    return [n for n, role in roles if role == ColorInterp.alpha]


def _domains(file: rasterio.DatasetReader) -> set[str]:
    return set(file.tag_namespaces()) - _GDALS_DOMAINS


def _mask(file: rasterio.DatasetReader, window: Window) -> Shaped[np.ndarray, "n h w"]:
    """Alpha bands or the mask band; nothing where a value of the bands marks missing pixels."""
    if alphas := _alphas(file):
        return file.read(alphas, window=window)
    if MaskFlags.per_dataset in file.mask_flag_enums[0]:
        return file.read_masks([1], window=window)
    return np.ones((0, int(window.height), int(window.width)), np.uint8)


def _windows(file: rasterio.DatasetReader) -> Iterator[tuple[Window, list[int]]]:
    """Parts of a file that fit `WINDOW_BYTES`, along its blocks: windows and positions of bands."""
    bands = range(len(_data(file)))
    pixel_bytes = len(bands) * np.dtype(file.dtypes[0]).itemsize
    height, width = min(512, file.height), file.width
    if file.block_shapes[0][1] >= width:  # in strips: whole rows, or each would be decoded again
        height = min(height, max(1, WINDOW_BYTES // (width * pixel_bytes)))
    else:
        width = min(width, max(1, WINDOW_BYTES // (height * pixel_bytes * 512)) * 512)
    at_once = max(1, WINDOW_BYTES * len(bands) // (height * width * pixel_bytes))
    for row in range(0, file.height, height):
        for column in range(0, file.width, width):
            rows, columns = min(height, file.height - row), min(width, file.width - column)
            for first in range(0, len(bands), at_once):
                chosen = list(bands[first : first + at_once])
                yield Window(column, row, columns, rows), chosen
