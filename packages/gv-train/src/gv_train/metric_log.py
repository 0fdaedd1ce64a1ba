"""An append-only log of metrics that survives kills and is readable while it grows.

Each attempt of a run has one CSV file, ``metrics/attempt-0001.csv``, of rows ``attempt, time, step,
epoch, split, kind, name, value``. Rows are appended by one system call and never rewritten. The
first row says from which step the attempt started; by it a reader knows which rows of earlier
attempts were trained again.

``step`` counts finished optimizer steps: a training row at step 7 came from the seventh step.
"""

import csv
import io
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from gv_train.errors import RunError

Split = Literal["train", "val", "test", ""]
"""Part of the data that a value is about; empty if the name does not say."""
Kind = Literal["step", "epoch", "start"]
"""Value of one step, value over an epoch, or the row that opens an attempt."""


class Row(NamedTuple):
    """One value at one moment; ``pandas.DataFrame(rows)`` gives a table.

    Attributes:
        attempt: Attempt of the run, from 1.
        time: Seconds since 1970, UTC.
        step: Optimizer steps finished.
        epoch: Epoch it belongs to, from 0.
        split: Part of the data.
        kind: Whether it is about a step or an epoch.
        name: What was measured, without split and kind, such as ``loss``.
        value: The number, exact; may be NaN.
    """

    attempt: int
    time: float
    step: int
    epoch: int
    split: Split
    kind: Kind
    name: str
    value: float


class MetricLog:
    """Writes the rows of one attempt.

    Args:
        folder: ``metrics`` folder of the run; made if missing.
        attempt: Number of the attempt, from 1.
        from_step: Optimizer steps that the checkpoint it started from had finished.

    Raises:
        RunError: If the attempt has a log already, or the disk is full.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> log = MetricLog(folder, attempt=1, from_step=0)
        >>> log.add({"loss": 0.5}, step=1, epoch=0, split="train", kind="step")
        >>> [(row.step, row.name, row.value) for row in read(folder)]
        [(1, 'loss', 0.5)]
    """

    def __init__(self, folder: Path, attempt: int, from_step: int = 0) -> None:
        self.folder = folder
        self.attempt = attempt
        self.path = folder / f"attempt-{attempt:04d}.csv"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            self._file = os.open(self.path, flags, 0o666)
        except FileExistsError:
            raise RunError(f"{self.path} exists: an attempt is logged once") from None
        start = Row(attempt, time.time(), from_step, 0, "", "start", "from_step", from_step)
        self._append([Row._fields, start])

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
            RunError: If the disk is full; nothing of the call is kept then.
        """
        self._add(step, epoch, {(split, kind, name): value for name, value in values.items()})

    def add_named(self, values: Mapping[str, float], *, step: int, epoch: int) -> None:
        """Append values whose names tell split and kind, such as ``val_iou``.

        Args:
            values: Numbers by name; see ``parse_name``.
            step: Optimizer steps finished.
            epoch: Epoch, from 0.
        """
        self._add(step, epoch, {parse_name(name): value for name, value in values.items()})

    def close(self) -> None:
        """Close the file; nothing is pending."""
        os.close(self._file)

    def _add(self, step: int, epoch: int, values: Mapping[tuple[Split, Kind, str], float]) -> None:
        if any("\n" in name or "\r" in name for _, _, name in values):
            raise ValueError(f"a name must fit in a line: {list(values)}")
        now = time.time()
        self._append([Row(self.attempt, now, step, epoch, *k, float(v)) for k, v in values.items()])

    def _append(self, rows: list[tuple]) -> None:
        """Write whole lines in one call; on a failure cut what a short write left."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        data = memoryview(text.getvalue().encode())
        size = os.fstat(self._file).st_size
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            os.ftruncate(self._file, size)
            raise RunError(f"cannot write {self.path} ({error}): free the disk") from error


def parse_name(name: str) -> tuple[Split, Kind, str]:
    """Split a logged name into its parts.

    Args:
        name: ``<split>_<name>``, ``<split>/<name>`` or ``<name>``, where Lightning may have added
            ``_step`` or ``_epoch``.

    Returns:
        Split, kind and bare name. Without a suffix, values of val and test are about an epoch,
        others about a step.

    Examples:
        >>> parse_name("val_iou"), parse_name("train_loss_epoch"), parse_name("lr")
        (('val', 'epoch', 'iou'), ('train', 'epoch', 'loss'), ('', 'step', 'lr'))
    """
    split: Split = ""
    for known in get_args(Split):
        if known and name.startswith((f"{known}_", f"{known}/")):
            split, name = known, name[len(known) + 1 :]
    kind: Kind = "epoch" if split in ("val", "test") else "step"
    for suffix in ("step", "epoch"):
        if name.endswith(f"_{suffix}"):
            kind, name = suffix, name.removesuffix(f"_{suffix}")
    return split, kind, name


def read(folder: Path, *, superseded: bool = False) -> list[Row]:
    """Read all attempts of a run, also while it is written.

    An attempt that started from step S replaces the rows of earlier attempts after S. Within an
    attempt the last row of the same name, split, kind and step counts.

    Args:
        folder: ``metrics`` folder of the run.
        superseded: Whether to give also the rows that a later attempt replaced.

    Returns:
        Rows by attempt, in the order written. A line without its end is left out.
    """
    newest: dict[tuple, Row] = {}
    starts: dict[int, int] = {}
    for path in sorted(folder.glob("attempt-*.csv")):
        for row in _rows(path):
            if row.kind == "start":
                starts[row.attempt] = row.step
            else:
                key = (row.attempt, row.name, row.split, row.kind, row.step)
                newest.pop(key, None)
                newest[key] = row
    kept_to = {
        attempt: min((step for later, step in starts.items() if later > attempt), default=math.inf)
        for attempt in starts
    }
    return [row for row in newest.values() if superseded or row.step <= kept_to[row.attempt]]


def _rows(path: Path) -> Iterator[Row]:
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    lines = csv.reader(io.StringIO(whole.decode()))
    next(lines, None)  # the names of the columns
    for attempt, moment, step, epoch, split, kind, name, value in lines:
        yield Row(
            int(attempt),
            float(moment),
            int(step),
            int(epoch),
            cast(Split, split),
            cast(Kind, kind),
            name,
            float(value),
        )
