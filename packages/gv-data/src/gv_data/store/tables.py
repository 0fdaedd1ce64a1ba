"""The tables of a catalog: what their columns are, and reading them with their checksums."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from gv_data.errors import CatalogError
from gv_data.locations import explained, is_file, is_remote, storage

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

type Table = "pa.Table | Dataset"
"""What DuckDB can read."""

SCHEMA = 2
"""Version of the layout; newer ones are refused."""

IMAGES = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("vectors", pa.string()),
        ("labelled_area", pa.string()),
        ("mask", pa.string()),
        ("label", pa.string()),
        ("source", pa.int32()),
        ("driver", pa.string()),
        ("place", pa.string()),
        ("split", pa.string()),
        ("crs", pa.string()),
        ("transform", pa.list_(pa.float64())),
        ("height_px", pa.int32()),
        ("width_px", pa.int32()),
        ("row", pa.int32()),
        ("column", pa.int32()),
        ("gsd_m", pa.float64()),
        ("bands", pa.list_(pa.string())),
        ("dtype", pa.string()),
        ("nodata", pa.float64()),
        ("objects", pa.int32()),
        ("bytes", pa.int64()),
        ("modified_ns", pa.int64()),
        ("error", pa.string()),
    ]
)
"""Columns of ``images.parquet`` beside ``geometry`` and ``bbox``; a set may add its own.

A file that could not be used has a row with its ``error``; SQL sees it in ``errors``, not in
``images``.
"""

LABELS = pa.schema(
    [
        ("id", pa.string()),
        ("class", pa.string()),
        ("number", pa.int32()),
        ("pixels", pa.int64()),
        ("objects", pa.int64()),
        ("area_m2", pa.float64()),
        ("bytes", pa.int64()),
        ("modified_ns", pa.int64()),
    ]
)
"""Columns of ``labels.parquet``. Ground that nobody labelled counts for no class.

``number`` is the class in samples' ``mask``, ``objects`` the polygons of it that touch the image
(null for masks, and for what is none of the classes), ``area_m2`` its pixels times the ground of
the central one (null without georeference), ``bytes`` and ``modified_ns`` say which file of labels
was counted.
"""

HASHES = pa.schema(
    [
        ("id", pa.string()),
        ("hash", pa.uint64()),
        ("bytes", pa.int64()),
        ("modified_ns", pa.int64()),
    ]
)
"""Columns of ``hashes.parquet``, which a catalog has once checked; see `gv_data.checks.hashes`.

``hash`` is null for an image that nothing distinguishes. ``bit_count(xor(a.hash, b.hash))`` says in
SQL how many bits differ.
"""

NAMES = ("images", "errors", "statistics", "labels", "hashes")
"""What SQL can ask."""

_WKB = {"ARROW:extension:name": "geoarrow.wkb", "ARROW:extension:metadata": '{"crs":"OGC:CRS84"}'}
"""Makes a column of bytes a GEOMETRY for DuckDB."""

_SMALL_BYTES = 2**23
"""Smaller files are read at once: ``pyarrow.dataset`` imports pandas, which takes longer."""


def opened(path: Path) -> Table:
    """A table; of a large one a query reads the columns it names.

    Raises:
        CatalogError: If it cannot be read.
    """
    try:
        with explained(path):
            size = path.stat().st_size
        if size < _SMALL_BYTES:
            with explained(path):
                whole = pa.BufferReader(path.read_bytes())
            table = pq.ParquetFile(whole, page_checksum_verification=True).read()
            return table.cast(_with_geometry(table.schema))
        import pyarrow.dataset as ds

        options = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
        checked = ds.ParquetFileFormat(default_fragment_scan_options=options)
        system, name = storage(path) if is_remote(path) else (None, path)
        schema = ds.dataset(name, filesystem=system, format=checked).schema
        return ds.dataset(name, filesystem=system, schema=_with_geometry(schema), format=checked)
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(f"{path} cannot be read, index again: {error}") from error


def stored(folder: Path) -> dict[str, Table]:
    """The tables of a catalog by name; one that need not be there is empty then.

    Raises:
        CatalogError: If one cannot be read.
    """
    tables = {
        name: opened(folder / f"{name}.parquet") for name in ("images", "statistics", "labels")
    }
    hashes = folder / "hashes.parquet"
    return {**tables, "hashes": opened(hashes) if is_file(hashes) else HASHES.empty_table()}


def rows_of(table: Table, ids: pa.Array) -> pa.Table:
    """The rows of some images."""
    import pyarrow.compute as pc

    chosen = pc.field("id").isin(ids)
    return table.filter(chosen) if isinstance(table, pa.Table) else table.to_table(filter=chosen)


def _with_geometry(schema: pa.Schema) -> pa.Schema:
    """The schema with its WKB column marked as such."""
    place = schema.get_field_index("geometry")
    if place < 0:
        return schema
    return schema.set(place, pa.field("geometry", pa.binary(), metadata=_WKB))
