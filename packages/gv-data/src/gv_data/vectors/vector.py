"""Vector files in and out: GeoParquet 1.1, GeoPackage, GeoJSON, FlatGeobuf; Shapefile in only.

Reading trusts nothing: the content must be what the suffix says (an OGR VRT called ``a.geojson``
would read other files), coordinates must be finite and fit the CRS, and a CRS must be known.
Writing is atomic and counted afterwards; :func:`writing` takes any number of batches in bounded
memory.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError

from gv_data.atomic import replacing
from gv_data.errors import VectorError
from gv_data.grid import Bounds
from gv_data.locations import is_remote, local_copy
from gv_data.vectors import geoparquet, ogr
from gv_data.vectors.ogr import GeometryType

DRIVERS = {
    ".parquet": "Parquet",
    ".geoparquet": "Parquet",
    ".gpkg": "GPKG",
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
    ".fgb": "FlatGeobuf",
    ".shp": "ESRI Shapefile",
}
"""What each suffix holds, by GDAL's driver names; nothing else is read."""

WRITABLE = (".parquet", ".gpkg", ".geojson", ".fgb")

_STARTS = {
    "Parquet": re.compile(rb"PAR1"),
    "GPKG": re.compile(rb"SQLite format 3\0"),
    "GeoJSON": re.compile(rb"(\xef\xbb\xbf)?\s*\{(?!.*gdal_streamed_alg)", re.DOTALL),
    "FlatGeobuf": re.compile(rb"fgb\x03"),
    "ESRI Shapefile": re.compile(rb"\0\0\x27\x0a"),
}
"""First bytes, seen before GDAL looks: opening a VRT or a GDALG pipeline already reads others."""

_BATCH_ROWS = 10_000
"""Rows gathered before they are written: one row group, some MB for building outlines."""

_READ_ERRORS = (
    *ogr.ERRORS,
    pa.ArrowException,
    shapely.errors.ShapelyError,
    CRSError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
)
"""What libraries raise on damaged files; the last four come from metadata of another shape."""


def read(
    path: Path,
    *,
    layer: str | None = None,
    bounds: Bounds | None = None,
    crs_override: CRS | str | None = None,
    swap_xy: bool = False,
) -> gpd.GeoDataFrame:
    """Read a vector file.

    Args:
        path: File with one of the suffixes of ``DRIVERS``.
        layer: Layer of a GeoPackage; needed when it holds several with geometry.
        bounds: (west, south, east, north) in the file's CRS as read (after ``swap_xy``); only
            features whose bounding box meets it are returned.
        crs_override: CRS that the coordinates are in, whatever the file says.
        swap_xy: Whether the file holds y before x.

    Returns:
        Features in the file's CRS, which is always set; 2D; null geometries stay (see
        :func:`gv_data.vectors.polygons.repair`). Possibly no rows.

    Raises:
        VectorError: If the file is missing, empty, damaged, not what its suffix says, without a
            CRS, or holds coordinates that are not finite or cannot be of its CRS.
    """
    if is_remote(path):
        with local_copy(path) as copy:
            return read(
                copy, layer=layer, bounds=bounds, crs_override=crs_override, swap_xy=swap_xy
            )
    driver = _driver(path)
    wanted = _swapped(bounds) if bounds and swap_xy else bounds
    try:
        if driver == "Parquet":
            frame = geoparquet.read(path, wanted)
        else:
            frame = ogr.read(path, driver, layer, wanted)
    except _READ_ERRORS as error:
        raise VectorError(f"{path} cannot be read: {_one_line(error)}") from error
    geometries = shapely.force_2d(frame.geometry.to_numpy())
    if swap_xy:
        geometries = shapely.transform(geometries, lambda xy: xy[:, ::-1])
    crs = _crs(path, crs_override if crs_override is not None else frame.crs)
    frame = frame.set_geometry(gpd.GeoSeries(geometries, index=frame.index, crs=crs))
    if bounds is not None:
        frame = frame.take(np.flatnonzero(_meets(geometries, bounds))).reset_index(drop=True)
    _check_coordinates(path, frame)
    return frame


