"""A catalog: what images there are, where they lie and what they hold, as parquet tables.

A catalog is a folder: ``images.parquet`` (GeoParquet 1.1, one row an image or a rectangular part
of one), ``statistics.parquet`` (moments per image and band) and ``catalog.json`` (where the files
are). Opening one reads no image. Views are lazy and immutable and speak DuckDB's SQL, which can
read nothing but their tables and write nothing.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from affine import Affine
from pyproj import CRS

from gv_data.errors import CatalogError
from gv_data.grid import Grid
from gv_data.statistics import Moments

if TYPE_CHECKING:
    from gv_data.dataset import CatalogDataset, Sample

SCHEMA = 1
"""Version of the layout; newer ones are refused."""

IMAGES = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("vectors", pa.string()),
        ("labelled_area", pa.string()),
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
    ]
)
"""Columns of ``images.parquet`` beside ``geometry`` and ``bbox``; a set may add its own."""

STATISTICS = pa.schema(
    [
        ("id", pa.string()),
        ("asset", pa.string()),
        ("band", pa.string()),
        ("position", pa.int32()),
        ("valid", pa.int64()),
        ("invalid", pa.int64()),
        ("mean", pa.float64()),
        ("m2", pa.float64()),
        ("minimum", pa.float64()),
        ("maximum", pa.float64()),
    ]
)
"""Columns of ``statistics.parquet``; ``position`` counts the bands of an image from 0."""

_LOCKED_DOWN: dict[str, bool | float | int | list[str] | str] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "memory_limit": "1GB",
    "temp_directory": "",
    "threads": 2,
}

_ANSWERING = (
    duckdb.StatementType.SELECT,
    duckdb.StatementType.EXPLAIN,
    duckdb.StatementType.MULTI,  # PIVOT
)

_WKB = {"ARROW:extension:name": "geoarrow.wkb", "ARROW:extension:metadata": '{"crs":"OGC:CRS84"}'}
"""Makes a column of bytes a GEOMETRY for DuckDB."""


@dataclass(frozen=True)
class Image:
    """One row of ``images.parquet``, with paths resolved.

    Attributes:
        id: Unique in the catalog.
        path: The raster.
        driver: GDAL's name of its format.
        grid: Where the pixels of this row lie; a part of the file when it was split into blocks.
        origin: First row and column of the part in its file.
        bands: Names of the bands.
        dtype: Type on disk.
        vectors: The file of labels, or None.
        labelled_area: The file of polygons inside which labels are complete; None: everywhere.
        labels_crs: CRS that the label files are in, whatever they say; None believes them.
        labels_swapped: Whether the label files hold y before x.
        place: Name of the place, as given when it was indexed.
        split: ``train``, ``val``, ``test`` or None.
        objects: Number of labels that touch the image.
    """

    id: str
    path: Path
    driver: str
    grid: Grid
    origin: tuple[int, int]
    bands: tuple[str, ...]
    dtype: str
    vectors: Path | None
    labelled_area: Path | None
    labels_crs: str | None
    labels_swapped: bool
    place: str | None
    split: str | None
    objects: int


@dataclass(frozen=True)
class Catalog:
    """A catalog, or a view of some of its images.

    Attributes:
        path: The folder.
        conditions: SQL conditions that all must hold for an image to belong to the view.
        tables: The user's own tables that conditions may name.
        root: Where the images are now, when they have moved since they were indexed.
    """

    path: Path
    conditions: tuple[str, ...] = ()
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    root: Path | None = None

    @classmethod
    def open(cls, path: str | Path, *, root: str | Path | None = None) -> "Catalog":
        """Open a catalog; no image is touched.

        Args:
            path: Its folder.
            root: Folder that now holds the images and labels, if they moved: what was below the
                deepest folder common to all of them is looked for below this one.

        Raises:
            CatalogError: If there is none, or a newer version of gv-data wrote it.
        """
        catalog = cls(Path(path), root=None if root is None else Path(root))
        if not (catalog.path / "images.parquet").is_file():
            raise CatalogError(
                f"{path} is not a catalog: it holds no images.parquet\n"
                f"  try: gv-data index FOLDER --labels FILE --out {path}"
            )
        schema = catalog.description.get("schema", 0)
        if schema > SCHEMA:
            raise CatalogError(
                f"{path} was written in layout {schema}, this gv-data reads up to {SCHEMA}\n"
                "  try: uv add -U gv-data"
            )
        return catalog

    @property
    def description(self) -> dict[str, Any]:
        """What ``catalog.json`` says, as of now."""
        file = self.path / "catalog.json"
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CatalogError(f"{file} cannot be read, index again: {error}") from error

    def where(self, condition: str, **tables: pa.Table | str | Path) -> "Catalog":
        """The images for which an SQL condition holds.

        Args:
            condition: A DuckDB expression over the columns of ``images``.
            **tables: Tables of your own that the condition names: Arrow tables, or CSV, text or
                parquet files. The columns of a text file without header are f0, f1, ...

        Returns:
            A view. No image is read yet, but the condition is parsed.

        Raises:
            CatalogError: If it is not one SQL expression, or a table cannot be read or its name is
                taken.
        """
        for text in (f"SELECT 1 WHERE {condition}", f"SELECT 1 WHERE (\n{condition}\n)"):
            _one_statement(text, f"condition {condition!r}")
        own = dict(self.tables)
        for name, value in tables.items():
            table = _table(value)
            if not name.isidentifier() or name in ("images", "statistics"):
                raise CatalogError(f"a table cannot be called {name!r}: choose another name")
            if name in own and not own[name].equals(table):
                raise CatalogError(f"another table is called {name!r} already: choose another name")
            own[name] = table
        return replace(self, conditions=(*self.conditions, condition), tables=own)

    def sql(self, query: str) -> pa.Table:
        """Answer one SQL query over ``images`` (of this view) and ``statistics``.

        Args:
            query: DuckDB SQL. It can read nothing but these tables and cannot write.

        Returns:
            An Arrow table.

        Raises:
            CatalogError: With DuckDB's words and the columns there are.
        """
        if _one_statement(query, f"query {query!r}").type not in _ANSWERING:
            raise CatalogError(f"query {query!r} has no answer: ask with SELECT")
        connection = duckdb.connect(":memory:", config=_LOCKED_DOWN)
        try:
            tables = {"images": self._images, "statistics": self._statistics, **self.tables}
            for name, table in tables.items():
                connection.register(name, table)
            connection.execute("SET enable_external_access=false")
            connection.execute("SET lock_configuration=true")
            conditions = "".join(f" AND (\n{condition}\n)" for condition in self.conditions)
            chosen = connection.sql(f"SELECT * FROM images WHERE true{conditions} ORDER BY id")
            view = chosen.to_arrow_table()
            connection.unregister("images")
            connection.register("images", view)
            return connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            columns = ", ".join(self._images.column_names)
            raise CatalogError(f"{_first_line(error)}\n  columns of images: {columns}") from error
        finally:
            connection.close()

    @cached_property
    def _images(self) -> pa.Table:
        table = _read(self.path / "images.parquet")
        position = table.column_names.index("geometry")
        wkb = pa.field("geometry", pa.binary(), metadata=_WKB)
        return table.set_column(position, wkb, table["geometry"].cast(pa.binary()))

    @cached_property
    def _statistics(self) -> pa.Table:
        return _read(self.path / "statistics.parquet")

    @cached_property
    def images(self) -> tuple[Image, ...]:
        """The rows of the view, ordered by id."""
        names = ", ".join(f'"{name}"' for name in IMAGES.names)
        rows = self.sql(f"SELECT {names} FROM images ORDER BY id").to_pylist()
        sources = self.description["sources"]  # read after the rows, which are written last
        roots = self._roots(sources)
        return tuple(_image(row, sources[row["source"]], roots[row["source"]]) for row in rows)

    def _roots(self, sources: list[dict[str, Any]]) -> list["_Root"]:
        """The folder of each source, where it is now."""
        recorded = [Path(source["root"]) for source in sources]
        if self.root is None:
            return [_Root(path) for path in recorded]
        common = os.path.commonpath(recorded)
        return [_Root(self.root / path.relative_to(common)) for path in recorded]

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def moments(self) -> Moments:
        """Pooled moments of all valid pixels of the view, per band.

        Raises:
            CatalogError: If the view is empty or its images differ in bands.
        """
        bands = len(self.bands)
        table = self.sql(
            "SELECT s.* FROM statistics s SEMI JOIN images USING (id) WHERE s.asset = 'image' "
            "ORDER BY s.id, s.position"
        )
        if len(table) != bands * len(self):
            raise CatalogError(f"{self.path} lacks statistics of some images: index again")
        columns = {
            name: table[name].to_numpy().reshape(-1, bands)
            for name in ("valid", "invalid", "mean", "m2", "minimum", "maximum")
        }
        total = Moments.none(bands)
        for valid, invalid, *values in zip(*columns.values(), strict=True):
            total += Moments(int(valid[0]), int(invalid[0]), *values)
        return total

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that all images of the view have.

        Raises:
            CatalogError: If the view is empty or images differ.
        """
        kinds = sorted({image.bands for image in self.images})
        if len(kinds) != 1:
            said = " and ".join("+".join(kind) for kind in kinds) or "no images at all"
            raise CatalogError(
                f"{self.said} holds {said}; one set of bands is needed\n"
                '  try: a condition such as "len(bands) = 3"'
            )
        return kinds[0]

    @property
    def bounds(self) -> tuple[float, float, float, float] | None:
        """West, south, east and north of the images in degrees; None if no image lies anywhere."""
        (row,) = self.sql(
            "SELECT min(bbox.xmin) AS west, min(bbox.ymin) AS south, max(bbox.xmax) AS east, "
            "max(bbox.ymax) AS north FROM images WHERE gsd_m > 0"
        ).to_pylist()
        return (
            None if row["west"] is None else (row["west"], row["south"], row["east"], row["north"])
        )

    def dataset(
        self,
        *,
        gsd_m: float | None = None,
        labels: bool = True,
        edge_px: int = 2,
        transforms: "Callable[[Sample, np.random.Generator], Sample] | None" = None,
    ) -> "CatalogDataset":
        """Windows of this view; see `gv_data.dataset.CatalogDataset`."""
        from gv_data.dataset import CatalogDataset

        return CatalogDataset(
            self, gsd_m=gsd_m, labels=labels, edge_px=edge_px, transforms=transforms
        )

    @property
    def said(self) -> str:
        """The view in words: its folder and conditions."""
        conditions = " and ".join(self.conditions)
        return f"{self.path} where {conditions}" if conditions else str(self.path)


