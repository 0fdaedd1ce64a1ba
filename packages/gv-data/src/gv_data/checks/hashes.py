"""Perceptual hashes: 64 bits that stay the same when an image is resized, brightened or compressed.

The image is averaged to 32 x 32 cells of grey, and the signs of 64 coefficients of its cosine
transform are kept, 1 to 8 along both axes (Zauner 2010, "Implementation and benchmarking of
perceptual image hash functions"; there coefficients are compared with their median, which is near
0). Row and column 0 are left out: they hold light and slopes, which all places share. Copies of an
image differ in a few bits; images of different ground in about 32, as coins do.

A sign turns around when the image is mirrored along an axis where its coefficient is odd, so that
the hash of a turned or mirrored image follows from the bits alone.
"""

import numpy as np
import pyarrow as pa
import scipy.fft
from jaxtyping import Bool, Float, UInt64

from gv_data.errors import DataError
from gv_data.images import Image
from gv_data.measure.upkeep import Upkept
from gv_data.pictures.thumbnails import shown_bands
from gv_data.rasters.raster import Scene
from gv_data.store.tables import HASHES as SCHEMA

CELLS = 32
"""Cells along each side."""

VALID_MIN = 0.25
"""Less data than this share is shaped by the void around it."""

PLAIN_MAX = 0.5
"""When more cells than this share have one value, only the outline of the rest would count."""

_KEPT = 8
"""Coefficients kept along each axis."""

_ROUNDING = 1e-6
"""Coefficients this small, beside the largest value, are what float32 and rounding leave."""

type Turn = tuple[bool, bool, bool]
"""Whether rows and columns change places, then rows run backwards, then columns do."""

TURNS: tuple[Turn, ...] = tuple(
    (swap, down, across)
    for swap in (False, True)
    for down in (False, True)
    for across in (False, True)
)
"""The eight ways to lay a square; the first leaves it as it is."""


def hash_of(grey: Float[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"]) -> int | None:
    """The hash of an image.

    Args:
        grey: `CELLS` x `CELLS` values in any unit; brightness and contrast do not matter.
        valid: Where they are data; the rest is taken for as bright as the mean.

    Returns:
        64 bits; None if little distinguishes the image from others.
    """
    there = grey[valid]
    if len(there) < VALID_MIN * grey.size:
        return None
    if np.unique(there, return_counts=True)[1].max() > PLAIN_MAX * len(there):
        return None
    filled = np.where(valid, grey, there.mean()).astype(np.float64)
    kept = slice(1, _KEPT + 1)
    coefficients = scipy.fft.dctn(filled, norm="ortho")[kept, kept]
    if np.abs(coefficients).max() <= _ROUNDING * np.abs(filled).max():
        return None
    return int.from_bytes(np.packbits(coefficients > 0).tobytes())


def turned(hashes: UInt64[np.ndarray, " n"], turn: Turn) -> UInt64[np.ndarray, " n"]:
    """The hashes of images that were turned or mirrored.

    Args:
        hashes: Of the images as they are.
        turn: What was done to them, one of `TURNS`.
    """
    swap, down, across = turn
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8)).reshape(-1, _KEPT, _KEPT)
    if swap:
        bits = bits.transpose(0, 2, 1)
    odd = np.arange(1, _KEPT + 1) % 2 == 1
    flipped = (odd[:, None] & down) ^ (odd[None, :] & across)
    packed = np.packbits((bits ^ flipped).reshape(-1, _KEPT**2), axis=1)
    return packed.view(">u8").ravel().astype(np.uint64)


def _rows(image: Image) -> pa.Table | str:
    """The row of an image, or why there is none."""
    (row, column), (height, width) = image.origin, image.grid.shape_hw
    bands = shown_bands(image.bands)
    try:
        with Scene(image.path, driver=image.driver, source=image.source) as scene:
            part = (row, column, row + height, column + width)
            values, valid = scene.read(part, (CELLS, CELLS), bands=bands)
        seen = image.path.stat()
    except (DataError, OSError) as error:
        return str(error)
    return pa.table(
        {
            "id": [image.id],
            "hash": pa.array([hash_of(values.mean(axis=0), valid)], pa.uint64()),
            "bytes": [seen.st_size],
            "modified_ns": [seen.st_mtime_ns],
        },
        SCHEMA,
    )


HASHES = Upkept("hashes", SCHEMA, ("image",), _rows, needed=False)
"""How ``hashes.parquet`` is kept up to date; an image that cannot be read has no row."""
