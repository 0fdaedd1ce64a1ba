"""Rows and matrices as an Arrow IPC stream that becomes a parquet file when it is closed.

Parquet and feather have their index at the end and are unreadable until then. A stream is readable
while it grows: each append is one record batch. Its batches are small and slow to read by the
hundred thousand, so a part ends after ``APPENDS`` of them, or ``PART_BYTES``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gv_train.errors import RunError
from gv_train.metric_log.files import Table
from gv_train.metric_log.rows import Matrix, Row, matrices_schema, rows_schema

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = "arrows"
APPENDS = 16_384
"""Appends after which a part is closed: some 100,000 rows."""
PART_BYTES = 64_000_000
"""Size after which a part is closed, so that making it a parquet file takes little memory."""


def head(table: Table) -> bytes:
    """The message with the schema, which opens a stream."""
    return _stored(table).serialize().to_pybytes()


def pack_rows(rows: Sequence[Row]) -> bytes:
    """Rows as one record batch."""
    return _batch(list(zip(*rows, strict=True)), rows_schema(coded=False))


def pack_matrices(matrices: Sequence[Matrix]) -> bytes:
    """Matrices as one record batch."""
    columns = list(zip(*(m._replace(counts=m.counts.tolist()) for m in matrices), strict=True))
    return _batch(columns, matrices_schema())


def compact(stream: Path) -> None:
    """Turn a finished stream into a parquet file, then remove it.

    Args:
        stream: Path of a stream that is no longer written.

    Raises:
        OSError: If the disk is full; the stream is kept.
        RunError: If what was written is not what was read; the stream is kept.
    """
    import pyarrow as pa
    from pyarrow import parquet

    from gv_data import atomic
    from gv_data.errors import DataError

    with pa.ipc.open_stream(stream.read_bytes()) as reader:
        table = reader.read_all().combine_chunks()

    def verify(part: Path) -> None:
        written = parquet.read_table(part, page_checksum_verification=True)
        if not _same(written, table):
            raise RunError(f"{part} differs from {stream}: the disk may be failing")

    try:
        with atomic.replacing(stream.with_suffix(".parquet"), verify=verify) as part:
            parquet.write_table(table, part, compression="zstd", write_page_checksum=True)
    except DataError as error:
        raise OSError(str(error)) from error
    stream.unlink()


class StreamTail:
    """Reads what was added to a stream since it was last asked.

    Args:
        path: A stream.
        table: What it holds.
    """

    def __init__(self, path: Path, table: Table) -> None:
        self._path, self._table = path, table
        self._offset = 0

    def poll(self) -> "pa.Table | None":
        """New whole batches; a torn last one is left for the next call.

        Returns:
            Columns of ``rows_schema(coded=True)``, or of ``matrices_schema()``; None if nothing
            is new.

        Raises:
            RunError: If the file has other columns.
            FileNotFoundError: If the file is gone.
        """
        if self._path.stat().st_size <= self._offset:
            return None
        import pyarrow as pa

        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        opening = head(self._table) if self._offset else b""
        source = pa.BufferReader(opening + data)
        batches, end = [], 0
        try:
            reader = pa.ipc.open_stream(source)
            _check_columns(self._path, reader.schema, _stored(self._table))
            while True:
                batches.append(reader.read_next_batch())
                end = source.tell() - len(opening)
        except (StopIteration, OSError, pa.ArrowInvalid):  # the end, or a torn batch
            self._offset += end
        return _handed_out(pa.Table.from_batches(batches), self._table) if batches else None


class WholeTail:
    """Reads a parquet or feather file, once.

    Args:
        path: A file that was put there whole.
        table: What it holds.
        skip: How many of its rows are known already.
    """

    def __init__(self, path: Path, table: Table, skip: int) -> None:
        self._path, self._table, self._skip = path, table, skip

    def poll(self) -> "pa.Table | None":
        """What is new.

        Returns:
            Columns of ``rows_schema(coded=True)``, or of ``matrices_schema()``; None if nothing
            is new.

        Raises:
            RunError: If the file is damaged or has other columns.
            FileNotFoundError: If the file is gone.
        """
        if self._skip < 0:
            return None
        import pyarrow as pa
        from pyarrow import feather, parquet

        stored = _stored(self._table)
        try:
            if self._path.suffix == ".feather":
                found = feather.read_table(self._path)
            else:
                found = parquet.read_table(
                    self._path, page_checksum_verification=True, partitioning=None
                )
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowInvalid) as error:
            raise RunError(f"{self._path} is damaged ({error}): restore it") from error
        _check_columns(self._path, found.schema, stored)
        found = found.select(stored.names).cast(stored).slice(self._skip)
        self._skip = -1
        return _handed_out(found, self._table)


def _stored(table: Table) -> "pa.Schema":
    return rows_schema(coded=False) if table == "attempt" else matrices_schema()


def _batch(columns: Sequence[Sequence[object]], schema: "pa.Schema") -> bytes:
    import pyarrow as pa

    arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
    return pa.record_batch(arrays, schema=schema).serialize().to_pybytes()


def _same(one: "pa.Table", other: "pa.Table") -> bool:
    """Whether two tables are equal bit by bit; NaN equals NaN then."""
    import pyarrow as pa

    def bits(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
        if pa.types.is_floating(column.type):
            return pa.chunked_array([chunk.view(pa.int64()) for chunk in column.chunks], pa.int64())
        return column

    return one.schema.equals(other.schema) and all(
        bits(mine).equals(bits(yours))
        for mine, yours in zip(one.columns, other.columns, strict=True)
    )


def _check_columns(path: Path, found: "pa.Schema", wanted: "pa.Schema") -> None:
    if not set(wanted.names) <= set(found.names):
        raise RunError(
            f"{path} has the columns {','.join(found.names)}, not {','.join(wanted.names)}: "
            "it is no metric log, or update gv-train"
        )


def _handed_out(found: "pa.Table", table: Table) -> "pa.Table":
    """Words of rows as dictionary codes."""
    if table == "matrices":
        return found
    found = found.combine_chunks()
    for index, field in enumerate(rows_schema(coded=True)):
        if field.type != found.schema.types[index]:
            found = found.set_column(index, field, found.column(index).dictionary_encode())
    return found
