"""GeoParquet 1.1 as https://geoparquet.org/releases/v1.1.0 says, for :mod:`gv_data.vectors.vector`.

Geometry is WKB with a bounding-box column beside it ("covering"), so that geopandas, GDAL and
DuckDB read a part of the file without the rest. Pages carry checksums, which reading verifies.
"""

import json
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from gv_data import antimeridian
from gv_data.grid import Bounds

_SIDES = ("xmin", "ymin", "xmax", "ymax")

_KINDS = {
    0: "Point",
    1: "LineString",
    2: "LineString",
    3: "Polygon",
    4: "MultiPoint",
    5: "MultiLineString",
    6: "MultiPolygon",
    7: "GeometryCollection",
}
"""Names by shapely's type ids."""


def read(path: Path, bounds: Bounds | None) -> gpd.GeoDataFrame:
    """Read a GeoParquet file.

    Args:
        path: An existing file.
        bounds: (west, south, east, north) in its CRS: rows outside need not be returned; used only
            when the file has a bounding-box column.

    Returns:
        The features; ``crs`` is None when the file says so.

    Raises:
        ValueError: If it is no GeoParquet or its geometry is malformed.
        OSError: If a page's checksum does not hold.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        geo = json.loads((file.metadata.metadata or {}).get(b"geo", b"{}"))
        column = geo.get("columns", {}).get(geo.get("primary_column"))
        if column is None:
            raise ValueError("no geometry is declared: a Parquet table, not GeoParquet")
        if column.get("encoding") == "WKB":
            for batch in file.iter_batches(columns=[geo["primary_column"]]):
                _check_wkb(batch.column(0))
    covered = bounds if "covering" in column else None
    return gpd.read_parquet(path, bbox=covered, page_checksum_verification=True)


class Sink:
    """A GeoParquet file being written; what it holds is summed up in its footer at the end."""

    def __init__(self, path: Path, crs: CRS | None, schema: pa.Schema) -> None:
        """Open the file.

        Args:
            path: File to write in place; the caller sees to it that it appears whole.
            crs: CRS of the geometry, if it has one.
            schema: Attribute columns.
        """
        box = pa.struct([(side, pa.float64()) for side in _SIDES])
        self._attributes = schema
        self._schema = schema.append(pa.field("geometry", pa.binary())).append(
            pa.field("bbox", box)
        )
        self._crs = crs
        self._kinds: set[str] = set()
        self._low = np.full(2, np.inf)
        self._high = np.full(2, -np.inf)
        self._spans = np.empty((0, 2))
        self._cut = False
        self._out = path.open("wb")  # ours to close: Arrow leaves it open when the disk is full
        self._file = pq.ParquetWriter(
            self._out,
            self._schema,
            compression="zstd",
            write_page_checksum=True,
            store_schema=False,
        )

    def write(self, attributes: pd.DataFrame, geometries: np.ndarray) -> None:
        """Append one row group.

        Args:
            attributes: The columns of the schema.
            geometries: As many shapely geometries, or None.
        """
        table = pa.Table.from_pandas(attributes, schema=self._attributes, preserve_index=False)
        # What is cut at the antimeridian gets -180 to 180, the range of its coordinates: readers
        # filter rows by xmin <= east and xmax >= west, and would miss one whose xmin is above xmax.
        boxes = shapely.bounds(geometries)
        nowhere = pa.array(np.isnan(boxes).any(axis=1))
        box = pa.StructArray.from_arrays(
            [pa.array(side, from_pandas=True) for side in boxes.T], names=_SIDES, mask=nowhere
        )
        columns = [*table.columns, pa.array(shapely.to_wkb(geometries), pa.binary()), box]
        self._file.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._kinds |= {_KINDS[i] for i in np.unique(shapely.get_type_id(geometries)) if i >= 0}
        self._low = np.fmin(self._low, np.fmin.reduce(boxes[:, :2], initial=np.inf))
        self._high = np.fmax(self._high, np.fmax.reduce(boxes[:, 2:], initial=-np.inf))
        if self._crs is not None and self._crs.is_geographic:
            sides = shapely.bounds(shapely.get_parts(geometries))[:, [0, 2]]
            sides = sides[np.isfinite(sides).all(axis=1)]
            self._spans = antimeridian.merged(np.concatenate([self._spans, sides]))
            self._cut |= antimeridian.is_cut(geometries)

    def finish(self, metadata: Mapping[str, str] | None = None) -> None:
        """Write the footer and close the file.

        Args:
            metadata: What else the footer says, by key.
        """
        geo = {"geo": json.dumps(self._metadata())}
        self._file.add_key_value_metadata({**(metadata or {}), **geo})
        self._file.close()
        self._out.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is not None:
            with suppress(OSError, pa.ArrowException):  # the failure is what should be heard of
                self._file.close()
            with suppress(OSError):
                self._out.close()

    def _metadata(self) -> dict[str, object]:
        column = {
            "encoding": "WKB",
            "crs": None if self._crs is None else self._crs.to_json_dict(),
            "geometry_types": sorted(self._kinds),
            "covering": {"bbox": {side: ["bbox", side] for side in _SIDES}},
        }
        if np.isfinite(self._low).all():
            (west, south), (east, north) = self._low.tolist(), self._high.tolist()
            if self._cut:  # west may be above east then, as section 5.2 of RFC 7946 has it
                west, east = antimeridian.shortest(self._spans)
            column["bbox"] = [west, south, east, north]
        return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def _check_wkb(values: pa.Array) -> None:
    """Refuse collections within collections: GEOS recurses into them until the process dies."""
    for value in values:
        if value.is_valid and not _is_flat(value.as_py()):
            raise ValueError("its geometry is nested or of a kind that is not read")


def _is_flat(wkb: bytes) -> bool:
    """Whether a WKB value is a point, line, polygon, or a collection of only these."""
    try:
        _, kind, _, at = _wkb_header(wkb, 0)
        if kind <= 3:
            return True
        order = "<" if wkb[0] else ">"
        (count,) = struct.unpack_from(f"{order}I", wkb, at)
        at += 4
        for _ in range(count if kind <= 7 else 0):
            order, kind, size, at = _wkb_header(wkb, at)
            if kind > 3:
                return False
            rings = 1
            if kind == 3:
                (rings,) = struct.unpack_from(f"{order}I", wkb, at)
                at += 4
            for _ in range(rings):
                points = 1
                if kind > 1:
                    (points,) = struct.unpack_from(f"{order}I", wkb, at)
                    at += 4
                at += points * size
    except struct.error:
        return False
    return kind <= 7


def _wkb_header(wkb: bytes, at: int) -> tuple[str, int, int, int]:
    """Byte order, kind (1 point ... 7 collection), bytes a point, where the content begins."""
    order = "<" if wkb[at : at + 1] == b"\x01" else ">"
    (code,) = struct.unpack_from(f"{order}I", wkb, at + 1)
    iso = (code & 0xFFFF) // 1000  # 1 Z, 2 M, 3 both
    height, measure = (
        bool(code & 0x8000_0000) or iso in (1, 3),
        bool(code & 0x4000_0000) or iso >= 2,
    )
    srid = 4 if code & 0x2000_0000 else 0
    return order, (code & 0xFFFF) % 1000, 8 * (2 + height + measure), at + 5 + srid
