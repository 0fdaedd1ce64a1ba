"""An append-only log of metrics that survives kills and is readable while it grows.

Each attempt of a run has its own files in ``metrics/``, in one of three formats that hold the same:

====== ======================== ===========================================================
csv    ``attempt-0001.csv``     lines; matrices in ``matrices-0001.csv``
arrow  ``attempt-0001.arrows``  an IPC stream, ``attempt-0001.parquet`` once it is closed;
                                matrices in ``matrices-0001.arrows`` and ``.parquet``
hdf5   ``attempt-0001.h5``      rows and matrices, written in SWMR mode
====== ======================== ===========================================================

A row is ``attempt, time, step, epoch, split, kind, name, value``. Rows are appended and never
rewritten. Rows of kind ``start`` open each file: the version of the format, and the step that the
attempt started from, by which a reader knows which rows of earlier attempts were trained again.
After a failed write the log goes on in another file, ``attempt-0001.part2.csv``.

``step`` counts finished optimizer steps: a training row at step 7 came from the seventh step.
"""

from gv_train.metric_log.follower import Follower, News, as_rows, superseded
from gv_train.metric_log.hdf5_repair import repair
from gv_train.metric_log.reader import read, read_matrices, read_table
from gv_train.metric_log.rows import Kind, Matrix, Row, Split, parse_name
from gv_train.metric_log.writer import Backend, MetricLog

__all__ = [
    "Backend",
    "Follower",
    "Kind",
    "Matrix",
    "MetricLog",
    "News",
    "Row",
    "Split",
    "as_rows",
    "parse_name",
    "read",
    "read_matrices",
    "read_table",
    "repair",
    "superseded",
]
