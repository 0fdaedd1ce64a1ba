"""Writes metric logs in children that are to be killed; started by ``test_metric_log_faults``.

Each line of the input, ``folder attempt from_step backend``, makes a child by forking this process,
which has imported all. It prints its process number, then the step of each add that returned; at
the end this process prints ``dead``.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import cast

import h5py
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from gv_data import atomic
from gv_train.metric_log import Backend, MetricLog, arrow_format

APPENDS = 20
"""Appends after which a stream becomes a parquet file, so that kills meet that as well."""


def say(word: object) -> None:
    os.write(1, f"{word}\n".encode())


def write(folder: Path, attempt: int, start: int, backend: Backend) -> None:
    """Two values and, each fifth step, a matrix."""
    log = MetricLog(folder, attempt, start, backend)
    say(os.getpid())
    for step in range(start + 1, 10**9):
        log.add_named({"train_loss": 1 / step, "lr": step}, step=step, epoch=step // 10)
        if step % 5 == 0:
            counts = np.array([[step, 1], [2, 3]])
            log.add_matrix("roofs", counts, ["no", "yes"], step=step, epoch=0, split="val")
        say(step)


def main() -> None:
    """Serve until the input ends."""
    assert h5py
    assert pa
    assert parquet
    assert atomic
    setattr(arrow_format, "APPENDS", APPENDS)  # noqa: B010  a constant otherwise
    # Arrow's threads are idle, and it makes new ones after a fork.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    for line in sys.stdin:
        folder, attempt, start, backend = line.split()
        child = os.fork()
        if child == 0:
            try:
                write(Path(folder), int(attempt), int(start), cast(Backend, backend))
            finally:
                os._exit(1)
        os.waitpid(child, 0)
        say("dead")


if __name__ == "__main__":
    main()
