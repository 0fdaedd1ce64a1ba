"""Rows and matrices in one HDF5 file an attempt, readable while it is written (SWMR mode).

SWMR forbids new datasets, so all are made at the start, and text of variable length, so names are
kept once, at a fixed width, and rows hold their number. Matrices lie flat, behind each other:

- ``names``: text of up to 256 bytes;
- ``rows``: ``time, step, epoch, split, kind, name, value, attempt``;
- ``matrices``: ``time, step, epoch, split, name, size, start, first_class, attempt``; the counts
  of one are ``counts[start : start + size * size]``, the numbers of its classes' names
  ``classes[first_class : first_class + size]``.

A file is opened for writing once: after a failed flush HDF5 would go on with wrong values, and
after a kill it refuses to.
"""

from types import ModuleType

import numpy as np

from gv_train.errors import RunError
from gv_train.metric_log.rows import NAME_BYTES

SUFFIX = "h5"
ROW = np.dtype(
    [
        ("time", "f8"),
        ("step", "i8"),
        ("epoch", "i4"),
        ("split", "S5"),
        ("kind", "S5"),
        ("name", "i4"),
        ("value", "f8"),
        ("attempt", "i4"),  # the last, and never 0: a record that a full disk cut shows by it
    ]
)
MATRIX = np.dtype(
    [
        ("time", "f8"),
        ("step", "i8"),
        ("epoch", "i4"),
        ("split", "S5"),
        ("name", "i4"),
        ("size", "i4"),
        ("start", "i8"),
        ("first_class", "i8"),
        ("attempt", "i4"),
    ]
)
DATASETS = {
    "names": (np.dtype(f"S{NAME_BYTES}"), 64),
    "rows": (ROW, 512),
    "matrices": (MATRIX, 64),
    "counts": (np.dtype("i8"), 1024),
    "classes": (np.dtype("i4"), 256),
}
"""Type and records in a chunk; each flush writes a chunk anew."""


def h5py_module() -> ModuleType:
    """h5py, imported when it is first needed.

    Raises:
        RunError: If it is not installed.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise RunError(
            'logs in HDF5 need h5py: install "gv-train[hdf5]", or log as csv or arrow'
        ) from None
    return h5py
