"""Names of the files of a metric log, and a file that grows by whole pieces."""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

Table = Literal["attempt", "matrices"]
"""Beginning of a file's name: rows of an attempt, or its matrices. HDF5 has both in one."""
Suffix = Literal["csv", "arrows", "parquet", "feather", "h5"]

_NAME = re.compile(
    r"(?P<table>attempt|matrices)-(?P<attempt>\d{4,})(\.part(?P<part>\d+))?"
    r"\.(?P<suffix>csv|arrows|parquet|feather|h5)"
)
_WHOLE = ("parquet", "feather")


@dataclass(frozen=True)
class LogFile:
    """A file of a metric log.

    Attributes:
        table: What it holds.
        attempt: Attempt of the run, from 1.
        part: 1, or more where the log went on after a failed write or a long stream.
        suffix: Format.
    """

    table: Table
    attempt: int
    part: int
    suffix: Suffix

    @property
    def name(self) -> str:
        """Name in the folder."""
        part = f".part{self.part}" if self.part > 1 else ""
        return f"{self.table}-{self.attempt:04d}{part}.{self.suffix}"

    @property
    def content(self) -> tuple[Table, int, int, str]:
        """Equal for a stream and the parquet file that takes its place."""
        backend = "arrow" if self.suffix in ("arrows", *_WHOLE) else self.suffix
        return self.table, self.attempt, self.part, backend


def list_files(folder: Path) -> list[LogFile]:
    """Files of a log by attempt and part; a parquet file hides the stream it was made from.

    Args:
        folder: ``metrics`` folder of a run; may be missing.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208  one system call: no half-seen compaction
    except (FileNotFoundError, NotADirectoryError):
        return []
    found: dict[tuple, LogFile] = {}
    order = ["arrows", "feather", "parquet"]
    for match in filter(None, map(_NAME.fullmatch, names)):
        suffix = cast(Suffix, match["suffix"])
        file = LogFile(
            cast(Table, match["table"]), int(match["attempt"]), int(match["part"] or 1), suffix
        )
        other = found.get(file.content)
        if other is None or order.index(suffix) > order.index(other.suffix):
            found[file.content] = file
    return sorted(found.values(), key=lambda file: (file.attempt, file.part, file.table))


class AppendFile:
    """A new file that grows by whole pieces.

    Args:
        path: File to make.
        head: First bytes of it.

    Raises:
        OSError: If the file exists or cannot be written; then it is not left behind.
    """

    def __init__(self, path: Path, head: bytes) -> None:
        self.path = path
        self._size = 0
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        self._file: int | None = os.open(path, flags, 0o666)
        try:
            self.append(head)
        except OSError:
            os.close(self._file)
            path.unlink(missing_ok=True)
            raise

    def append(self, piece: bytes) -> None:
        """Add bytes; a kill of the process cannot lose them afterwards.

        Args:
            piece: What readers should see whole or not at all.

        Raises:
            OSError: If they cannot be written. What a short write left is cut; if that fails as
                well, readers leave it out.
        """
        assert self._file is not None, "written after it was closed"
        left = memoryview(piece)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(piece)

    def close(self) -> None:
        """Force the file to the disk and close it, if it is not closed.

        Raises:
            OSError: If the disk did not take it.
        """
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            os.fsync(file)
        finally:
            os.close(file)
