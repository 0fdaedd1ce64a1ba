"""SQL over tables, and over nothing else: what DuckDB may do with a query that somebody typed.

A new connection answers each query, with its settings locked: it reads no file, sends no request
and loads no extension (tried on the attacks in tests/gv_data/test_query.py). A statement is not
judged by its type, which is SELECT for ``WITH x AS (DELETE ...) SELECT``: the tables are Arrow
data, which DuckDB cannot change.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import duckdb
import numpy as np
import pyarrow as pa

from gv_data.errors import CatalogError
from gv_data.statistics import Histogram
from gv_data.store.macros import MACROS
from gv_data.store.tables import Table

_SETTINGS: dict[str, bool | float | int | list[str] | str] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "memory_limit": "4GB",
    "temp_directory": "",
    "threads": 2,
}

_UNREADABLE = re.compile(r"reading the stream registered as '_?(\w+)' failed")

_ANSWERING = (
    duckdb.StatementType.SELECT,
    duckdb.StatementType.MULTI,  # PIVOT
)


def answer(
    query: str,
    tables: Mapping[str, Table],
    conditions: Sequence[str] = (),
    *,
    external: bool = False,
) -> pa.Table:
    """Answer one query.

    Args:
        query: DuckDB SQL.
        tables: What it may read, by name; ``images`` is one of them.
        conditions: Only the images for which all of them hold are seen.
        external: Whether the query may read other files and the network.

    Returns:
        An Arrow table.

    Raises:
        CatalogError: With DuckDB's words and the columns there are.
    """
    if not _answers(one_statement(query, f"query {query!r}")):
        raise CatalogError(f"query {query!r} has no answer: ask with SELECT")
    with _connected(tables, external=external) as connection:
        if conditions:
            _narrow(connection, conditions)
        return connection.sql(query).to_arrow_table()


def one_statement(text: str, said: str) -> duckdb.Statement:
    """Refuse what is not exactly one SQL statement.

    Args:
        text: SQL.
        said: What it is, for the message.

    Raises:
        CatalogError: If it cannot be parsed, or is none or several.
    """
    try:
        statements = duckdb.extract_statements(text)
    except duckdb.Error as error:
        raise CatalogError(f"{said}: {_first_line(error)}") from error
    if len(statements) != 1:
        raise CatalogError(f"{said} holds {len(statements)} statements, not one")
    return statements[0]


def _answers(statement: duckdb.Statement) -> bool:
    """Whether a statement only reads; one that is explained too, as ``EXPLAIN ANALYZE`` runs it."""
    if statement.type != duckdb.StatementType.EXPLAIN:
        return statement.type in _ANSWERING
    text = statement.query.encode()
    # options of EXPLAIN stand before it: what is explained is the longest end that is a statement
    for start, _ in duckdb.tokenize(statement.query)[1:]:
        try:
            (explained,) = duckdb.extract_statements(text[start:].decode())
        except (duckdb.Error, ValueError):
            continue
        return explained.type in _ANSWERING
    return False


@contextmanager
def _connected(
    tables: Mapping[str, Table], *, external: bool
) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(":memory:", config={} if external else _SETTINGS)
    try:
        histogram = duckdb.map_type("DOUBLE", "BIGINT")
        connection.create_function("percentile_of", _percentile, [histogram, "DOUBLE"], "DOUBLE")
        for call, body in MACROS.items():
            connection.execute(f"CREATE MACRO {call} AS {body}")
        for name, table in tables.items():
            connection.register("_images" if name == "images" else name, table)
        connection.execute(
            "CREATE TEMP VIEW images AS SELECT * EXCLUDE error FROM _images WHERE error IS NULL"
        )
        connection.execute(
            "CREATE TEMP VIEW errors AS "
            "SELECT id, image, error, bytes, modified_ns FROM _images WHERE error IS NOT NULL"
        )
        if not external:
            connection.execute("SET enable_external_access=false")
            connection.execute("SET lock_configuration=true")
        yield connection
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        damaged = _UNREADABLE.search(str(error))
        if damaged:
            raise CatalogError(f"{damaged[1]}.parquet cannot be read, index again") from error
        columns = "\n".join(
            f"  columns of {name}: {', '.join(table.schema.names)}"
            for name, table in tables.items()
        )
        raise CatalogError(f"{_first_line(error)}\n{columns}") from error
    finally:
        connection.close()


def _narrow(connection: duckdb.DuckDBPyConnection, conditions: Sequence[str]) -> None:
    """Let ``images`` mean those for which the conditions hold."""
    chosen = " AND ".join(f"(\n{condition}\n)" for condition in conditions)
    ids = connection.sql(f"SELECT id FROM images WHERE {chosen}").to_arrow_table()
    connection.register("_chosen", ids)
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW images AS "
        "SELECT * EXCLUDE error FROM _images SEMI JOIN _chosen USING (id)"
    )


def _percentile(histogram: dict[float, int], percent: float) -> float | None:
    """`Histogram.percentile` for SQL."""
    values, counts = np.array(list(histogram)), np.array(list(histogram.values()))
    found = Histogram(values, counts).percentile(percent)
    return None if np.isnan(found) else found


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0]
