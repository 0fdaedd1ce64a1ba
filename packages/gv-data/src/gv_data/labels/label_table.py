"""The table ``labels.parquet``: a row an image and class, counted on the image's own pixels."""

import numpy as np
import pyarrow as pa

from gv_data.images import Image
from gv_data.labels.truth import Truths
from gv_data.store.tables import LABELS

_ROWS = 512
"""Rows of pixels counted at once."""


def names(image: Image) -> list[str]:
    """Names of the classes of an image, by their number."""
    classes = list(image.source.classes)
    if image.mask is not None:
        return classes
    return ["background", *(classes or ["object"])]


def rows(image: Image, truths: Truths) -> pa.Table:
    """Count the classes of an image.

    Args:
        image: Of a catalog, with polygons or a mask.
        truths: Knows its labels.

    Raises:
        DataError: If the labels cannot be read.
    """
    file = image.mask or image.vectors
    pixels = np.zeros(256, np.int64)
    for row in range(0, image.grid.height_px, _ROWS):
        height = min(_ROWS, image.grid.height_px - row)
        found = truths.on(image, image.grid.part(row, 0, height, image.grid.width_px))
        if found is not None:
            pixels += np.bincount(found.classes[found.labelled], minlength=256)
    objects = np.zeros(256, np.int64)
    if image.vectors is not None:
        labels = truths.labels(image)
        objects = np.bincount(labels.numbers[labels.touching(image.grid)], minlength=256)
    named = names(image)
    count = max(len(named), int(np.flatnonzero(pixels).max(initial=-1)) + 1)
    pixel_m2 = None if image.grid.crs is None else image.grid.gsd_m**2
    seen = None if file is None else file.stat()
    return pa.Table.from_pylist(
        [
            {
                "id": image.id,
                "class": named[n] if n < len(named) else str(n),
                "number": n,
                "pixels": pixels[n],
                "objects": None if image.vectors is None or n == 0 else objects[n],
                "area_m2": None if pixel_m2 is None else pixels[n] * pixel_m2,
                "bytes": None if seen is None else seen.st_size,
                "modified_ns": None if seen is None else seen.st_mtime_ns,
            }
            for n in range(count)
        ],
        LABELS,
    )
