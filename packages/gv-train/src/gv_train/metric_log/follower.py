"""Following a metric log: what is new since it was last asked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int

from gv_train.errors import RunError
from gv_train.metric_log.arrow_format import StreamTail, WholeTail
from gv_train.metric_log.csv_format import CsvTail
from gv_train.metric_log.files import LogFile, list_files
from gv_train.metric_log.hdf5_tail import Hdf5Tail
from gv_train.metric_log.rows import Matrix, Row, check_format, rows_schema

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class News:
    """What a log told since it was last asked.

    Attributes:
        rows: Rows as columns, by attempt, in the order written; see ``as_rows``.
        matrices: Confusion matrices.
        restarted: Whether files that were read before are gone, so that what was told is of a log
            that is no more.
    """

    rows: "pa.Table"
    matrices: list[Matrix]
    restarted: bool = False


@dataclass
class _Known:
    """A file that was read, and how many of its records were told."""

    file: LogFile
    identity: tuple[int, int]
    tail: CsvTail | StreamTail | WholeTail | Hdf5Tail
    told: int


class Follower:
    """Tells what is new in a log, for views that are drawn while a run trains.

    Each byte is read once. Attempts may appear later, streams become parquet files, and the folder
    may go: nothing is told twice or lost by it.

    Args:
        folder: ``metrics`` folder of a run; may be missing yet.

    Attributes:
        starts: From which step each attempt started, as far as it is known.

    Examples:
        >>> import tempfile
        >>> from gv_train.metric_log import MetricLog
        >>> folder = Path(tempfile.mkdtemp())
        >>> follower, log = Follower(folder), MetricLog(folder, attempt=1)
        >>> log.add({"loss": 0.5}, step=1, epoch=0, split="train", kind="step")
        >>> [row.value for row in as_rows(follower.poll().rows)], follower.poll().rows.num_rows
        ([0.5], 0)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.starts: dict[int, int] = {}
        self._known: dict[tuple, _Known] = {}
        self._rows: list[pa.Table] = []
        self._matrices: list[Matrix] = []
        self._restarted = False

    def poll(self) -> News:
        """Read what was added since the last call.

        Raises:
            RunError: If a file is damaged, or a newer version wrote it.
        """
        import pyarrow as pa

        for _ in range(10):  # a file may become another between listing and reading
            try:
                files = list_files(self.folder)
                if self._gone(files):
                    files = list_files(self.folder)  # one listing may miss what is just renamed
                    if self._gone(files):
                        self._forget()
                for file in files:
                    self._read(file)
                break
            except FileNotFoundError:
                continue
        table = pa.concat_tables([rows_schema(coded=True).empty_table(), *self._rows])
        news = News(table.unify_dictionaries().combine_chunks(), self._matrices, self._restarted)
        self._rows, self._matrices, self._restarted = [], [], False
        return news

    def superseded(self, rows: "pa.Table") -> Bool[np.ndarray, " n"]:
        """Which rows a later attempt has trained again, as far as it is known by now.

        Args:
            rows: From ``News.rows``, also of earlier calls.
        """
        return superseded(rows["attempt"].to_numpy(), rows["step"].to_numpy(), self.starts)

    def _gone(self, files: list[LogFile]) -> bool:
        """Whether a file that was read is not there any more, nor what it became."""
        here = {file.content: file for file in files}
        return any(
            content not in here
            or (
                here[content] == known.file
                and _identity(self.folder / known.file.name) != known.identity
            )
            for content, known in self._known.items()
        )

    def _forget(self) -> None:
        self.starts, self._known, self._rows, self._matrices = {}, {}, [], []
        self._restarted = True

    def _read(self, file: LogFile) -> None:
        path = self.folder / file.name
        known = self._known.get(file.content)
        if known is None or known.file != file:
            told = known.told if known is not None else 0
            known = _Known(file, _identity(path), _tail(path, file, told), told)
            self._known[file.content] = known
        found = known.tail.poll()
        if found is None:
            return
        if isinstance(found, tuple):
            rows, matrices = found
        else:
            rows, matrices = (found, None) if file.table == "attempt" else (None, found)
            known.told += found.num_rows
        if rows is not None:
            self._rows.append(self._without_starts(rows, path))
        if matrices is not None:
            self._matrices += _matrices(matrices, path)

    def _without_starts(self, rows: "pa.Table", path: Path) -> "pa.Table":
        """Note and take out the rows that open a file."""
        starts = _words(rows, "kind") == "start"
        if not starts.any():
            return rows
        for row in as_rows(rows.filter(starts)):
            if row.name == "format":
                check_format(row.value, path)
            self.starts[row.attempt] = row.step
        return rows.filter(~starts)


def _tail(path: Path, file: LogFile, told: int) -> CsvTail | StreamTail | WholeTail | Hdf5Tail:
    match file.suffix:
        case "csv":
            return CsvTail(path, file.table)
        case "arrows":
            return StreamTail(path, file.table)
        case "parquet" | "feather":
            return WholeTail(path, file.table, told)
        case "h5":
            return Hdf5Tail(path)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def superseded(
    attempts: Int[np.ndarray, " n"], steps: Int[np.ndarray, " n"], starts: Mapping[int, int]
) -> Bool[np.ndarray, " n"]:
    """Which rows a later attempt has trained again.

    Args:
        attempts: Attempt of each row.
        steps: Step of each row.
        starts: From which step each attempt started; see ``Follower.starts``.

    Returns:
        True where a later attempt started before the row's step.

    Examples:
        >>> superseded(np.array([1, 1, 2]), np.array([5, 6, 6]), {1: 0, 2: 5})
        array([False,  True, False])
    """
    again = np.zeros(len(steps), bool)
    for attempt, last in last_kept_steps(starts).items():
        if last < math.inf:
            again |= (attempts == attempt) & (steps > last)
    return again


def last_kept_steps(starts: Mapping[int, int]) -> dict[int, float]:
    """The step after which later attempts have replaced an attempt's rows.

    Args:
        starts: From which step each attempt started.

    Returns:
        For each attempt the last step whose rows count; infinite for the newest one.
    """
    last, kept = math.inf, {}
    for attempt in sorted(starts, reverse=True):
        kept[attempt] = last
        last = min(last, starts[attempt])
    return kept


def as_rows(table: "pa.Table") -> list[Row]:
    """A table's rows as tuples; a million of them take seconds, and the table does not.

    Args:
        table: From ``read_table`` or ``News.rows``.
    """
    columns = [
        _words(table, name) if name in ("split", "kind", "name") else table[name].to_numpy()
        for name in Row._fields
    ]
    return list(map(Row._make, zip(*(column.tolist() for column in columns), strict=True)))


def _words(rows: "pa.Table", name: str) -> np.ndarray:
    words = rows.column(name).combine_chunks()
    return np.array(words.dictionary.to_pylist(), object)[words.indices.to_numpy()]


def _matrices(table: "pa.Table", path: Path) -> list[Matrix]:
    found = []
    for line in table.to_pylist():
        counts = np.array(line["counts"], np.int64)
        if counts.shape != (len(line["classes"]),) * 2:
            raise RunError(f"{path} is damaged (counts {counts.shape}): restore it or remove it")
        found.append(Matrix(**line | {"classes": tuple(line["classes"]), "counts": counts}))
    return found
