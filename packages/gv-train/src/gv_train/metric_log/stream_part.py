"""A part of a log whose files grow at their end: CSV and Arrow."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from gv_train.metric_log import arrow_format, csv_format
from gv_train.metric_log.files import AppendFile, LogFile, Table
from gv_train.metric_log.rows import Matrix, Row


class StreamPart:
    """Writes the files of one part; that of matrices is made with the first one.

    Args:
        folder: ``metrics`` folder of the run.
        attempt: Attempt of the run.
        number: Part of the attempt.
        starts: First rows.
        backend: Format.

    Raises:
        OSError: If it cannot be written; then nothing is left behind.
    """

    def __init__(
        self,
        folder: Path,
        attempt: int,
        number: int,
        starts: Sequence[Row],
        backend: Literal["csv", "arrow"],
    ) -> None:
        self.number = number
        self.used = False  # by more than the rows that open it
        self._folder, self._attempt, self._appends, self._bytes = folder, attempt, 0, 0
        self._format = csv_format if backend == "csv" else arrow_format
        opening = self._format.head("attempt") + self._format.pack_rows(starts)
        self._files = {"attempt": AppendFile(self._path("attempt"), opening)}

    @property
    def full(self) -> bool:
        """Whether the next part should begin."""
        return self._format is arrow_format and (
            self._appends >= arrow_format.APPENDS or self._bytes >= arrow_format.PART_BYTES
        )

    def add_rows(self, rows: Sequence[Row]) -> None:
        """Append rows.

        Args:
            rows: One or more.

        Raises:
            OSError: If they cannot be written; none of them is kept then.
        """
        self._append("attempt", self._format.pack_rows(rows))

    def add_matrices(self, matrices: Sequence[Matrix]) -> None:
        """Append matrices.

        Args:
            matrices: One or more.

        Raises:
            OSError: If they cannot be written; none of them is kept then.
        """
        if "matrices" not in self._files:
            path, head = self._path("matrices"), self._format.head("matrices")
            self._files["matrices"] = AppendFile(path, head)
        self._append("matrices", self._format.pack_matrices(matrices))

    def close(self) -> None:
        """End the files; streams become parquet files.

        Raises:
            OSError: If the disk does not take it; the streams are kept then.
        """
        for file in self._files.values():
            file.close()
        if self._format is arrow_format:
            for file in self._files.values():
                arrow_format.compact(file.path)

    def abandon(self) -> None:
        """Close the files after a failure."""
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()

    def remove(self) -> None:
        """Remove the abandoned files of a part that holds nothing."""
        for file in self._files.values():
            file.path.unlink(missing_ok=True)

    def _append(self, table: Table, piece: bytes) -> None:
        self._files[table].append(piece)
        self.used = True
        self._appends += 1
        self._bytes += len(piece)

    def _path(self, table: Table) -> Path:
        suffix = self._format.SUFFIX
        return self._folder / LogFile(table, self._attempt, self.number, suffix).name