class _Root:
    """A folder that paths of a catalog may not leave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._known: dict[str, Path] = {}

    def resolve(self, relative: str) -> Path:
        folder, _, name = relative.rpartition("/")
        path = self._real(folder) / name if folder else self.folder / name
        if path.is_symlink() or name == "..":
            path = path.resolve()
        if relative.startswith("/") or not path.is_relative_to(self.folder):
            raise CatalogError(
                f"the catalog names {relative}, which lies outside its root {self.folder}"
            )
        return path

    def _real(self, folder: str) -> Path:
        """A folder without links; thousands of images share a few."""
        if folder not in self._known:
            self._known[folder] = (self.folder / folder).resolve()
        return self._known[folder]


def _image(row: Mapping[str, Any], source: Mapping[str, Any], root: _Root) -> Image:
    """A row of the table, its paths resolved."""
    grid = Grid(
        None if row["crs"] is None else _crs(row["crs"]),
        Affine(*row["transform"]),
        row["height_px"],
        row["width_px"],
    )
    return Image(
        id=row["id"],
        path=root.resolve(row["image"]),
        driver=row["driver"],
        grid=grid,
        origin=(row["row"], row["column"]),
        bands=tuple(row["bands"]),
        dtype=row["dtype"],
        vectors=None if row["vectors"] is None else root.resolve(row["vectors"]),
        labelled_area=(
            None if row["labelled_area"] is None else root.resolve(row["labelled_area"])
        ),
        labels_crs=source["labels_crs"],
        labels_swapped=source["labels_swapped"],
        place=row["place"],
        split=row["split"],
        objects=row["objects"],
    )


_crs = lru_cache(CRS.from_user_input)


def _read(path: Path) -> pa.Table:
    """A table of the catalog, its checksums verified."""
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(f"{path} cannot be read, index again: {error}") from error


def _table(value: pa.Table | str | Path) -> pa.Table:
    """A table of the user's own."""
    if isinstance(value, pa.Table):
        return value
    path = Path(value)
    if not path.is_file():
        raise CatalogError(
            f"{path} is not there: a table is an Arrow table, a CSV or a parquet file"
        )
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        plain = path.suffix != ".csv"
        options = pyarrow.csv.ReadOptions(autogenerate_column_names=plain)
        return pyarrow.csv.read_csv(path, read_options=options)
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(f"{path} cannot be read as a table: {error}") from error


def _one_statement(text: str, said: str) -> duckdb.Statement:
    """Refuse what is not exactly one SQL statement."""
    try:
        statements = duckdb.extract_statements(text)
    except duckdb.Error as error:
        raise CatalogError(f"{said}: {_first_line(error)}") from error
    if len(statements) != 1:
        raise CatalogError(f"{said} holds {len(statements)} statements, not one")
    return statements[0]


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]