def write(frame: gpd.GeoDataFrame, path: Path, *, overwrite: bool = True) -> None:
    """Write a vector file whole, or not at all.

    The same frame gives the same bytes, except in a GeoPackage, which records the time.

    Args:
        frame: Features; the index is not written.
        path: File ending in ``.parquet``, ``.gpkg`` (its layer is named as the file), ``.geojson``
            (longitude and latitude, as RFC 7946 says, 7 decimals) or ``.fgb``.
        overwrite: Whether an existing file may be replaced.

    Raises:
        VectorError: If the suffix is another one, the frame does not fit it, or writing failed.
        FileExistsError: If ``path`` exists and may not be replaced.
    """
    suffix = _writable(path)
    if suffix in (".parquet", ".gpkg"):
        schema = pa.Schema.from_pandas(_attributes(frame), preserve_index=False).remove_metadata()
        kind = _geometry_type(frame)
        with writing(
            path, crs=frame.crs, schema=schema, geometry_type=kind, overwrite=overwrite
        ) as writer:
            writer.append(frame)
        return
    if suffix == ".geojson":
        if frame.crs is None:
            raise VectorError(f"{path} needs longitude and latitude, but the features have no CRS")
        frame = frame.to_crs("OGC:CRS84")
    options = {"RFC7946": "YES", "WRITE_NAME": "NO"} if suffix == ".geojson" else {}

    def verify(part: Path) -> None:
        _, _, geometries, _ = pyogrio.raw.read(part, columns=[])
        _same_count(path, 0 if geometries is None else len(geometries), len(frame))

    with replacing(path, verify=verify, overwrite=overwrite) as part, _reported(path):
        kind = _geometry_type(frame)
        ogr.write(frame, part, DRIVERS[suffix], path.stem, kind, layer_options=options)


@contextmanager
def writing(
    path: Path,
    *,
    crs: CRS | str | None,
    schema: pa.Schema,
    geometry_type: GeometryType = "Polygon",
    overwrite: bool = True,
) -> "Iterator[Writer]":
    """Write a GeoParquet or GeoPackage file batch by batch; it appears when the block ends well.

    Args:
        path: File ending in ``.parquet`` or ``.gpkg``.
        crs: CRS of all batches; None only for maps of scenes without georeference.
        schema: Attribute columns, without the geometry.
        geometry_type: What the batches hold.
        overwrite: Whether an existing file may be replaced.

    Yields:
        A writer; zero appended features give a valid empty file.

    Raises:
        VectorError: If the suffix is another one or writing failed; nothing is left then.
        FileExistsError: If ``path`` exists and may not be replaced.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "roofs.parquet"
        >>> with writing(path, crs="EPSG:32737", schema=pa.schema({"id": pa.int64()})) as writer:
        ...     writer.append(gpd.GeoDataFrame({"id": [1]}, geometry=[shapely.box(0, 0, 9, 9)]))
        >>> len(read(path))
        1
    """
    suffix = _writable(path)
    if "bbox" in schema.names or "geometry" in schema.names:
        raise VectorError(
            f"{path}: rename the columns 'bbox' and 'geometry', their names are taken"
        )
    crs = None if crs is None else _crs(path, crs)
    expected = 0

    def verify(part: Path) -> None:
        if suffix == ".parquet":
            found = pq.read_metadata(part).num_rows
        else:
            found = pyogrio.read_info(part, force_feature_count=True)["features"]
        _same_count(path, found, expected)

    with replacing(path, verify=verify, overwrite=overwrite) as part:
        with _reported(path):
            match suffix:
                case ".parquet":
                    sink = geoparquet.Sink(part, crs, schema)
                case ".gpkg":
                    sink = ogr.Sink(part, crs, schema, geometry_type, path.stem)
                case _:
                    raise VectorError(f"{path}: only .parquet and .gpkg are written in batches")
        with sink:
            writer = Writer(path, sink, schema.names, crs)
            yield writer
            writer.flush()
            with _reported(path):
                sink.finish()
        expected = writer.rows


