"""Writing a metric log: what is added is on its way to the disk when the call returns."""

import contextlib
import time
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Int

from gv_train.errors import RunError
from gv_train.metric_log.files import list_files
from gv_train.metric_log.hdf5_part import Hdf5Part
from gv_train.metric_log.rows import (
    Kind,
    Matrix,
    Row,
    Split,
    check_name,
    parse_name,
    start_rows,
)
from gv_train.metric_log.stream_part import StreamPart

Backend = Literal["csv", "arrow", "hdf5"]
"""Format of the files; all hold the same and may lie in one folder."""

KEPT_ROWS = 100_000
"""Rows kept in memory while the disk takes none: some 30 MB."""
KEPT_MATRICES = 100
RETRY_S = 10.0
"""Seconds between attempts to write again."""


class _Part(Protocol):
    """Files that are written until they are closed or a write fails."""

    number: int
    used: bool

    @property
    def full(self) -> bool: ...
    def add_rows(self, rows: Sequence[Row]) -> None: ...
    def add_matrices(self, matrices: Sequence[Matrix]) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...
    def remove(self) -> None: ...


class MetricLog:
    """Writes the rows and matrices of one attempt.

    A write that fails later on, as on a full disk, is one warning: the log is whole up to there,
    the newest ``KEPT_ROWS`` rows wait in memory, and the log goes on in another file once there is
    space.

    Args:
        folder: ``metrics`` folder of the run; made if missing.
        attempt: Number of the attempt, from 1.
        from_step: Optimizer steps that the checkpoint it started from had finished.
        backend: Format of the files; ``hdf5`` needs the extra ``gv-train[hdf5]``.

    Raises:
        RunError: If the attempt has a log already, the disk is full, or h5py is missing.

    Examples:
        >>> import tempfile
        >>> from gv_train.metric_log import read
        >>> folder = Path(tempfile.mkdtemp())
        >>> log = MetricLog(folder, attempt=1, from_step=0)
        >>> log.add({"loss": 0.5}, step=1, epoch=0, split="train", kind="step")
        >>> [(row.step, row.name, row.value) for row in read(folder)]
        [(1, 'loss', 0.5)]
    """

    def __init__(
        self, folder: Path, attempt: int, from_step: int = 0, backend: Backend = "csv"
    ) -> None:
        self.folder, self.attempt, self.backend = folder, attempt, backend
        self._from_step = from_step
        self._rows: deque[Row] = deque(maxlen=KEPT_ROWS)
        self._matrices: deque[Matrix] = deque(maxlen=KEPT_MATRICES)
        self._names: set[str] = set()
        self._parts = 0
        self._lost = 0
        self._retry_at: float | None = None
        self._closed = False
        folder.mkdir(parents=True, exist_ok=True)
        if any(file.attempt == attempt for file in list_files(folder)):
            raise RunError(f"{folder} has a log of attempt {attempt}: an attempt is logged once")
        try:
            self._part: _Part | None = self._open()
        except OSError as error:
            raise RunError(f"cannot write to {folder} ({error}): free the disk") from error

    def add(
        self, values: Mapping[str, float], *, step: int, epoch: int, split: Split, kind: Kind
    ) -> None:
        """Append values of one moment; when this returns, a kill of the process cannot lose them.

        Args:
            values: Numbers by name.
            step: Optimizer steps finished.
            epoch: Epoch, from 0.
            split: Part of the data they are about.
            kind: Whether they are about a step or an epoch.

        Raises:
            ValueError: If a name has control characters or more than 256 bytes, or the log is
                closed.
        """
        self._add(step, epoch, {(split, kind, name): value for name, value in values.items()})

    def add_named(self, values: Mapping[str, float], *, step: int, epoch: int) -> None:
        """Append values whose names tell split and kind, such as ``val_iou``.

        Args:
            values: Numbers by name; see ``parse_name``.
            step: Optimizer steps finished.
            epoch: Epoch, from 0.

        Raises:
            ValueError: As ``add``.
        """
        self._add(step, epoch, {parse_name(name): value for name, value in values.items()})

    def add_matrix(
        self,
        name: str,
        counts: Int[np.ndarray, "k k"],
        classes: Sequence[str],
        *,
        step: int,
        epoch: int,
        split: Split,
    ) -> None:
        """Append a confusion matrix; when this returns, a kill cannot lose it.

        Args:
            name: Of which head or task, such as ``land_cover``.
            counts: How often a class (row) was taken for a class (column).
            classes: Names of the classes.
            step: Optimizer steps finished.
            epoch: Epoch, from 0.
            split: Part of the data it is about.

        Raises:
            ValueError: If counts are not whole numbers, square and of as many classes, or a name
                is not fit; see ``add``.
        """
        numbers, size = np.asarray(counts), len(classes)
        if numbers.dtype.kind not in "iu" or numbers.shape != (size, size) or size == 0:
            raise ValueError(
                f"a confusion matrix of {size} classes has {size} x {size} whole numbers, got "
                f"{numbers.dtype} of shape {numbers.shape}"
            )
        self._check([name, *classes])
        self._lost += len(self._matrices) == KEPT_MATRICES
        moment = (self.attempt, time.time(), step, epoch, split, name)
        self._matrices.append(Matrix(*moment, tuple(classes), numbers.astype(np.int64)))
        self._write()

    def close(self) -> None:
        """Write what waits in memory and end the files; what cannot be written is one warning."""
        if self._closed:
            return
        if self._retry_at is not None:
            self._retry_at = 0
            self._write()
        self._closed = True
        self._lost += len(self._rows) + len(self._matrices)
        self._tell_loss()
        if self._part is not None:
            self._end(self._part)

    def _add(self, step: int, epoch: int, values: Mapping[tuple[Split, Kind, str], float]) -> None:
        self._check([name for _, _, name in values])
        now = time.time()
        new = [Row(self.attempt, now, step, epoch, *k, float(v)) for k, v in values.items()]
        self._lost += max(len(self._rows) + len(new) - KEPT_ROWS, 0)
        self._rows.extend(new)
        self._write()

    def _check(self, names: Sequence[str]) -> None:
        if self._closed:
            raise ValueError(f"the log of attempt {self.attempt} in {self.folder} is closed")
        for name in names:
            if name not in self._names:
                check_name(name)
                self._names.add(name)

    def _write(self) -> None:
        """Write all that waits, unless a write failed a moment ago."""
        if self._retry_at is not None and time.monotonic() < self._retry_at:
            return
        try:
            if self._part is None:
                self._part = self._open()
            if self._rows:
                self._part.add_rows(self._rows)
                self._rows.clear()
            if self._matrices:
                self._part.add_matrices(self._matrices)
                self._matrices.clear()
        except OSError as error:
            self._leave_part()
            first, self._retry_at = self._retry_at is None, time.monotonic() + RETRY_S
            if first:
                warnings.warn(
                    f"the metric log in {self.folder} cannot be written ({error}): free the disk; "
                    f"training goes on, and up to {KEPT_ROWS:,} values wait in memory",
                    stacklevel=4,
                )
            return
        except BaseException:  # Ctrl-C: a file is not written again after a half-done call
            self._leave_part()
            raise
        self._retry_at = None
        self._tell_loss()
        if self._part.full:
            part, self._part = self._part, None
            self._end(part)

    def _open(self) -> _Part:
        number, starts = self._parts + 1, start_rows(self.attempt, self._from_step)
        part: _Part
        if self.backend == "hdf5":
            part = Hdf5Part(self.folder, self.attempt, number, starts)
        else:
            part = StreamPart(self.folder, self.attempt, number, starts, self.backend)
        self._parts = number
        return part

    def _leave_part(self) -> None:
        """Never write to this part again; later ones that hold nothing are removed."""
        part, self._part = self._part, None
        if part is None:
            return
        part.abandon()
        if not part.used and part.number > 1:
            with contextlib.suppress(OSError):
                part.remove()
                self._parts = part.number - 1

    def _end(self, part: _Part) -> None:
        try:
            part.close()
        except (OSError, RunError) as error:
            part.abandon()
            warnings.warn(
                f"the metric log in {self.folder} could not be closed ({error}): what was logged "
                "is kept and can be read",
                stacklevel=4,
            )

    def _tell_loss(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            warnings.warn(
                f"the metric log in {self.folder} lacks {lost:,} values: the disk was full",
                stacklevel=4,
            )
