"""Reading a whole metric log, also while it is written."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int

from gv_train.metric_log.follower import Follower, as_rows, last_kept_steps
from gv_train.metric_log.rows import Matrix, Row

if TYPE_CHECKING:
    import pyarrow as pa


def read(folder: Path, *, superseded: bool = False) -> list[Row]:
    """Read all attempts of a run, also while it is written.

    An attempt that started from step S replaces the rows of earlier attempts after S. Within an
    attempt the last row of the same name, split, kind and step counts.

    Args:
        folder: ``metrics`` folder of the run.
        superseded: Whether to give also the rows that a later attempt replaced.

    Returns:
        Rows by attempt, in the order written. A row that was cut is left out.

    Raises:
        RunError: If a file is damaged, or a newer version wrote it.
    """
    return as_rows(read_table(folder, superseded=superseded))


def read_table(folder: Path, *, superseded: bool = False) -> "pa.Table":
    """Read all attempts of a run as columns, for logs of a million rows.

    Args:
        folder: ``metrics`` folder of the run.
        superseded: Whether to give also the rows that a later attempt replaced.

    Returns:
        The rows of ``read``, with the columns of ``Row``; words are dictionary codes.

    Raises:
        RunError: If a file is damaged, or a newer version wrote it.

    Examples:
        >>> import tempfile
        >>> read_table(Path(tempfile.mkdtemp())).num_rows
        0
    """
    follower = Follower(folder)
    rows = follower.poll().rows
    kept = _newest(rows)
    if not superseded:
        kept &= ~follower.superseded(rows)
    return rows if kept.all() else rows.filter(kept)


def read_matrices(folder: Path, *, superseded: bool = False) -> list[Matrix]:
    """Read the confusion matrices of all attempts of a run, also while it is written.

    Args:
        folder: ``metrics`` folder of the run.
        superseded: Whether to give also the matrices that a later attempt replaced.

    Returns:
        Matrices by attempt, in the order written, by the rule of ``read``.

    Raises:
        RunError: If a file is damaged, or a newer version wrote it.
    """
    follower = Follower(folder)
    newest: dict[tuple, Matrix] = {}
    for matrix in follower.poll().matrices:
        key = (matrix.attempt, matrix.name, matrix.split, matrix.step)
        newest.pop(key, None)
        newest[key] = matrix
    last = last_kept_steps(follower.starts)
    return [m for m in newest.values() if superseded or m.step <= last.get(m.attempt, math.inf)]


def _newest(rows: "pa.Table") -> Bool[np.ndarray, " n"]:
    """Which rows are the last of their attempt, name, split, kind and step."""
    codes = [_codes(rows, name) for name in ("name", "split", "kind")]
    group = rows["attempt"].to_numpy().astype(np.int64)
    for code in codes:
        group = group * (int(code.max(initial=0)) + 1) + code
    step = rows["step"].to_numpy()
    order = np.lexsort((step, group))  # stable: equal ones stay in the order written
    last = np.ones(len(order), bool)
    last[:-1] = (np.diff(group[order]) != 0) | (np.diff(step[order]) != 0)
    newest = np.zeros(len(order), bool)
    newest[order[last]] = True
    return newest


def _codes(rows: "pa.Table", name: str) -> Int[np.ndarray, " n"]:
    chunks = rows.column(name).combine_chunks()
    return chunks.indices.to_numpy().astype(np.int64)
