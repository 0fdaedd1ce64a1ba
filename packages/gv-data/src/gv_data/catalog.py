"""A catalog: what images there are, where they lie and what they hold, as parquet tables.

A catalog is a folder: ``images.parquet`` (GeoParquet 1.1, one row an image or a rectangular part of
one), ``statistics.parquet`` (moments per image and band) and ``catalog.json`` (where the files are).
Opening one reads no image. Views are lazy and immutable and speak DuckDB's SQL.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
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
    from gv_data.dataset import CatalogDataset

SCHEMA = 1
"""Version of the layout; newer ones are refused."""


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
        labels_crs: CRS of the label files where they do not say it themselves.
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
            root: Folder that now holds the images, if they moved.

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

    @cached_property
    def description(self) -> dict[str, Any]:
        """What ``catalog.json`` says."""
        return json.loads((self.path / "catalog.json").read_text(encoding="utf-8"))

    def where(self, condition: str, **tables: pa.Table | str | Path) -> "Catalog":
        """The images for which an SQL condition holds.

        Args:
            condition: A DuckDB expression over the columns of ``images``.
            **tables: Tables of your own that the condition names: Arrow tables, or CSV, text or
                parquet files. The columns of a file without header are f0, f1, ...

        Returns:
            A view. Nothing is read yet, but the condition is parsed.

        Raises:
            CatalogError: If it is not one SQL expression.
        """
        for text in (f"SELECT 1 WHERE {condition}", f"SELECT 1 WHERE (\n{condition}\n)"):
            try:
                count = len(duckdb.extract_statements(text))
            except duckdb.Error as error:
                raise CatalogError(f"condition {condition!r}: {_first_line(error)}") from error
            if count != 1:
                raise CatalogError(f"condition {condition!r} holds more than one statement")
        own = {name: _table(value) for name, value in tables.items()}
        return replace(
            self, conditions=(*self.conditions, condition), tables={**self.tables, **own}
        )

    def sql(self, query: str) -> pa.Table:
        """Answer one SQL query over ``images`` (of this view) and ``statistics``.

        Args:
            query: DuckDB SQL. It can read nothing but these tables and cannot write.

        Returns:
            An Arrow table.

        Raises:
            CatalogError: With DuckDB's words and the columns there are.
        """
        connection = duckdb.connect(
            ":memory:",
            config={
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "allow_community_extensions": "false",
                "allow_persistent_secrets": "false",
                "temp_directory": "",
                "threads": "2",
            },
        )
        try:
            connection.register("all_images", self._images)
            connection.register("statistics", self._statistics)
            for name, table in self.tables.items():
                connection.register(name, table)
            connection.execute("SET enable_external_access=false")
            connection.execute("SET lock_configuration=true")
            conditions = "".join(f" AND (\n{c}\n)" for c in self.conditions)
            # the alias lets a condition's own sub-queries say images.id
            connection.execute(
                "CREATE TEMP TABLE images AS "
                f"SELECT * FROM all_images AS images WHERE true{conditions} ORDER BY id"
            )
            return connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            columns = ", ".join(self._images.column_names)
            raise CatalogError(f"{_first_line(error)}\n  columns of images: {columns}") from error
        finally:
            connection.close()

    @cached_property
    def _images(self) -> pa.Table:
        return pq.read_table(self.path / "images.parquet")

    @cached_property
    def _statistics(self) -> pa.Table:
        return pq.read_table(self.path / "statistics.parquet")

    @cached_property
    def images(self) -> tuple[Image, ...]:
        """The rows of the view, ordered by id."""
        return tuple(self._image(row) for row in self.sql("SELECT * FROM images").to_pylist())

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def moments(self) -> Moments:
        """Pooled moments of all valid pixels of the view, per band.

        Raises:
            CatalogError: If the view is empty or its images differ in bands.
        """
        rows = self.sql(
            "SELECT s.* FROM statistics s SEMI JOIN images USING (id) ORDER BY s.id, s.position"
        ).to_pylist()
        bands = self.bands
        total = Moments.none(len(bands))
        for start in range(0, len(rows), len(bands)):
            part = rows[start : start + len(bands)]
            columns = {
                name: np.array([row[name] for row in part], np.float64)
                for name in ("mean", "m2", "minimum", "maximum")
            }
            total += Moments(part[0]["valid"], part[0]["invalid"], **columns)
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
                f"{self.path}{self._said()} holds {said}; one set of bands is needed\n"
                '  try: a condition such as "len(bands) = 3"'
            )
        return kinds[0]

    def dataset(self, **settings: Any) -> "CatalogDataset":  # noqa: ANN401  passed on as they are
        """A dataset of windows of this view; see `gv_data.dataset.CatalogDataset`."""
        from gv_data.dataset import CatalogDataset

        return CatalogDataset(self, **settings)

    def _said(self) -> str:
        return f" where {' and '.join(self.conditions)}" if self.conditions else ""

    def _image(self, row: Mapping[str, Any]) -> Image:
        source = self.description["sources"][row["source"]]
        root = self.root or Path(source["root"])
        grid = Grid(
            None if row["crs"] is None else CRS(row["crs"]),
            Affine(*row["transform"]),
            row["height_px"],
            row["width_px"],
        )
        return Image(
            id=row["id"],
            path=_inside(root, row["image"]),
            driver=row["driver"],
            grid=grid,
            origin=(row["row"], row["column"]),
            bands=tuple(row["bands"]),
            dtype=row["dtype"],
            vectors=None if row["vectors"] is None else _inside(root, row["vectors"]),
            labelled_area=(
                None if row["labelled_area"] is None else _inside(root, row["labelled_area"])
            ),
            labels_crs=source.get("labels_crs"),
            place=row["place"],
            split=row["split"],
            objects=row["objects"],
        )


def _inside(root: Path, relative: str) -> Path:
    """Resolve a path of the catalog; it may not leave its root."""
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()):
        raise CatalogError(f"the catalog names {relative}, which lies outside its root {root}")
    return path


def _table(value: pa.Table | str | Path) -> pa.Table:
    """A table of the user's own."""
    if isinstance(value, pa.Table):
        return value
    path = Path(value)
    if not path.is_file():
        raise CatalogError(
            f"{path} is not there: a table is an Arrow table, a CSV or a parquet file"
        )
    if path.suffix == ".parquet":
        return pq.read_table(path)
    plain = path.suffix != ".csv"
    options = pa.csv.ReadOptions(autogenerate_column_names=plain)
    return pa.csv.read_csv(path, read_options=options)


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]
