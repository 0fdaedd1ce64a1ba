"""The tables of a catalog written whole, so that a reader sees the old ones or the new.

``statistics.parquet`` is written before ``images.parquet``, which names the rows: whatever a killed
process wrote first belongs to no image.
"""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gv_data import atomic
from gv_data.locations import local_copy
from gv_data.sources import Source
from gv_data.store.statistics_table import SCHEMA as STATISTICS
from gv_data.store.tables import HASHES, IMAGES, LABELS, SCHEMA, rows_of, stored
from gv_data.vectors import vector


@dataclass(frozen=True)
class Rows:
    """Rows of ``images.parquet``.

    Attributes:
        columns: The columns `IMAGES` and the set's own.
        footprints: Of each image in OGC:CRS84, or None.
    """

    columns: pa.Table
    footprints: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Self:
        """Rows from dictionaries; what they lack is null, ``geometry`` is the footprint.

        Columns that are not in `IMAGES` hold paths.
        """
        footprints = np.array([row.get("geometry") for row in rows], object)
        own = sorted({name for row in rows for name in row} - {*IMAGES.names, "geometry"})
        schema = pa.schema([*IMAGES, *((name, pa.string()) for name in own)])
        return cls(pa.Table.from_pylist(list(rows), schema), footprints)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """All rows of a catalog, those of errors too."""
        with local_copy(folder / "images.parquet") as path:
            footprints = vector.read(path).geometry.to_numpy()
            table = pq.read_table(path, page_checksum_verification=True)
        return cls(table.drop_columns(["geometry", "bbox"]).replace_schema_metadata(), footprints)

    def without(self, ids: Set[str]) -> Self:
        """The rows of all other images."""
        kept = np.array([id not in ids for id in self.columns["id"].to_pylist()], bool)
        return type(self)(self.columns.filter(pa.array(kept)), self.footprints[kept])

    def __add__(self, other: Self) -> Self:
        """These rows and others; a column that only some have is null for the rest."""
        both = pa.concat_tables([self.columns, other.columns], promote_options="permissive")
        for n, field in enumerate(both.schema):  # geopandas writes other types of text
            if field.name in IMAGES.names:
                wanted = IMAGES.field(field.name)
                both = both.set_column(n, wanted, both[n].cast(wanted.type))
        return type(self)(both, np.concatenate([self.footprints, other.footprints]))

    def with_column(self, name: str, values: Sequence[object] | pa.Array) -> Self:
        """The same with a column added or replaced."""
        place = self.columns.column_names.index(name) if name in self.columns.column_names else -1
        column = values if isinstance(values, pa.Array) else pa.array(values)
        if place < 0:
            return replace(self, columns=self.columns.append_column(name, column))
        kind = self.columns.schema.field(place)
        return replace(self, columns=self.columns.set_column(place, kind, column.cast(kind.type)))


def replace_rows(
    folder: Path, ids: set[str], rows: Rows | None, statistics: Sequence[pa.Table]
) -> None:
    """Take images out of a catalog, put others in; the caller holds the lock.

    Args:
        folder: Of the catalog; a new one may be without tables.
        ids: The images whose rows go.
        rows: The images that come.
        statistics: Rows for them.
    """
    if (folder / "images.parquet").exists():
        before = Rows.read(folder).without(ids)
        # rows of images that never came to be listed, because a kill came first, go as well
        listed = before.columns["id"].combine_chunks()
        known = stored(folder)
        old, labels, hashes = (
            rows_of(known[name], listed) for name in ("statistics", "labels", "hashes")
        )
        statistics = [old, *statistics]
        if len(hashes):
            write_table(folder, "hashes", HASHES, [hashes])
        rows = before if rows is None else before + rows
    else:
        labels = LABELS.empty_table()
    if rows is not None:
        write_table(folder, "statistics", STATISTICS, statistics)
        write_table(folder, "labels", LABELS, [labels])
        write_images(folder, rows)


def mark_errors(folder: Path, errors: Mapping[str, str]) -> None:
    """Say of some images, by id, why they cannot be used; the caller holds the lock."""
    rows = Rows.read(folder)
    known = zip(*(rows.columns[name].to_pylist() for name in ("id", "error")), strict=True)
    said = [errors.get(id, error) for id, error in known]
    write_images(folder, rows.with_column("error", pa.array(said, pa.string())))


def set_objects(folder: Path, counts: Mapping[str, int]) -> None:
    """Say how many labels lie on some images, by id; the caller holds the lock."""
    rows = Rows.read(folder)
    known = zip(*(rows.columns[name].to_pylist() for name in ("id", "objects")), strict=True)
    said = [counts.get(id, objects) for id, objects in known]
    write_images(folder, rows.with_column("objects", pa.array(said, pa.int32())))


def discard(folder: Path) -> None:
    """Remove the tables of a catalog; the caller holds the lock."""
    for name in ("images.parquet", "statistics.parquet", "labels.parquet", "catalog.json"):
        (folder / name).unlink(missing_ok=True)  # what names the others goes first


def write_table(folder: Path, name: str, schema: pa.Schema, parts: Sequence[pa.Table]) -> None:
    """Replace a table that has rows for images, such as ``statistics``."""
    whole = pa.concat_tables([schema.empty_table(), *(part.cast(schema) for part in parts)])
    with (
        atomic.replacing(folder / f"{name}.parquet") as part,
        part.open("wb") as file,  # closed also when Arrow cannot write to it
    ):
        pq.write_table(whole, file, compression="zstd", write_page_checksum=True)


def write_images(folder: Path, rows: Rows) -> None:
    """Replace ``images.parquet``.

    Rows are sorted along a Hilbert curve, so that what is near on the ground is near in the file.
    """
    plain = rows.columns.to_pandas(types_mapper=pd.ArrowDtype)
    frame = gpd.GeoDataFrame(plain, geometry=rows.footprints, crs="OGC:CRS84")
    writing = vector.writing(folder / "images.parquet", crs="OGC:CRS84", schema=rows.columns.schema)
    with writing as images:
        images.append(frame.iloc[_along_the_curve(frame)])


def write_description(folder: Path, sources: Sequence[Source]) -> None:
    """Replace ``catalog.json``: where the files of each source are."""
    description = {"schema": SCHEMA, "sources": [source.to_json() for source in sources]}
    atomic.write_text(folder / "catalog.json", json.dumps(description, indent=2) + "\n")


def _along_the_curve(frame: gpd.GeoDataFrame) -> np.ndarray:
    placed = (~frame.geometry.isna() & ~frame.geometry.is_empty).to_numpy()
    distance = np.full(len(frame), np.iinfo(np.int64).max)
    if placed.any():
        distance[placed] = frame.geometry[placed].hilbert_distance(level=16)
    return np.lexsort((frame["id"].to_numpy(str), distance))
