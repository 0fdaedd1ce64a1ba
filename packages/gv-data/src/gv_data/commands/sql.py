"""``gv-data sql``: any question to the tables of a catalog."""

import argparse
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from gv_data.commands import views
from gv_data.locations import explained, located
from gv_data.terminal.command import Command
from gv_data.terminal.console import Console
from gv_data.terminal.options import Parser, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_SHOWN = 200
"""Rows printed for people; the other forms give all."""


def _options(parser: Parser) -> None:
    views.add_options(parser)
    query = parser.add_argument("query", nargs="?", metavar="QUERY", help="DuckDB SQL")
    query.required = True  # the usage line shows it; that it is missing is told with an example
    parser.add_argument("--csv", action="store_true", help="the answer as CSV")
    parser.add_argument(
        "--parquet",
        type=located,
        metavar="FILE",
        help="write the answer to a new file, outside the catalog's folder",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="let --parquet replace a file that is there"
    )
    parser.add_argument(
        "--allow-external",
        action="store_true",
        help="let the query read other files and the network",
    )


def _sql(values: argparse.Namespace, console: Console) -> None:
    """Answer a query, as a table, CSV, JSON or a parquet file."""
    if values.query is None:
        raise UsageError(
            "gv-data sql: what is asked? for example "
            '"SELECT place, count(*) FROM images GROUP BY place"'
        )
    view = views.chosen(values)
    if values.parquet:
        _check_target(values.parquet, view.path, overwrite=values.overwrite)
    table = _distinct(view.sql(values.query, external=values.allow_external))
    if values.parquet:
        _write(table, values.parquet)
        answer = {"file": values.parquet, "rows": len(table), "columns": table.column_names}
        console.answer(answer, f"{values.parquet}   {len(table):,} rows")
        return
    rows = [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]
    console.answer(rows, _csv(table, rows) if values.csv else _text(table, rows))


def _check_target(path: Path, catalog: Path, *, overwrite: bool) -> None:
    """Refuse to write over what is there, and into the catalog whatever is asked.

    Raises:
        UsageError: With the way out.
    """
    with explained(path):
        there = path.exists()
    home = catalog.resolve()
    if any(one.is_relative_to(home) for one in (path.resolve(), path.parent.resolve())):
        raise UsageError(
            f"--parquet {path} lies in the folder of the catalog, which only gv-data index and "
            "measure write: choose a file elsewhere"
        )
    if there and path.is_dir():
        raise UsageError(f"--parquet {path} is a folder: name a file in it")
    if there and not overwrite:
        raise UsageError(f"--parquet {path} is there already: add --overwrite, or another name")


def _distinct(table: "pa.Table") -> "pa.Table":
    """A table whose columns have different names: a second ``a`` is ``a_1``."""
    given = table.column_names
    names: list[str] = []
    for name in given:
        spare = (f"{name}_{n}" for n in count(1))
        free = (one for one in spare if one not in names and one not in given)
        names.append(next(free) if name in names else name)
    return table.rename_columns(names)


def _write(table: "pa.Table", path: Path) -> None:
    import pyarrow.parquet as pq

    from gv_data.atomic import replacing

    with replacing(path) as part:
        pq.write_table(table, part, compression="zstd", write_page_checksum=True)


def _plain(value: object) -> object:
    """A value that JSON has."""
    import datetime
    import decimal
    import math

    match value:
        case float():
            return value if math.isfinite(value) else None
        case decimal.Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
        case dict():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
    return value


def _csv(table: "pa.Table", rows: list[dict[str, object]]) -> str:
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.column_names)
    writer.writerows(row.values() for row in rows)
    return out.getvalue().rstrip("\n")


def _text(table: "pa.Table", rows: list[dict[str, object]]) -> str:
    """A table for people; numbers to the right."""
    cells = [[_cell(value) for value in row.values()] for row in rows[:ROWS_SHOWN]]
    columns = list(zip(table.column_names, *cells, strict=True))
    numeric = [_is_number(field.type) for field in table.schema]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in zip(*columns, strict=True)
    ]
    if len(rows) > ROWS_SHOWN:
        lines.append(f"... {len(rows) - ROWS_SHOWN:,} more rows (--csv and --parquet give all)")
    return "\n".join(lines)


def _is_number(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


COMMAND = Command(
    "Ask the tables of a catalog: images, statistics, labels, hashes, errors, and your own.",
    (
        'gv-data sql catalogs/town "SELECT place, count(*), avg(gsd_m) FROM images GROUP BY place"',
        'gv-data sql catalogs/town "SELECT split, asset, band, pooled_mean(statistics), '
        'pooled_std(statistics) FROM images JOIN statistics USING (id) GROUP BY ALL"',
        'gv-data sql catalogs/town "SELECT * FROM errors" --csv',
    ),
    _options,
    _sql,
)
