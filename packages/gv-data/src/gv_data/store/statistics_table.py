"""The table ``statistics.parquet``: a row an image, asset and band, and what follows from rows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from gv_data.statistics import Histogram, Moments, Statistics

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("asset", pa.string()),
        ("band", pa.string()),
        ("position", pa.int32()),
        ("valid", pa.int64()),
        ("invalid", pa.int64()),
        ("mean", pa.float64()),
        ("m2", pa.float64()),
        ("m3", pa.float64()),
        ("m4", pa.float64()),
        ("minimum", pa.float64()),
        ("maximum", pa.float64()),
        ("comoments", pa.list_(pa.float64())),
        ("histogram", pa.map_(pa.float64(), pa.int64())),
        ("bytes", pa.int64()),
        ("modified_ns", pa.int64()),
    ]
)
"""Columns; ``position`` counts the bands of an image from 0.

``m2`` to ``m4`` are sums of powers of deviations from the mean, ``comoments`` the sums of products
with the bands that follow, ``bytes`` and ``modified_ns`` say which file was measured. Statistics of
an image without valid pixels have a mean of 0 and no minimum.
"""

PLAIN = ("id", "position", "valid", "invalid", "mean", "m2", "m3", "m4", "minimum", "maximum")
"""Columns that hold one number, from which `pooled` begins."""


def rows(id: str, asset: str, file: Path, found: Statistics) -> pa.Table:
    """The rows of one image.

    Args:
        id: Of the image.
        asset: Which of its rasters.
        file: The raster, whose size and time are recorded.
        found: Its statistics.
    """
    moments, count, seen = found.moments, len(found.bands), file.stat()
    some = found.valid > 0
    keys = [histogram.values for histogram in found.histograms]
    tallies = [histogram.counts for histogram in found.histograms]
    ends = np.cumsum([0, *map(len, keys)])
    return pa.table(
        {
            "id": [id] * count,
            "asset": [asset] * count,
            "band": list(found.bands),
            "position": np.arange(count),
            "valid": [moments.valid] * count,
            "invalid": [moments.invalid] * count,
            "mean": moments.mean,
            "m2": moments.comoments.diagonal(),
            "m3": moments.m3,
            "m4": moments.m4,
            "minimum": moments.minimum if some else [None] * count,
            "maximum": moments.maximum if some else [None] * count,
            "comoments": [moments.comoments[n, n + 1 :] for n in range(count)],
            "histogram": pa.MapArray.from_arrays(
                pa.array(ends, pa.int32()), np.concatenate(keys), np.concatenate(tallies)
            ),
            "bytes": [seen.st_size] * count,
            "modified_ns": [seen.st_mtime_ns] * count,
        },
        SCHEMA,
    )


def pooled(
    bands: tuple[str, ...],
    measured: pa.Table,
    histograms: Callable[[], tuple[Histogram, ...]],
) -> Statistics:
    """The statistics of all pixels of some images with the same bands.

    Args:
        bands: Their names.
        measured: The columns `PLAIN` and ``comoments`` of all of them, ordered by image and band.
        histograms: Gives the pooled histograms, when they are asked for.
    """
    c = len(bands)
    columns = {
        name: measured[name].combine_chunks().fill_null(fill).to_numpy().reshape(-1, c)
        for name in PLAIN[2:]
        for fill in [{"minimum": np.inf, "maximum": -np.inf}.get(name, 0)]
    }
    k = len(columns["valid"])
    comoments = np.zeros((k, c, c))
    upper = np.triu_indices(c, 1)
    flat = measured["comoments"].combine_chunks().flatten().to_numpy()
    comoments[:, upper[0], upper[1]] = comoments[:, upper[1], upper[0]] = flat.reshape(k, -1)
    comoments[:, range(c), range(c)] = columns["m2"]
    moments = Moments.pooled(
        columns["valid"][:, 0],
        columns["invalid"][:, 0],
        columns["mean"],
        columns["m3"],
        columns["m4"],
        comoments,
        columns["minimum"],
        columns["maximum"],
    )
    return Statistics(bands, moments, histograms)