@dataclass
class Writer:
    """Takes batches of features; made by :func:`writing`."""

    _path: Path
    _sink: geoparquet.Sink | ogr.Sink
    _columns: list[str]
    _crs: CRS | None
    rows: int = 0
    """Features handed to the file so far."""
    _waiting: list[gpd.GeoDataFrame] = field(default_factory=list)

    def append(self, batch: gpd.GeoDataFrame) -> None:
        """Add features.

        Args:
            batch: Features in the file's CRS with all columns of its schema; others are left out.

        Raises:
            VectorError: If a column is missing or the CRS is another one.
        """
        missing = [name for name in self._columns if name not in batch.columns]
        if missing:
            raise VectorError(f"a batch lacks the columns {', '.join(missing)}")
        if batch.crs is not None and batch.crs != self._crs:
            raise VectorError(f"a batch is in {batch.crs.to_string()}, the file in {self._crs}")
        self._waiting.append(batch)
        if sum(map(len, self._waiting)) >= _BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Hand the gathered batches to the file."""
        batches = [batch for batch in self._waiting if len(batch)]
        self._waiting.clear()
        if batches:
            frames = [_attributes(batch).filter(self._columns) for batch in batches]
            attributes = pd.concat(frames, ignore_index=True)
            geometries = np.concatenate([batch.geometry.to_numpy() for batch in batches])
            with _reported(self._path):
                self._sink.write(attributes, geometries)
            self.rows += len(geometries)


def _driver(path: Path) -> str:
    """Driver of an existing file whose first bytes are what its suffix says."""
    driver = DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise VectorError(f"{path}: vector files end in {', '.join(DRIVERS)}, not {path.suffix!r}")
    if not path.is_file():
        raise VectorError(f"{path} does not exist")
    with path.open("rb") as file:
        start = file.read(65536)
    if not start:
        raise VectorError(f"{path} is empty")
    if not _STARTS[driver].match(start):
        raise VectorError(f"{path} is not a {driver} file, though its suffix says so")
    return driver


def _crs(path: Path, crs: CRS | str | None) -> CRS:
    if crs is None:
        raise VectorError(f"{path} has no CRS: say which it is, as in --labels-crs EPSG:32637")
    try:
        return CRS.from_user_input(crs)
    except CRSError as error:
        raise VectorError(f"{path}: {crs!r} is no CRS; give one as EPSG:32637") from error


def _check_coordinates(path: Path, frame: gpd.GeoDataFrame) -> None:
    xy = shapely.get_coordinates(frame.geometry.to_numpy())
    if not len(xy):
        return
    if not np.isfinite(xy).all():
        raise VectorError(f"{path} holds coordinates that are not finite numbers")
    largest_x, largest_y = np.abs(xy).max(axis=0)
    if frame.crs is not None and frame.crs.is_geographic and (largest_x > 360 or largest_y > 90):
        raise VectorError(
            f"{path}: coordinates up to x {largest_x:,.6g}, y {largest_y:,.6g} are no degrees of "
            f"{frame.crs.to_string()}: try --labels-crs EPSG:... or, if y comes first, --swap-xy"
        )


def _meets(geometries: np.ndarray, bounds: Bounds) -> np.ndarray:
    west, south, east, north = bounds
    low_x, low_y, high_x, high_y = shapely.bounds(geometries).T
    return (low_x <= east) & (high_x >= west) & (low_y <= north) & (high_y >= south)


def _swapped(bounds: Bounds) -> Bounds:
    west, south, east, north = bounds
    return south, west, north, east


def _writable(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise VectorError(f"{path}: maps are written as {', '.join(WRITABLE)}, not {suffix!r}")
    return suffix


def _attributes(frame: gpd.GeoDataFrame) -> pd.DataFrame:
    return pd.DataFrame(frame.drop(columns=frame.geometry.name))


def _geometry_type(frame: gpd.GeoDataFrame) -> GeometryType:
    """The type that holds all features: a multi type when single and multi ones are mixed."""
    kinds = {kind for kind in frame.geom_type.unique() if kind is not None}
    if len(kinds) == 2:
        kinds = {kind for kind in kinds if {kind.removeprefix("Multi"), kind} == kinds} or kinds
    known: tuple[GeometryType, ...] = get_args(GeometryType.__value__)
    return next((kind for kind in known if kinds == {kind}), "Unknown")


def _same_count(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise VectorError(f"{path} was not written whole: {found} of {expected} features arrived")


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """One error for all that libraries raise while writing; GDAL does not name a full disk."""
    try:
        yield
    except (*ogr.ERRORS, OSError, pa.ArrowException) as error:
        folder = Path(tempfile.gettempdir()) if is_remote(path) else path.parent
        free_mb = shutil.disk_usage(folder).free / 1e6
        raise VectorError(
            f"{path} could not be written ({free_mb:,.0f} MB free there): {_one_line(error)}"
        ) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
