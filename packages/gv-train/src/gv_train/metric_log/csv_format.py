"""Rows and matrices as lines of CSV."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gv_train.errors import RunError
from gv_train.metric_log.files import Table
from gv_train.metric_log.rows import Matrix, Row, matrices_schema, rows_schema

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = "csv"


def head(table: Table) -> bytes:
    """The line of column names."""
    return _lines([Row._fields if table == "attempt" else Matrix._fields])


def pack_rows(rows: Sequence[Row]) -> bytes:
    """Rows as whole lines."""
    return _lines(rows)


def pack_matrices(matrices: Sequence[Matrix]) -> bytes:
    """Matrices as whole lines; classes and counts are JSON lists."""
    return _lines(
        [
            (
                *matrix[:6],
                json.dumps(matrix.classes, ensure_ascii=False),
                json.dumps(matrix.counts.tolist(), separators=(",", ":")),
            )
            for matrix in matrices
        ]
    )


class CsvTail:
    """Reads what was added to a file since it was last asked.

    Args:
        path: A file of this format.
        table: What it holds.
    """

    def __init__(self, path: Path, table: Table) -> None:
        self._path, self._table = path, table
        self._offset = 0

    def poll(self) -> "pa.Table | None":
        """New whole lines; a torn last one is left for the next call.

        Returns:
            Columns of ``rows_schema(coded=True)``, or of ``matrices_schema()``; None if nothing
            is new.

        Raises:
            RunError: If the file is damaged or has other columns.
            FileNotFoundError: If the file is gone.
        """
        if self._path.stat().st_size <= self._offset:
            return None
        rows = self._table == "attempt"
        schema = rows_schema(coded=True) if rows else matrices_schema()
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole
        if self._offset == 0 and whole:
            names, _, lines = whole.partition(b"\n")
            if names + b"\n" != head(self._table):
                raise RunError(
                    f"{self._path} has the columns {names.decode(errors='replace')}, not "
                    f"{','.join(schema.names)}: it is no metric log, or update gv-train"
                )
        found = _parse(self._path, lines, schema) if lines else None
        self._offset += len(whole)
        return found


def _lines(lines: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def _parse(path: Path, lines: bytes, schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    lists = {field.name: field.type for field in schema if pa.types.is_list(field.type)}
    types = {field.name: field.type for field in schema} | dict.fromkeys(lists, pa.string())
    try:
        found = arrow_csv.read_csv(
            pa.BufferReader(lines),
            read_options=arrow_csv.ReadOptions(
                column_names=schema.names,
                use_threads=len(lines) > 1_000_000,
                block_size=len(lines) + 1 if lists else None,  # a line must fit in a block
            ),
            convert_options=arrow_csv.ConvertOptions(column_types=types, null_values=[]),
        )
        for name, kind in lists.items():
            values = pa.array([json.loads(text.as_py()) for text in found[name]], kind)
            found = found.set_column(schema.get_field_index(name), name, values)
    except (pa.ArrowInvalid, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}): restore it or remove it") from error
    return found
